// Ops: the FUSE operations, thin: decode, ask core, answer. Nothing here waits.
//
// A worker never blocks on the network: an operation hands core a callback and returns; whoever completes it
// sends the reply. The operations by file: ops_lookup (names and attributes), ops_dir, ops_file (open, read,
// release), ops_write (contents), ops_create and ops_change (names), ops_lock; ops_table is what libfuse
// calls. Threads: every method from any worker. Owns: the table of incarnations and the parked requests.
// Borrows: the file system and the notifier, which outlive it. Kept alive by the callbacks under way; they
// may end after the mount.
#pragma once

#include <fuse_lowlevel.h>

#include <memory>
#include <string>
#include <unordered_map>

#include "core/filesystem.h"
#include "fuse/incarnations.h"
#include "fuse/kernel_compat.h"
#include "fuse/locks.h"
#include "fuse/notifier.h"
#include "fuse/options.h"
#include "fuse/request.h"

namespace s3cache::fuse {

class Ops : public std::enable_shared_from_this<Ops> {
 public:
  Ops(const Options& options, core::Filesystem& fs, Notifier& notifier, std::shared_ptr<KernelCompat> compat,
      Incarnations::NextId next_id);

  // The table libfuse calls; its operations find their Ops through UserData.
  static fuse_lowlevel_ops table(const Options& options);

  Incarnations& incarnations() { return incarnations_; }
  Parked& parked() { return *parked_; }
  Locks& locks() { return locks_; }

  void init(fuse_conn_info* conn);

  void lookup(fuse_req_t req, fuse_ino_t parent, const char* name);
  void getattr(fuse_req_t req, fuse_ino_t nodeid);
  void readlink(fuse_req_t req, fuse_ino_t nodeid);
  void statfs(fuse_req_t req);
  void getxattr(fuse_req_t req, fuse_ino_t nodeid, const char* name, size_t size);
  void listxattr(fuse_req_t req, fuse_ino_t nodeid, size_t size);

  void opendir(fuse_req_t req, fuse_ino_t nodeid);
  void readdir(fuse_req_t req, fuse_ino_t nodeid, uint64_t fh, size_t size, off_t cookie, bool plus);
  void releasedir(fuse_req_t req, uint64_t fh);

  void open(fuse_req_t req, fuse_ino_t nodeid, int flags);
  void read(fuse_req_t req, uint64_t fh, off_t offset, size_t size);
  void release(fuse_req_t req, const fuse_file_info& fi);

  void create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, int flags);
  void mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t dev);
  void mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode);
  void symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name);

  void setattr(fuse_req_t req, fuse_ino_t nodeid, const struct stat& attr, int to_set,
               const fuse_file_info* fi);
  void unlink(fuse_req_t req, fuse_ino_t parent, const char* name);
  void rmdir(fuse_req_t req, fuse_ino_t parent, const char* name);
  void rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
              const char* new_name, unsigned flags);
  void setxattr(fuse_req_t req, fuse_ino_t nodeid, const char* name, std::string value, int flags);
  void removexattr(fuse_req_t req, fuse_ino_t nodeid, const char* name);

  void write(fuse_req_t req, const char* data, size_t size, off_t offset, const fuse_file_info& fi);
  void flush(fuse_req_t req, const fuse_file_info& fi);
  void fsync(fuse_req_t req, bool data_only, const fuse_file_info& fi);
  void fsyncdir(fuse_req_t req, fuse_ino_t nodeid);
  void fallocate(fuse_req_t req, int mode, off_t offset, off_t length, const fuse_file_info& fi);
  void copy_file_range(fuse_req_t req, const fuse_file_info& in, off_t in_offset, const fuse_file_info& out,
                       off_t out_offset, size_t length);

  void getlk(fuse_req_t req, const fuse_file_info& fi, const struct flock& wish);
  void setlk(fuse_req_t req, const fuse_file_info& fi, const struct flock& wish, bool sleep);
  void flock(fuse_req_t req, const fuse_file_info& fi, int op);

 private:
  RequestPtr request(fuse_req_t req) { return std::make_shared<Request>(parked_, req, Request::Kind::kAsks); }
  // For what changes something: not every signal ends it.
  RequestPtr change(fuse_req_t req) {
    return std::make_shared<Request>(parked_, req, Request::Kind::kChanges);
  }
  void answer_lookup(Request& r, const Result<core::LookupReply>& answer);
  void answer_getattr(Request& r, uint64_t nodeid, const Result<core::Entry>& answer);
  void admit(const RequestPtr& r, uint64_t nodeid, bool direct, const std::shared_ptr<core::OpenFile>& file);
  int32_t register_backing(core::OpenFile& file);
  void release_backing(int32_t id);
  void drop_dir(uint64_t fh) EXCLUDES(dirs_mu_);
  void answer_open(Request& r, Handle* handle, int32_t backing_id, bool direct);
  void answer_entry(Request& r, const core::Entry& e);
  void admit_created(const RequestPtr& r, const core::Created& created, const std::function<void()>& unseen);
  void answer_create(Request& r, Handle* handle, uint64_t nodeid, const core::Entry& e);
  core::Callback<core::Entry> made_entry(const RequestPtr& r, fuse_ino_t parent, const char* name);
  // For a change that happened after its caller was let go: the kernel still believes in the name as it was.
  std::function<void()> forget_name(fuse_ino_t parent, const char* name);
  // Bytes changed through nodeid and the kernel was told of a failure: it asks and reads anew.
  void forget_content(uint64_t nodeid);
  core::Callback<size_t> changed_content(const RequestPtr& r, uint64_t nodeid);
  double attr_ttl(uint64_t nodeid, const core::Entry& e);
  void lock(fuse_req_t req, LockSpace space, uint64_t ino, const Lock& wish, bool sleep);

  const bool read_only_;
  const unsigned max_io_;
  const unsigned max_background_;
  core::Filesystem& fs_;
  Notifier& notifier_;
  const std::shared_ptr<KernelCompat> compat_;
  Incarnations incarnations_;
  Locks locks_;
  // Open directories; an fh is the address of one of these. For those whose RELEASEDIR never comes.
  Mutex dirs_mu_;
  std::unordered_map<uint64_t, std::unique_ptr<std::shared_ptr<core::DirHandle>>> dirs_ GUARDED_BY(dirs_mu_);
  const std::shared_ptr<Parked> parked_ = std::make_shared<Parked>();
};

struct stat to_stat(const core::Attr& a);
fuse_entry_param to_entry_param(uint64_t nodeid, const core::Entry& e);
core::NewNode new_node(fuse_req_t req, mode_t mode, dev_t dev = 0);
// Answers 0 or what `errno_of` makes of the error; `unseen` runs where it succeeded and nobody waited any
// more.
core::Callback<void> done_with(const RequestPtr& r, int (*errno_of)(Code), std::function<void()> unseen = {});
inline Handle& handle_of(const fuse_file_info& fi) { return *reinterpret_cast<Handle*>(fi.fh); }
inline double to_seconds(int64_t ms) { return ms > 0 ? static_cast<double>(ms) / 1000.0 : 0.0; }

}  // namespace s3cache::fuse
