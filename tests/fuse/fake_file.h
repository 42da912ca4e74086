// The contents and open files of FakeFilesystem. Threads: as there; fields beside atomics under its lock.
#pragma once

#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "fuse/fake_filesystem.h"

namespace s3cache::fuse {

// One version. Local writes change the file at `path` in place: the version stays.
struct FakeFilesystem::Content {
  uint64_t version = 0;
  std::atomic<int64_t> size{0};
  std::string path;
  std::string bytes;                 // small files nobody wrote to: reads need no descriptor
  UniqueFd fd;                       // backed files
  std::atomic<int> write_fd{-1};     // from the first writer on; reads take it then
  std::atomic<bool> sealed{false};   // all bytes are here
  std::atomic<int> writers{0};       // handles
  std::atomic<bool> unsaved{false};  // not flushed
  std::atomic<bool> unlinked{false};
  bool temporary = true;
  ~Content() {
    if (temporary) ::unlink(path.c_str());
    if (write_fd >= 0) ::close(write_fd);
  }
};

class FakeOpenFile : public core::OpenFile {
 public:
  FakeOpenFile(FakeFilesystem& fs, core::Attr attr, std::shared_ptr<FakeFilesystem::Content> c, bool write,
               bool fail);
  ~FakeOpenFile() override;
  uint64_t ino() const override { return attr_.ino; }
  uint64_t version() const override { return content->version; }
  core::Attr attr() const override { return fs_.attr_of(attr_, *content); }
  bool sealed() const override { return content->sealed && content->writers == 0 && !content->unsaved; }
  bool writable() const override { return write_; }
  Result<int> backing_fd() override;

 private:
  FakeFilesystem& fs_;
  const core::Attr attr_;

 public:
  const std::shared_ptr<FakeFilesystem::Content> content;

 private:
  const bool write_;
  const bool fail_;
};

}  // namespace s3cache::fuse
