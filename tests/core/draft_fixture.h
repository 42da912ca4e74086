// Writing through a whole core: what a program would do, and what is on the fake server afterwards.
#pragma once

#include <string>

#include "core/attributes.h"
#include "core_fixture.h"

namespace s3cache::core {

class DraftFixture : public CoreFixture {
 public:
  using File = std::shared_ptr<OpenFile>;

  explicit DraftFixture(FilesystemOptions opts = writable()) : CoreFixture(std::move(opts)) {}
  static FilesystemOptions writable() {
    FilesystemOptions o = defaults();
    o.read_only = false;
    o.upload.multipart_size = 5 << 20;  // the least that S3 takes
    return o;
  }

  File create(const std::string& name, bool exclusive = false) {
    auto made = wait<Created>([&](auto done) {
      fs->create({1}, meta::kRootIno, name, {0100644, 0, 0, 0}, exclusive, {.write = true}, done);
    });
    REQUIRE(made.ok());
    return made->file;
  }
  File open_to_write(const std::string& name, bool truncate = false) {
    auto found = wait<LookupReply>([&](auto done) { fs->names().lookup({1}, meta::kRootIno, name, done); });
    REQUIRE(found.ok());
    REQUIRE(found->found);
    auto file = wait<File>([&](auto done) {
      fs->open({1}, found->entry.attr.ino, {.write = true, .truncate = truncate}, done);
    });
    REQUIRE(file.ok());
    return *file;
  }
  Result<size_t> write(const File& file, int64_t offset, const std::string& data) {
    return wait<size_t>([&](auto done) { fs->write(file, offset, std::as_bytes(std::span(data)), done); });
  }
  Status flush(const File& file) {
    const Status s = wait<void>([&](auto done) { fs->flush(file, done); });
    if (!s.ok()) UNSCOPED_INFO(s.error().message);
    return s;
  }
  Status fsync(const File& file) {
    return wait<void>([&](auto done) { fs->fsync(file, false, done); });
  }
  Status truncate(const File& file, int64_t size) {
    SetAttr what;
    what.size = size;
    auto entry = wait<Entry>([&](auto done) { fs->setattr(file->ino(), file, what, done); });
    return entry.ok() ? Status() : Status(entry.error());
  }
  Status sync() {
    return wait<void>([&](auto done) { fs->sync_all(done); });
  }
  // What the server has; "absent" if there is no such object.
  std::string object(const std::string& key) {
    class Sink : public s3::GetSink {
     public:
      bool on_headers(const s3::ObjectInfo&) override { return true; }
      bool on_data(int64_t, std::span<const std::byte> data) override {
        bytes.append(reinterpret_cast<const char*>(data.data()), data.size());
        return true;
      }
      void on_done(Status s) override {
        done.set_value(s.ok() ? bytes : s.is(Code::kNotFound) ? "absent" : "error");
      }
      std::string bytes;
      std::promise<std::string> done;
    };
    auto sink = std::make_shared<Sink>();
    auto future = sink->done.get_future();
    s3->get({.key = key}, sink);
    return future.get();
  }
  // One header of the object on the server, empty if it is not there.
  std::string header(const std::string& key, const std::string& name) {
    const auto info =
        wait<s3::ObjectInfo>([&](auto done) { s3->head(key, s3::Priority::kForeground, std::move(done)); });
    const std::string* value = info.ok() ? info->header(name) : nullptr;
    return value == nullptr ? std::string() : *value;
  }
  std::string pattern(int64_t offset, int64_t length) {
    std::string out;
    for (int64_t i = 0; i < length; ++i)
      out.push_back(static_cast<char>(s3::FakeS3::pattern_byte(offset + i)));
    return out;
  }
};

}  // namespace s3cache::core
