// Config: what one mount was asked to do, checked and in base units. A plain struct; its initialisers are the
// defaults.
//
// option_rows.cc ties every field that an option sets to that option; parse.cc fills the struct. app copies
// from here into the options of each floor, so no floor needs to know how an option is spelled. Threads: a
// value. Units: bytes, seconds; -1 in uid, gid, umask, mp_umask: not given.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace s3cache::config {

enum class Action : uint8_t { kMount, kHelp, kVersion, kDumpManOptions };

struct Config {
  Action action = Action::kMount;
  std::string
      program;  // basename of argv[0]: "s3cache" or "s3fs"; names log lines and the file system's subtype

  // Positional arguments and short flags.
  std::string mountpoint;  // as given
  std::string bucket;
  std::string prefix;  // without a leading '/', ends in '/' unless empty
  bool foreground = false;
  bool debug_flag = false;  // -d: log at least at level info
  bool fuse_debug = false;  // a second -d: libfuse prints every request

  // Bucket and endpoint.
  std::string url = "https://s3.amazonaws.com";
  std::string servicepath = "/";
  std::string region;  // empty: not given
  bool path_style = false;
  bool public_bucket = false;
  bool requester_pays = false;
  bool no_user_agent = false;
  int64_t bucket_size = int64_t{1} << 56;  // 64 PiB, as s3fs shows it

  // Credentials.
  std::string passwd_file;
  std::string profile = "default";
  bool use_session_token = false;
  std::string iam_role;  // "auto": the instance names it
  bool ecs = false;
  bool imds_v1_only = false;
  std::string instance_metadata_url;  // from the environment, as all below; empty: the usual address
  std::string container_path, container_url;
  std::string container_token, container_token_file;

  // Cache.
  std::string use_cache;
  std::string tmpdir = "/tmp";
  int64_t cache_size = int64_t{10} << 30;
  int64_t ensure_diskfree = 0;  // 0: free_space_ratio decides
  int64_t free_space_ratio = 10;
  int64_t mem_limit = int64_t{256} << 20;
  int64_t scrub_interval = 7 * 86400;
  bool check_cache_dir_exist = false;
  bool del_cache = false;

  // Metadata.
  std::string attr = "head";
  int64_t stat_cache_expire = 900;
  int64_t stat_cache_interval_expire = -1;  // >= 0: counts from the last use, instead of stat_cache_expire
  int64_t max_stat_cache_size = -1;         // -1: by cache_size
  bool negative_cache = true;
  bool compat_dir = false;
  bool use_xattr = false;

  // Reading.
  int64_t min_fetch = 128 << 10;
  int64_t small_file = 1 << 20;
  int64_t read_ahead = 64 << 20;
  bool passthrough = true;

  // Writing.
  bool writeback = false;
  int64_t multipart_size = int64_t{10} << 20;
  int64_t multipart_copy_size = int64_t{512} << 20;
  std::string checksum = "crc32c";
  std::string conflict = "overwrite";
  std::string default_acl, storage_class, use_sse;
  std::string mime = "/etc/mime.types";
  std::string ahbe_conf;
  bool unsigned_payload = false;
  bool update_parent_dir_stat = false;
  int64_t unmount_timeout = 300;

  // Network.
  int64_t max_connections = 64;
  int64_t network_threads = 0;
  int64_t retries = 5;
  int64_t connect_timeout = 10;
  int64_t readwrite_timeout = 60;
  bool no_check_certificate = false;
  bool ssl_verify_hostname = true;
  std::string ssl_client_cert;   // CERT[:TYPE[:KEY[:KEYTYPE[:PASSWORD]]]]
  std::string ssl_key_password;  // from the environment
  std::string ca_bundle;         // from the environment
  std::string cipher_suites;
  std::string ipresolve = "whatever";
  std::string proxy, proxy_cred_file;

  // Log.
  std::string dbglevel = "warn";
  std::string logfile;
  bool no_time_stamp_msg = false;
  std::string instance_name;

  // Mount.
  bool allow_other = false;
  bool nonempty = false;
  bool read_only = false;
  int64_t uid = -1, gid = -1;
  int64_t umask = -1, mp_umask = -1;
  int64_t max_background = 256;
  std::string fsname, subtype;
  // Options that go to the kernel or fusermount3 as they are: noatime, nodev, ...; in the order given.
  std::vector<std::string> kernel_options;

  // Options accepted without effect, "name (reason)", for one line in the log.
  std::vector<std::string> notices;
};

}  // namespace s3cache::config
