#include "fuse/kernel_compat.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/log.h"
#include "base/unique_fd.h"

namespace s3cache::fuse {
namespace {

// Kernel protocol 7.40 and later; older headers lack these.
constexpr uint32_t kInitExt = 1u << 30;
constexpr uint32_t kInitParallelDirops = 1u << 18;
constexpr uint32_t kInit2Passthrough = 1u << 5;  // bit 37
struct BackingMap {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};
#define S3C_BACKING_OPEN _IOW(229, 1, BackingMap)
#define S3C_BACKING_CLOSE _IOW(229, 2, uint32_t)
struct RawOpenReply {
  uint64_t fh;
  uint32_t open_flags;
  int32_t backing_id;
};
static_assert(sizeof(RawOpenReply) == 16);
constexpr size_t kStackDepthOffset = 36;  // of max_stack_depth in the INIT reply
constexpr size_t kFlags2Offset = 32;
constexpr long kOverlayfs = 0x794c7630, kEcryptfs = 0xf15f;

// The kernel refuses (ELOOP) a backing file whose own file system is stacked unless we ask for one level
// more; then nobody can stack an overlayfs on this mount, so it is asked for only where needed.
uint32_t depth_for(const std::string& dir) {
  struct statfs s {};
  if (dir.empty() || ::statfs(dir.c_str(), &s) != 0) return 1;
  return s.f_type == kOverlayfs || s.f_type == kEcryptfs ? 2 : 1;
}

ssize_t splice_receive_hook(int fdin, off_t* offin, int fdout, off_t* offout, size_t len, unsigned flags,
                            void*) {
  return ::splice(fdin, offin, fdout, offout, len, flags);
}
ssize_t splice_send_hook(int fdin, off_t* offin, int fdout, off_t* offout, size_t len, unsigned flags,
                         void*) {
  return ::splice(fdin, offin, fdout, offout, len, flags);
}

}  // namespace

KernelCompat::KernelCompat(bool want_passthrough, std::string cache_dir)
    : want_passthrough_(want_passthrough),
      cache_dir_(std::move(cache_dir)),
      stack_depth_(depth_for(cache_dir_)) {}

#if FUSE_VERSION < FUSE_MAKE_VERSION(3, 17)

Status KernelCompat::attach(fuse_session* session) {
  session_ = session;
  fuse_custom_io io{};
  io.read = read_hook;
  io.writev = writev_hook;
  io.splice_receive = splice_receive_hook;
  io.splice_send = splice_send_hook;
  const int rc = fuse_session_custom_io(session, &io, fuse_session_fd(session));
  if (rc != 0) return errno_error(-rc, "fuse_session_custom_io");
  return {};
}

void KernelCompat::configure(fuse_conn_info*) {}

#else

Status KernelCompat::attach(fuse_session* session) {
  session_ = session;
  return {};
}

void KernelCompat::configure(fuse_conn_info* conn) {
  // By `want` as everywhere in this program: fuse_set_feature_flag of 3.17.0 sets want_ext alone, and libfuse
  // refuses a connection whose init changed both.
  static_assert(FUSE_CAP_PASSTHROUGH <= UINT32_MAX && FUSE_CAP_PARALLEL_DIROPS <= UINT32_MAX);
  const auto switch_on = [conn](uint32_t flag) {
    conn->want |= conn->capable & flag;
    return (conn->capable & flag) != 0;
  };
  minor_ = conn->proto_minor;
  parallel_dirops_ = switch_on(FUSE_CAP_PARALLEL_DIROPS);
  if (want_passthrough_ && switch_on(FUSE_CAP_PASSTHROUGH)) {
    conn->max_backing_stack_depth = stack_depth_ - 1;
    asked_ = true;
    offered2_ = kInit2Passthrough;
  }
}

#endif

// Not noexcept: libfuse cancels its workers inside this read, and cancellation unwinds.
ssize_t KernelCompat::read_hook(int fd, void* buf, size_t size, void* userdata) {
  const ssize_t n = ::read(fd, buf, size);
  auto* self = static_cast<UserData*>(userdata)->compat;
  // INIT is the first request of a session and comes once: one relaxed load afterwards.
  if (n > 0 && self->minor_.load(std::memory_order_relaxed) == 0) {
    self->note_init_request(buf, static_cast<size_t>(n));
  }
  return n;
}

void KernelCompat::note_init_request(const void* buf, size_t size) {
  fuse_in_header h;
  fuse_init_in in{};
  if (size < sizeof h + 16) return;
  std::memcpy(&h, buf, sizeof h);
  if (h.opcode != FUSE_INIT) return;
  std::memcpy(&in, static_cast<const char*>(buf) + sizeof h, std::min(size - sizeof h, sizeof in));
  offered_ = in.flags;
  offered2_ = (in.flags & kInitExt) ? in.flags2 : 0;
  init_unique_ = h.unique;
  minor_ = in.minor;
}

ssize_t KernelCompat::writev_hook(int fd, iovec* iov, int count, void* userdata) {
  auto* self = static_cast<UserData*>(userdata)->compat;
  if (self->init_unique_.load(std::memory_order_relaxed) != 0) return self->patch_init_reply(fd, iov, count);
  return ::writev(fd, iov, count);
}

ssize_t KernelCompat::patch_init_reply(int fd, const iovec* iov, int count) {
  fuse_out_header h{};
  if (iov[0].iov_len == sizeof h) std::memcpy(&h, iov[0].iov_base, sizeof h);
  const bool ours = h.unique == init_unique_.load() && h.error == 0 && count == 2 && iov[1].iov_len == 64;
  if (!ours) return ::writev(fd, iov, count);
  fuse_init_out out;
  static_assert(sizeof out == 64);
  char* raw = reinterpret_cast<char*>(&out);
  std::memcpy(&out, iov[1].iov_base, sizeof out);
  out.flags |= offered_.load() & kInitParallelDirops;
  parallel_dirops_ = (out.flags & kInitParallelDirops) != 0;
  if (want_passthrough_ && (offered2_.load() & kInit2Passthrough) && !(out.flags & FUSE_WRITEBACK_CACHE)) {
    out.flags |= kInitExt;
    const uint32_t flags2 = kInit2Passthrough;
    std::memcpy(raw + kFlags2Offset, &flags2, sizeof flags2);
    std::memcpy(raw + kStackDepthOffset, &stack_depth_, sizeof stack_depth_);
    asked_ = true;
  }
  iovec patched[2] = {iov[0], {&out, sizeof out}};
  init_unique_ = 0;
  return ::writev(fd, patched, 2);
}

std::string KernelCompat::probe_reason() {
  if (!want_passthrough_) return "switched off";
  if (cache_dir_.empty()) return "no cache directory";
  if (!asked_) return fmt::format("the kernel (protocol 7.{}) does not offer it", minor_.load());
  std::string name = cache_dir_ + "/.passthrough-probe-XXXXXX";
  UniqueFd fd(::mkostemp(name.data(), O_CLOEXEC));
  if (!fd) return errno_error(errno, "create " + name).message;
  ::unlink(name.c_str());
  auto id = backing_open(fd.get());
  if (!id) return id.error().message;
  backing_close(*id);
  return {};
}

void KernelCompat::probe() {
  why_not_ = probe_reason();
  passthrough_ = why_not_.empty();
  const char* dirops = parallel_dirops() ? "parallel" : "serial";
  if (passthrough()) {
    log::info("fuse: passthrough on (protocol 7.{}, stack depth {}), {} directory operations", minor_.load(),
              stack_depth_, dirops);
  } else {
    log::info("fuse: passthrough off ({}): reads go through the daemon; {} directory operations", why_not_,
              dirops);
  }
}

Result<int32_t> KernelCompat::backing_open(int fd) {
  BackingMap map{fd, 0, 0};
  const int id = ::ioctl(fuse_session_fd(session_), S3C_BACKING_OPEN, &map);
  if (id > 0) return id;
  return errno_error(id == 0 ? EIO : errno, "register backing file");
}

void KernelCompat::backing_close(int32_t id) {
  auto u = static_cast<uint32_t>(id);
  // Fails only when the connection is gone, and then the kernel has dropped every id.
  if (::ioctl(fuse_session_fd(session_), S3C_BACKING_CLOSE, &u) != 0) {
    log::debug("fuse: closing backing id {}: {}", id, std::strerror(errno));
  }
}

int KernelCompat::reply_open(fuse_req* req, uint64_t fh, uint32_t open_flags, int32_t backing_id) {
  const RawOpenReply reply{fh, open_flags, backing_id};
  return fuse_reply_buf(req, reinterpret_cast<const char*>(&reply), sizeof reply);
}

bool KernelCompat::set_readahead_kb(uint64_t dev, unsigned kb) {
  const std::string path = fmt::format("/sys/class/bdi/{}:{}/read_ahead_kb", major(dev), minor(dev));
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  const std::string text = std::to_string(kb);
  return fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

}  // namespace s3cache::fuse
