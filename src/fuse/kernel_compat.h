// KernelCompat: the one place that knows which kernel and which libfuse this is.
//
// libfuse before 3.17 has no passthrough and never sends PARALLEL_DIROPS, so its INIT reply is patched on the
// way to the kernel (custom_io); from 3.17 on the native flags are used and the hook compiles away. That
// branch was read against the sources of libfuse 3.17 and later, but it is not compile-tested.
// Passthrough is never assumed: the kernel must offer it, accept it and register a real file of the cache
// directory. Threads: prepare/attach/configure/finish from the mounting thread or the first worker, before
// other requests; the rest from any thread. Owns nothing; borrows the session's descriptor. Units: KiB where
// said.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/result.h"

struct fuse_session;
struct fuse_conn_info;
struct fuse_req;
struct iovec;

namespace s3cache::fuse {

class Ops;
class KernelCompat;

// What libfuse hands to every hook and operation.
struct UserData {
  KernelCompat* compat = nullptr;
  Ops* ops = nullptr;
};

// FOPEN_* of the kernel protocol; libfuse 3.14 does not name all of them.
inline constexpr uint32_t kOpenDirectIo = 1u << 0;
inline constexpr uint32_t kOpenKeepCache = 1u << 1;
inline constexpr uint32_t kOpenNoFlush = 1u << 5;
inline constexpr uint32_t kOpenPassthrough = 1u << 7;

class KernelCompat {
 public:
  KernelCompat(bool want_passthrough, std::string cache_dir);

  // After fuse_session_mount: puts the hooks on the session's descriptor.
  Status attach(fuse_session* session);
  // In the init operation.
  void configure(fuse_conn_info* conn);
  // After the first answered request: probes passthrough and logs the one line that says how reads will go.
  void probe();

  bool passthrough() const { return passthrough_.load(std::memory_order_relaxed); }
  // Why it is off; set by probe().
  const std::string& why_no_passthrough() const { return why_not_; }
  bool parallel_dirops() const { return parallel_dirops_.load(std::memory_order_relaxed); }

  // The backing id (> 0) of an open file. The caller may close fd at once.
  Result<int32_t> backing_open(int fd);
  void backing_close(int32_t id);

  // Answers OPEN. backing_id 0: none. Returns what fuse_reply_buf does (-ENOENT: nobody waits any more).
  static int reply_open(fuse_req* req, uint64_t fh, uint32_t open_flags, int32_t backing_id);

  // Raises the readahead window of the mount with device number `dev`; false where sysfs does not let us.
  static bool set_readahead_kb(uint64_t dev, unsigned kb);

 private:
  static ssize_t read_hook(int fd, void* buf, size_t size, void* userdata);
  static ssize_t writev_hook(int fd, iovec* iov, int count, void* userdata);
  void note_init_request(const void* buf, size_t size);
  ssize_t patch_init_reply(int fd, const iovec* iov, int count);
  std::string probe_reason();

  const bool want_passthrough_;
  const std::string cache_dir_;
  const uint32_t stack_depth_;  // 2: the cache lies on a stacked file system itself
  std::string why_not_;
  fuse_session* session_ = nullptr;
  std::atomic<uint64_t> init_unique_{0};  // of the INIT not answered yet; unique numbers are never 0
  std::atomic<uint32_t> offered_{0}, offered2_{0}, minor_{0};
  std::atomic<bool> asked_{false};  // passthrough went out with the INIT reply
  std::atomic<bool> passthrough_{false};
  std::atomic<bool> parallel_dirops_{false};
};

}  // namespace s3cache::fuse
