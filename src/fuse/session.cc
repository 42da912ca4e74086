#include "fuse/session.h"

#include <fuse_log.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <string>
#include <vector>

#include "base/log.h"
#include "fuse/mountpoint.h"
#include "fuse/ops.h"

namespace s3cache::fuse {
namespace {

// libfuse's loop looks at its exit flag only when its semaphore wait is interrupted, so leaving takes a
// signal. A real-time one that neither the app nor libfuse uses.
int wake_signal() { return SIGRTMIN + 7; }

void install_wake_handler() {
  struct sigaction sa {};
  sa.sa_handler = [](int) {};
  ::sigemptyset(&sa.sa_mask);
  ::sigaction(wake_signal(), &sa, nullptr);  // no SA_RESTART: the wait must end
}

// libfuse's own messages (an unknown option, a refused mount) go where ours go.
void log_from_libfuse(fuse_log_level level, const char* format, va_list args) {
  // It writes one message in several pieces; the newline ends it.
  static thread_local std::string line;
  char piece[512];
  std::vsnprintf(piece, sizeof piece, format, args);
  line += piece;
  if (!line.ends_with('\n')) return;
  while (line.ends_with('\n')) line.pop_back();
  if (level <= FUSE_LOG_ERR) {
    log::error("{}", line);
  } else {
    log::info("{}", line);
  }
  line.clear();
}

std::vector<std::string> mount_arguments(const Options& o) {
  std::vector<std::string> a{"s3cache"};
  auto option = [&a](std::string word) {
    a.push_back("-o");
    a.push_back(std::move(word));
  };
  // A comma or backslash in a name would end the option.
  std::string fsname;
  for (char c : o.fsname) {
    if (c == ',' || c == '\\') fsname += '\\';
    fsname += c;
  }
  option("fsname=" + fsname);
  option("subtype=" + o.subtype);
  option("max_read=" + std::to_string(o.max_io));  // the kernel wants it here and in INIT
  if (o.default_permissions) option("default_permissions");
  if (o.allow_other) option("allow_other");
  if (o.read_only) option("ro");
  for (const std::string& word : o.mount_options) option(word);
  return a;
}

// The first request to the mount, by a child that holds none of our descriptors: a thread of ours that waits
// for our own answer keeps a killed process from ending, its connection open, and everybody at the mount
// waiting for ever.
int first_request(const std::string& mountpoint) {
  const pid_t child = ::fork();
  if (child < 0) return errno;
  if (child == 0) {
    ::close_range(0, ~0U, 0);
    struct statfs s {};
    ::_exit(::statfs(mountpoint.c_str(), &s) == 0 ? 0 : errno);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return errno;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

}  // namespace

Session::Session(const Options& options, core::Filesystem& fs, Notifier& notifier,
                 Incarnations::NextId next_id)
    : options_(options),
      notifier_(notifier),
      compat_(std::make_shared<KernelCompat>(options.passthrough, options.cache_dir)),
      ops_(std::make_shared<Ops>(options, fs, notifier, compat_, std::move(next_id))),
      data_{compat_.get(), ops_.get()} {}

Result<std::unique_ptr<Session>> Session::mount(const Options& options, core::Filesystem& fs,
                                                Notifier& notifier, Incarnations::NextId next_id) {
  if (auto ok = check_mountpoint(options.mountpoint, options.nonempty); !ok) return ok.error();
  std::unique_ptr<Session> s(new Session(options, fs, notifier, std::move(next_id)));
  if (auto ok = s->start(); !ok) return ok.error();
  return s;
}

Status Session::start() {
  std::vector<std::string> words = mount_arguments(options_);
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  fuse_args args = FUSE_ARGS_INIT(static_cast<int>(argv.size()), argv.data());
  fuse_set_log_func(log_from_libfuse);
  const fuse_lowlevel_ops table = Ops::table(options_);
  session_ = fuse_session_new(&args, &table, sizeof table, &data_);
  fuse_opt_free_args(&args);
  if (session_ == nullptr) return Error{Code::kInvalid, "mount options: libfuse does not know one of them"};

  const auto before = mounted_dev(options_.mountpoint);
  errno = 0;
  if (fuse_session_mount(session_, options_.mountpoint.c_str()) != 0) {
    const std::string what = "mount on " + options_.mountpoint;
    return errno != 0 ? errno_error(errno, what) : Error{Code::kIo, what + ": refused (see above)"};
  }
  mounted_ = true;
  if (auto ok = compat_->attach(session_); !ok) return ok;
  const auto dev = mounted_dev(options_.mountpoint);
  if (!dev || dev == before)
    return Error{Code::kIo, "mount on " + options_.mountpoint + ": it did not appear"};
  dev_ = *dev;
  install_wake_handler();
  thread_ = std::thread([this] { loop(); });
  return wait_ready();
}

Status Session::wait_ready() {
  // Blocks in the kernel until INIT is answered, then is one STATFS, which core answers from memory.
  if (const int error = first_request(options_.mountpoint); error != 0) {
    return errno_error(error, "first request to " + options_.mountpoint);
  }
  ready_ = true;
  compat_->probe();
  const unsigned kb = compat_->passthrough() ? options_.readahead_kb : options_.daemon_readahead_kb;
  if (kb != 0 && !KernelCompat::set_readahead_kb(dev_, kb)) {
    log::info("fuse: cannot raise the readahead window of {}: it stays at 128 KiB", options_.mountpoint);
  }
  notifier_.start(
      this, [this](uint64_t ino) { return ops_->incarnations().nodeids_of(ino); },
      [this](uint64_t nodeid, uint64_t stamp) { ops_->incarnations().pages_dropped(nodeid, stamp); });
  return {};
}

void Session::loop() {
  // The app may block every signal before it starts threads; this one must get through.
  sigset_t wake;
  ::sigemptyset(&wake);
  ::sigaddset(&wake, wake_signal());
  ::pthread_sigmask(SIG_UNBLOCK, &wake, nullptr);
  fuse_loop_config* config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_clone_fd(config, options_.clone_fd ? 1 : 0);
  fuse_loop_cfg_set_max_threads(config, static_cast<unsigned>(options_.max_threads));
  const int rc = fuse_session_loop_mt(session_, config);
  fuse_loop_cfg_destroy(config);
  // wait_ready() waits for an answer nobody will give any more.
  if (!ready_) abort_mount(options_.mountpoint, dev_, fuse_session_fd(session_));
  MutexLock lock(mu_);
  done_ = true;
  loop_error_ = rc;
  cv_.notify_all();
}

Status Session::run() {
  {
    MutexLock lock(mu_);
    while (!done_ && !exit_wanted_) cv_.wait(mu_);
  }
  stop_loop();
  MutexLock lock(mu_);
  if (loop_error_ < 0) return errno_error(-loop_error_, "FUSE session on " + options_.mountpoint);
  return {};
}

void Session::request_exit() {
  MutexLock lock(mu_);
  exit_wanted_ = true;
  cv_.notify_all();
}

void Session::stop_loop() {
  fuse_session_exit(session_);
  MutexLock lock(mu_);
  // The signal may arrive just before the loop starts to wait and be lost: once more until it has gone.
  while (!done_) {
    ::pthread_kill(thread_.native_handle(), wake_signal());
    cv_.wait_for(mu_, std::chrono::milliseconds(10));
  }
}

Session::~Session() {
  if (thread_.joinable()) {
    stop_loop();
    thread_.join();
  }
  // In this order: programs that wait are answered, the connection is aborted so that nobody is stuck in it
  // (the notifier may be, behind a READ nobody will answer), and only then is the session taken apart.
  ops_->parked().kill_watch().stop();
  ops_->parked().answer_all(ECONNABORTED);
  if (dev_ != 0) abort_mount(options_.mountpoint, dev_, fuse_session_fd(session_));
  notifier_.stop();
  ops_->parked().gate().close();
  if (session_ != nullptr) {
    if (mounted_) fuse_session_unmount(session_);
    fuse_session_destroy(session_);
  }
}

Incarnations& Session::incarnations() { return ops_->incarnations(); }
size_t Session::waiting_requests() { return ops_->parked().size(); }
size_t Session::watched_requests() { return ops_->parked().kill_watch().size(); }

void Session::invalidate_attributes(uint64_t nodeid) {
  fuse_lowlevel_notify_inval_inode(session_, nodeid, -1, 0);
}

void Session::invalidate_pages(uint64_t nodeid) { fuse_lowlevel_notify_inval_inode(session_, nodeid, 0, 0); }

bool Session::directory_waits(uint64_t nodeid) { return ops_->parked().directory_waits(nodeid); }

void Session::invalidate_entry(uint64_t parent, const std::string& name) {
  fuse_lowlevel_notify_inval_entry(session_, parent, name.c_str(), name.size());
}

}  // namespace s3cache::fuse
