// A Namespace over a fake bucket and a real store in a folder of its own; remountable.
#pragma once

#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "core/namespace.h"
#include "meta/meta_store.h"
#include "s3/fake_s3.h"

namespace s3cache::core {

// Records what the kernel would be told.
class Heard : public ChangeListener {
 public:
  void inode_changed(uint64_t ino) override {
    std::lock_guard lock(mu_);
    changed_.insert(ino);
  }
  void entry_removed(uint64_t, std::string_view name) override {
    std::lock_guard lock(mu_);
    removed_.insert(std::string(name));
  }
  bool changed(uint64_t ino) {
    std::lock_guard lock(mu_);
    return changed_.contains(ino);
  }
  bool removed(const std::string& name) {
    std::lock_guard lock(mu_);
    return removed_.contains(name);
  }
  void clear() {
    std::lock_guard lock(mu_);
    changed_.clear();
    removed_.clear();
  }

 private:
  std::mutex mu_;
  std::set<uint64_t> changed_;
  std::set<std::string> removed_;
};

// Asks the server for the headers by a GET, as the data path does.
class FakeProber : public ObjectProber {
 public:
  explicit FakeProber(s3::FakeS3& s3) : s3_(s3) {}
  bool refuse = false;
  bool probe(uint64_t, const std::string& key, const meta::Inode&, s3::HeadCallback on_headers) override {
    if (refuse) return false;
    s3_.get({.key = key}, std::make_shared<Sink>(std::move(on_headers)));
    return true;
  }

 private:
  class Sink : public s3::GetSink {
   public:
    explicit Sink(s3::HeadCallback done) : done_(std::move(done)) {}
    bool on_headers(const s3::ObjectInfo& info) override {
      answered_ = true;
      done_(info);
      return true;
    }
    bool on_data(int64_t, std::span<const std::byte>) override { return true; }
    void on_done(Status s) override {
      if (!answered_ && !s.ok()) done_(s.error());
    }

   private:
    s3::HeadCallback done_;
    bool answered_ = false;
  };
  s3::FakeS3& s3_;
};

struct Listed {
  uint64_t ino = 0, cookie = 0;
  uint32_t d_type = 0;
  bool has_entry = false;
  Entry entry;
  bool operator==(const Listed& o) const { return ino == o.ino; }
};

// Takes `room` entries a call.
class CollectSink : public DirSink {
 public:
  explicit CollectSink(size_t room) : room_(room) {}
  bool add(const DirItem& item) override {
    if (names.size() >= room_) return false;
    names.emplace_back(std::string(item.name),
                       Listed{item.ino, item.cookie, item.d_type, item.entry != nullptr,
                              item.entry != nullptr ? *item.entry : Entry()});
    return true;
  }
  std::vector<std::pair<std::string, Listed>> names;

 private:
  const size_t room_;
};

class NamespaceFixture {
 public:
  explicit NamespaceFixture(NamespaceOptions opts = {}) : options(opts) {
    static std::atomic<int> counter{0};
    root = std::filesystem::temp_directory_path() /
           ("s3cache-ns-test-" + std::to_string(getpid()) + "-" + std::to_string(counter++));
    std::filesystem::create_directories(root);
    mount();
  }
  ~NamespaceFixture() {
    s3.shutdown();
    unmount();
    std::filesystem::remove_all(root);
  }

  void mount() {
    meta::Options store_options;
    store_options.path = (root / "meta.lmdb").string();
    auto opened = meta::MetaStore::open(store_options);
    REQUIRE(opened.ok());
    store = std::move(*opened);
    inodes = std::make_unique<Inodes>(*store, prefix);
    names = Namespace::make(*inodes, s3, &prober, &heard, clock, options);
  }
  void unmount() {
    names.reset();
    inodes.reset();
    store.reset();
  }
  void remount() {
    REQUIRE(s3.wait_idle());
    unmount();
    mount();
  }

  // An object that was there long before the test began.
  void put(const std::string& key, const std::string& data = "x", s3::FakeS3::Headers headers = {}) {
    s3::FakeS3::Object object;
    object.data = data;
    object.size = static_cast<int64_t>(data.size());
    object.etag = "e" + std::to_string(std::hash<std::string>()(data));
    object.last_modified = clock.wall_s() - 100;
    object.headers = std::move(headers);
    s3.put_object(key, std::move(object));
  }
  void put_large(const std::string& key, int64_t size) {
    s3::FakeS3::Object object;
    object.size = size;
    object.etag = "large" + std::to_string(size);
    object.last_modified = clock.wall_s() - 100;
    s3.put_object(key, std::move(object));
  }

  template <class T>
  static Result<T> await(std::future<Result<T>> future) {
    REQUIRE(future.wait_for(std::chrono::seconds(30)) == std::future_status::ready);
    return future.get();
  }
  template <class T, class Call>
  static std::future<Result<T>> start(const Call& call) {
    auto promise = std::make_shared<std::promise<Result<T>>>();
    auto future = promise->get_future();
    call([promise](Result<T> r) { promise->set_value(std::move(r)); });
    return future;
  }
  std::future<Result<LookupReply>> start_lookup(uint64_t parent, const std::string& name, uint32_t tid = 1) {
    return start<LookupReply>([&](auto done) { names->lookup({tid}, parent, name, done); });
  }
  Result<LookupReply> lookup(uint64_t parent, const std::string& name, uint32_t tid = 1) {
    return await(start_lookup(parent, name, tid));
  }
  Result<Entry> getattr(uint64_t ino, uint32_t tid = 1) {
    return await(start<Entry>([&](auto done) { names->getattr({tid}, ino, done); }));
  }
  Result<Entry> revalidate(uint64_t ino) {
    return await(start<Entry>([&](auto done) { names->revalidate(ino, done); }));
  }
  Result<std::string> readlink(uint64_t ino) {
    return await(start<std::string>([&](auto done) { names->readlink(ino, done); }));
  }
  // The inode of a path below the root. REQUIRES: it is there.
  uint64_t ino_of(const std::string& path) {
    uint64_t at = meta::kRootIno;
    for (const auto& part : std::filesystem::path(path)) {
      const auto reply = lookup(at, part.string());
      REQUIRE(reply.ok());
      REQUIRE(reply->found);
      at = reply->entry.attr.ino;
    }
    return at;
  }

  std::shared_ptr<DirHandle> opendir(uint64_t ino) {
    auto handle = names->opendir(ino);
    REQUIRE(handle.ok());
    return *handle;
  }
  Result<bool> readdir(const std::shared_ptr<DirHandle>& dir, uint64_t cookie, bool plus,
                       const std::shared_ptr<CollectSink>& sink) {
    return await(start<bool>([&](auto done) { names->readdir(dir, cookie, plus, sink, done); }));
  }
  // Reads on from `cookie` to the end, `room` entries a call.
  std::vector<std::pair<std::string, Listed>> read_all(const std::shared_ptr<DirHandle>& dir,
                                                       uint64_t cookie = 0, size_t room = 100,
                                                       bool plus = true) {
    std::vector<std::pair<std::string, Listed>> out;
    for (;;) {
      auto sink = std::make_shared<CollectSink>(room);
      const auto more = readdir(dir, cookie, plus, sink);
      REQUIRE(more.ok());
      out.insert(out.end(), sink->names.begin(), sink->names.end());
      if (!*more) return out;
      REQUIRE(!sink->names.empty());
      cookie = out.back().second.cookie;
    }
  }
  // Names without the dots; fails on a name given twice.
  std::map<std::string, Listed> list(uint64_t ino, size_t room = 100) {
    std::map<std::string, Listed> out;
    for (auto& [name, listed] : read_all(opendir(ino), 0, room)) {
      if (name == "." || name == "..") continue;
      INFO(name);
      REQUIRE(out.emplace(name, listed).second);
    }
    return out;
  }
  static std::vector<std::string> keys(const std::map<std::string, Listed>& listed) {
    std::vector<std::string> out;
    for (const auto& [name, l] : listed) out.push_back(name);
    return out;
  }

  // Requests since the last call: LIST, HEAD, GET.
  struct Count {
    size_t list, head, get;
    bool operator==(const Count&) const = default;
    friend std::ostream& operator<<(std::ostream& o, const Count& c) {
      return o << c.list << " LIST " << c.head << " HEAD " << c.get << " GET";
    }
  };
  Count requests() {
    REQUIRE(s3.wait_idle());
    const Count c{s3.count(s3::Verb::kList), s3.count(s3::Verb::kHead), s3.count(s3::Verb::kGet)};
    s3.clear_requests();
    return c;
  }
  void pass_ttl() { clock.advance_ms(options.ttl_ms + 1000); }

  static constexpr uint64_t kRoot = meta::kRootIno;
  NamespaceOptions options;
  std::string prefix;
  FakeClock clock;
  s3::FakeS3 s3{clock};
  FakeProber prober{s3};
  Heard heard;
  std::filesystem::path root;
  std::unique_ptr<meta::MetaStore> store;
  std::unique_ptr<Inodes> inodes;
  std::unique_ptr<Namespace> names;
};

using Count = NamespaceFixture::Count;

}  // namespace s3cache::core
