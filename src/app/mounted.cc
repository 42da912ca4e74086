#include "app/mounted.h"

#include <fmt/format.h>
#include <fuse_log.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string_view>

#include "app/cli.h"
#include "app/floor_options.h"
#include "base/log.h"
#include "base/sync.h"
#include "core/make_filesystem.h"
#include "core/sync_wait.h"
#include "core/unsaved.h"
#include "ctl/mount_table.h"
#include "s3/s3_http_client.h"

namespace s3cache::app {
namespace {

constexpr int64_t kMiB = 1 << 20;
// A cache with less than this would hold next to nothing.
constexpr int64_t kLeastRoom = 16 * kMiB;
// Address space for some 80 million names: growing later would make every reader wait.
constexpr size_t kStoreMap = size_t{16} << 30;

// libfuse's own lines go where all others go, and not to the standard error, where a start says one line.
void log_of_libfuse(fuse_log_level level, const char* format, va_list arguments) {
  char line[512];
  std::vsnprintf(line, sizeof(line), format, arguments);
  std::string_view text = line;
  while (text.ends_with('\n')) text.remove_suffix(1);
  if (level >= FUSE_LOG_DEBUG) {
    log::debug("{}", text);
  } else {
    log::warn("{}", text);
  }
}

Error stopped() { return {Code::kCancelled, "stopped by a signal during the start"}; }

}  // namespace

Mounted::~Mounted() {
  signals_.on_stop(nullptr);
  registration_.reset();
  session_.reset();
  if (control_) control_->set_unmounting();
  if (filesystem_) save_rest();
  control_.reset();
  filesystem_.reset();
  store_.reset();
  keep_what_is_nowhere_else();
  if (dir_ && config_.del_cache && !left_unsaved_) {
    if (auto status = dir_->rebuild(); !status) log::warn("del_cache: {}", status.error().message);
  }
}

Status Mounted::start(const std::string& mount_point, std::shared_ptr<s3::CredentialsProvider> credentials) {
  if (auto status = load_header_rules(); !status) return status;
  if (auto status = connect(std::move(credentials)); !status) return status;
  if (auto status = open_cache(); !status) return status;
  if (auto status = open_store(); !status) return status;
  if (auto status = open_filesystem(); !status) return status;
  if (signals_.stop_requested()) return stopped();
  return mount(mount_point);
}

Status Mounted::load_header_rules() {
  if (config_.ahbe_conf.empty()) return {};
  auto rules = core::HeaderRules::load(config_.ahbe_conf);
  if (!rules) return rules.error();
  header_rules_ = std::make_shared<const core::HeaderRules>(std::move(*rules));
  return {};
}

Status Mounted::connect(std::shared_ptr<s3::CredentialsProvider> credentials) {
  auto options = s3_options(config_, std::move(credentials));
  if (!options) return options.error();
  auto check = try_bucket(*options);
  if (!check) return check.error();
  // AWS names the bucket's region; who gave neither region nor endpoint gets it, as in s3fs.
  const bool may_move = config_.region.empty() && config_.url == config::Config{}.url;
  if (!check->status.ok() && may_move && !check->right_region.empty()) {
    log::info("bucket {} is in region {}", config_.bucket, check->right_region);
    options->region = check->right_region;
    check = try_bucket(*options);
    if (!check) return check.error();
  }
  if (!check->status.ok()) return check->status;
  if (config_.prefix.empty() || check->prefix_exists) return {};
  return Error{
      Code::kNotFound,
      fmt::format("Bucket or directory not found: nothing in bucket {} begins with {}: check the prefix",
                  config_.bucket, config_.prefix)};
}

Result<s3::BucketCheck> Mounted::try_bucket(const s3::S3Options& options) {
  s3_.reset();
  auto client = s3::S3HttpClient::create(options);
  if (!client) return client.error();
  s3::S3HttpClient& http = **client;
  s3_ = std::move(*client);
  signals_.on_stop([&http] { http.shutdown(); });
  s3::BucketCheck check = s3::check_bucket(http, config_.prefix);
  signals_.on_stop(nullptr);
  if (signals_.stop_requested()) return stopped();
  return check;
}

Status Mounted::open_cache() {
  std::string root = config_.use_cache;
  if (root.empty()) {
    const std::string folder = cache::folder_name(cache_dir_options(config_, config_.tmpdir));
    auto made = PrivateCache::create({config_.tmpdir, folder, core::holds_unsaved});
    if (!made) return made.error();
    private_cache_ = std::move(*made);
    root = private_cache_->path();
  }
  auto dir = cache::CacheDir::open(cache_dir_options(config_, root));
  if (!dir) return dir.error();
  dir_ = std::move(*dir);
  if (config_.del_cache && !dir_->fresh()) {
    if (auto status = dir_->rebuild(); !status) return status;
  }
  return check_room();
}

Status Mounted::check_room() {
  auto space = dir_->space();
  if (!space) return space.error();
  min_free_ = min_free_bytes(config_, space->total);
  // A cache that exists may fill the disk up to the floor by itself; it makes its own room.
  if (!dir_->fresh() || space->free >= min_free_ + kLeastRoom) return {};
  return Error{
      Code::kNoSpace,
      fmt::format(
          "not enough disk space for a cache in {}: {} MiB are free and {} MiB have to stay free: make room, "
          "use another use_cache, or lower ensure_diskfree",
          dir_->path(), space->free / kMiB, min_free_ / kMiB)};
}

Status Mounted::open_store() {
  meta::Options options;
  options.path = dir_->store_path();
  options.initial_map_bytes = kStoreMap;
  // Numbers begin anew with the store: cache files of an earlier one would be taken for the new ones.
  struct stat st;
  if (!dir_->fresh() && (::stat(options.path.c_str(), &st) != 0 || st.st_size == 0)) {
    log::warn("metadata store {} is gone: the cache starts afresh", options.path);
    if (auto status = dir_->rebuild(); !status) return status;
  }
  auto store = meta::MetaStore::open(options);
  if (store.is(Code::kCorrupt)) {
    log::warn("{}: the cache starts afresh", store.error().message);
    if (auto status = dir_->rebuild(); !status) return status;
    // The store's notes beside it are no part of what rebuild() moves.
    if (auto status = meta::remove_store_files(options.path); !status) return status;
    store = meta::MetaStore::open(options);
  }
  if (!store) return store.error();
  store_ = std::move(*store);
  return {};
}

Status Mounted::open_filesystem() {
  core::FilesystemOptions options = filesystem_options(config_, min_free_);
  options.upload.rules = header_rules_;
  auto filesystem =
      core::make_filesystem({*store_, *dir_, *s3_, &notifier_, Clock::real()}, std::move(options));
  if (!filesystem) return filesystem.error();
  filesystem_ = std::move(*filesystem);
  return {};
}

Status Mounted::mount(const std::string& mount_point) {
  fuse_set_log_func(log_of_libfuse);
  auto session = fuse::Session::mount(fuse_options(config_, mount_point, dir_->path()), *filesystem_,
                                      notifier_, [this] { return store_->next_id(); });
  if (!session) return session.error();
  session_ = std::move(*session);
  signals_.on_stop([this] { session_->request_exit(); });
  open_control(mount_point);
  return {};
}

// A mount works without it, so nothing here is a reason not to.
void Mounted::open_control(const std::string& mount_point) {
  ctl::MountInfo mount;
  mount.version = kVersion;
  mount.device = ctl::device_name(session_->device());
  mount.mount_point = mount_point;
  mount.bucket = config_.bucket;
  mount.prefix = config_.prefix;
  mount.url = config_.url;
  mount.mode = config_.read_only ? "ro" : config_.writeback ? "writeback" : "rw";
  mount.cache_dir = dir_->path();
  mount.passthrough = session_->passthrough();
  mount.why_no_passthrough = session_->why_no_passthrough();
  mount.started_at_s = Clock::real().wall_s();
  mount.pid = ::getpid();
  const std::string device = mount.device;
  auto control = ctl::ControlServer::start(dir_->path(), std::move(mount), *filesystem_, Clock::real());
  if (!control) return log::warn("no control socket: {}", control.error().message);
  control_ = std::move(*control);
  auto registered =
      ctl::Registration::publish(device, dir_->socket_path(), ctl::registry_folders(::geteuid()));
  if (!registered)
    return log::warn("s3cache sync and status will not find it: {}", registered.error().message);
  registration_ = std::move(*registered);
}

// The kernel's handles are gone; what they left dirty goes up now, or after the next mount.
void Mounted::save_rest() {
  struct Waker {
    Mutex mu;
    CondVar wake;
    bool woken GUARDED_BY(mu) = false;
  };
  const auto waker = std::make_shared<Waker>();
  core::SyncWait wait(*filesystem_, Clock::real(), [waker] {
    MutexLock lock(waker->mu);
    waker->woken = true;
    waker->wake.notify_all();
  });
  const int64_t deadline_ms = Clock::real().mono_ms() + config_.unmount_timeout * 1000;
  std::string why = fmt::format("uploads did not end within {} s (unmount_timeout)", config_.unmount_timeout);
  for (;;) {
    if (const auto ended = wait.step()) {
      if (ended->ok()) return;
      why = ended->error().message;
      break;
    }
    const int64_t left_ms = deadline_ms - Clock::real().mono_ms();
    if (left_ms <= 0) break;
    MutexLock lock(waker->mu);
    const auto pause = std::chrono::milliseconds(std::min(left_ms, core::SyncWait::kStepMs));
    if (!waker->woken) waker->wake.wait_for(waker->mu, pause);
    waker->woken = false;
  }
  const core::Stats left = filesystem_->stats();
  left_unsaved_ = !left.clean();
  if (!left_unsaved_) return;
  std::string trouble;
  if (left.trouble)
    trouble = fmt::format("; last error: {}: {}", left.trouble->key, left.trouble->error.message);
  log::error(
      "unmount: {}; not on S3: {} files with {} bytes, {} changes of names and attributes{}; they go up "
      "after the next mount of this bucket with this {}",
      why, left.dirty_files, left.dirty_bytes, left.changes, trouble,
      private_cache_ ? "tmpdir" : "use_cache");
}

// A private cache goes with its mount, but not with what S3 or a person still has to get.
void Mounted::keep_what_is_nowhere_else() {
  if (!private_cache_) return;
  const std::string& root = private_cache_->path();
  const std::string folder =
      dir_ ? dir_->path() : root + "/" + cache::folder_name(cache_dir_options(config_, root));
  if (!core::holds_unsaved(folder)) return;
  private_cache_->keep();
  log::warn("private cache {} stays: it holds changes that are not on S3{}", root,
            left_unsaved_ ? "" : fmt::format(", set aside: s3cache recover list {}", folder));
}

Status Mounted::serve() { return session_->run(); }

}  // namespace s3cache::app
