// Mounted: all parts of one mount, put together floor by floor and taken apart in the opposite order.
//
// start() asks the server for the bucket before it makes anything on disk, and mounts last, so a start that
// fails leaves nothing behind. Threads: start(), serve() and the destructor on one thread, which is the first
// of the process; a stop arrives through Signals. Errors: one line each, naming the thing and the way out;
// kCancelled: stopped by a signal.
#pragma once

#include <memory>
#include <string>

#include "app/private_cache.h"
#include "app/signals.h"
#include "base/result.h"
#include "cache/cache_dir.h"
#include "config/config.h"
#include "core/filesystem.h"
#include "core/header_rules.h"
#include "ctl/control_server.h"
#include "ctl/registry.h"
#include "fuse/notifier.h"
#include "fuse/session.h"
#include "meta/meta_store.h"
#include "s3/bucket_check.h"
#include "s3/credentials.h"
#include "s3/s3_client.h"

namespace s3cache::app {

class Mounted {
 public:
  // Borrows both.
  Mounted(const config::Config& config, Signals& signals) : config_(config), signals_(signals) {}
  ~Mounted();
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;

  Status start(const std::string& mount_point, std::shared_ptr<s3::CredentialsProvider> credentials);
  // Until a signal or an unmount.
  Status serve();

 private:
  Status load_header_rules();
  Status connect(std::shared_ptr<s3::CredentialsProvider> credentials);
  Result<s3::BucketCheck> try_bucket(const s3::S3Options& options);
  Status open_cache();
  Status check_room();
  Status open_store();
  Status open_filesystem();
  Status mount(const std::string& mount_point);
  void open_control(const std::string& mount_point);
  void save_rest();
  void keep_what_is_nowhere_else();

  const config::Config& config_;
  Signals& signals_;
  std::shared_ptr<const core::HeaderRules> header_rules_;
  // In the order in which they are made; each uses only those above it.
  std::unique_ptr<s3::S3Client> s3_;
  std::unique_ptr<PrivateCache> private_cache_;
  std::unique_ptr<cache::CacheDir> dir_;
  int64_t min_free_ = 0;
  std::unique_ptr<meta::MetaStore> store_;
  fuse::Notifier notifier_;
  std::unique_ptr<core::Filesystem> filesystem_;
  std::unique_ptr<ctl::ControlServer> control_;
  std::unique_ptr<fuse::Session> session_;
  std::unique_ptr<ctl::Registration> registration_;
  bool left_unsaved_ = false;  // S3 lacks something at the end
};

}  // namespace s3cache::app
