// A whole core over a fake bucket: real LMDB, real cache files in a folder of its own, remountable.
#pragma once

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <condition_variable>
#include <filesystem>
#include <future>
#include <mutex>
#include <stdexcept>
#include <string>

#include "cache/cache_dir.h"
#include "core/make_filesystem.h"
#include "meta/meta_store.h"
#include "s3/fake_s3.h"

namespace s3cache::core {

class CoreFixture {
 public:
  explicit CoreFixture(FilesystemOptions opts = defaults()) : options(std::move(opts)) {
    root = std::filesystem::temp_directory_path() /
           ("s3cache-core-test-" + std::to_string(getpid()) + "-" + std::to_string(counter()++));
    mount();
  }
  ~CoreFixture() {
    unmount();
    std::filesystem::remove_all(root);
  }

  static FilesystemOptions defaults() {
    FilesystemOptions o;
    o.budget.limit = int64_t{1} << 30;
    return o;
  }

  void mount() {
    auto opened = cache::CacheDir::open({root.string(), "http://fake\nbucket\n", "bucket", 0, true});
    REQUIRE(opened.ok());
    dir = std::move(*opened);
    meta::Options store_options;
    store_options.path = dir->store_path();
    auto made = meta::MetaStore::open(store_options);
    REQUIRE(made.ok());
    store = std::move(*made);
    auto built = make_filesystem({*store, *dir, client ? *client : *s3, nullptr, clock}, options);
    REQUIRE(built.ok());
    fs = std::move(*built);
  }
  void unmount() {
    fs.reset();
    store.reset();
    dir.reset();
  }
  // As after an unmount and a mount: only the disk remembers. The fake server stays as it is.
  void remount() {
    unmount();
    fresh_server();
    mount();
  }
  // A server with the same objects: the old one was shut down with its mount.
  void fresh_server() {
    auto fresh = std::make_unique<s3::FakeS3>(clock);
    for (auto& [key, object] : objects) fresh->put_object(key, object);
    s3 = std::move(fresh);
  }

  std::string put(const std::string& key, std::string data) {
    s3::FakeS3::Object o;
    o.data = std::move(data);
    o.size = static_cast<int64_t>(o.data.size());
    return put_object(key, std::move(o));
  }
  std::string put_pattern(const std::string& key, int64_t size) {
    s3::FakeS3::Object o;
    o.size = size;
    return put_object(key, std::move(o));
  }
  std::string put_object(const std::string& key, s3::FakeS3::Object o) {
    o.etag = "etag-" + std::to_string(++etags);
    o.last_modified = clock.wall_s() - 1000;
    objects[key] = o;
    s3->put_object(key, o);
    return o.etag;
  }

  // The answer of a call that ends on another thread. Throws where Catch2 would assert: tests wait on
  // threads of their own, and an assertion of Catch2 may run on the main thread only.
  template <class T>
  static T in_time(std::future<T> future) {
    if (future.wait_for(std::chrono::seconds(60)) != std::future_status::ready)
      throw std::runtime_error("no answer within a minute");
    return future.get();
  }
  template <class T, class Call>
  static Result<T> wait(const Call& call) {
    std::promise<Result<T>> promise;
    auto future = promise.get_future();
    call([&promise](Result<T> r) { promise.set_value(std::move(r)); });
    return in_time(std::move(future));
  }
  // Looks a path of the bucket's root up and opens it.
  Result<std::shared_ptr<OpenFile>> open(const std::string& name, bool direct = false) {
    auto found = wait<LookupReply>([&](auto done) { fs->names().lookup({1}, meta::kRootIno, name, done); });
    if (!found.ok()) return found.error();
    if (!found->found) return Error{Code::kNotFound, name};
    return wait<std::shared_ptr<OpenFile>>([&](auto done) {
      fs->open({1}, found->entry.attr.ino, {direct, false}, done);
    });
  }
  Result<std::string> read(const std::shared_ptr<OpenFile>& file, int64_t offset, size_t length) {
    std::promise<Result<std::string>> promise;
    auto future = promise.get_future();
    fs->read(file, offset, length, [&promise](Result<ReadReply> r) {
      if (!r.ok()) return promise.set_value(r.error());
      std::string bytes;
      for (const iovec& io : *r) bytes.append(static_cast<const char*>(io.iov_base), io.iov_len);
      promise.set_value(std::move(bytes));
    });
    return in_time(std::move(future));
  }
  static bool is_pattern(const std::string& bytes, int64_t offset) {
    for (size_t i = 0; i < bytes.size(); ++i)
      if (static_cast<std::byte>(bytes[i]) != s3::FakeS3::pattern_byte(offset + static_cast<int64_t>(i)))
        return false;
    return true;
  }
  // Bytes of data files on disk, as du counts them.
  int64_t disk_bytes() const {
    int64_t total = 0;
    for (const auto& e :
         std::filesystem::recursive_directory_iterator(std::filesystem::path(dir->path()) / "data")) {
      struct stat st {};
      if (e.is_regular_file() && ::stat(e.path().c_str(), &st) == 0) total += st.st_blocks * 512;
    }
    return total;
  }

  static int& counter() {
    static int n = 0;
    return n;
  }

  FilesystemOptions options;
  FakeClock clock;
  std::filesystem::path root;
  std::map<std::string, s3::FakeS3::Object> objects;
  int etags = 0;
  std::unique_ptr<s3::FakeS3> s3 = std::make_unique<s3::FakeS3>(clock);
  s3::S3Client* client = nullptr;  // a decorator of *s3, if a test wants one
  std::unique_ptr<cache::CacheDir> dir;
  std::unique_ptr<meta::MetaStore> store;
  std::unique_ptr<Filesystem> fs;
};

}  // namespace s3cache::core
