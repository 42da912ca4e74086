// What a file system that only reads answers to changes.
#include "core/filesystem.h"

namespace s3cache::core {

namespace {
Error read_only() { return {Code::kReadOnly, "the mount is read-only"}; }
}  // namespace

void Filesystem::create(Caller, uint64_t, std::string, NewNode, bool, OpenFlags, Callback<Created> done) {
  done(read_only());
}
void Filesystem::write(std::shared_ptr<OpenFile>, int64_t, std::span<const std::byte>,
                       Callback<size_t> done) {
  done(read_only());
}
void Filesystem::append(std::shared_ptr<OpenFile>, std::span<const std::byte>, Callback<size_t> done) {
  done(read_only());
}
void Filesystem::fallocate(std::shared_ptr<OpenFile>, int, int64_t, int64_t, Callback<void> done) {
  done(read_only());
}
void Filesystem::flush(std::shared_ptr<OpenFile>, Callback<void> done) { done({}); }
void Filesystem::fsync(std::shared_ptr<OpenFile>, bool, Callback<void> done) { done({}); }
void Filesystem::fsync_directory(uint64_t, Callback<void> done) { done({}); }
void Filesystem::sync_all(Callback<void> done) { done({}); }
void Filesystem::copy_range(std::shared_ptr<OpenFile>, int64_t, std::shared_ptr<OpenFile>, int64_t, int64_t,
                            Callback<size_t> done) {
  done(read_only());
}
void Filesystem::setattr(uint64_t, std::shared_ptr<OpenFile>, SetAttr, Callback<Entry> done) {
  done(read_only());
}
void Filesystem::mkdir(uint64_t, std::string, NewNode, Callback<Entry> done) { done(read_only()); }
void Filesystem::mknod(uint64_t, std::string, NewNode, Callback<Entry> done) { done(read_only()); }
void Filesystem::symlink(uint64_t, std::string, std::string, NewNode, Callback<Entry> done) {
  done(read_only());
}
void Filesystem::unlink(uint64_t, std::string, Callback<void> done) { done(read_only()); }
void Filesystem::rmdir(uint64_t, std::string, Callback<void> done) { done(read_only()); }
void Filesystem::rename(uint64_t, std::string, uint64_t, std::string, unsigned, Callback<void> done) {
  done(read_only());
}
void Filesystem::setxattr(uint64_t, std::string, std::string, int, Callback<void> done) { done(read_only()); }
void Filesystem::removexattr(uint64_t, std::string, Callback<void> done) { done(read_only()); }

}  // namespace s3cache::core
