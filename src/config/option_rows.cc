// The rows of the option table, by group, sorted by name inside a group. Everything an option is stands in
// its row.
#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "config/option_builders.h"
#include "config/option_rows_writing.h"

namespace s3cache::config {
namespace {

using namespace builders;
using Rows = std::vector<Option>;

constexpr sv kAlways = "always so";
constexpr sv kNotNeeded = "not needed";
constexpr sv kForMount = "for mount(8)";

Rows bucket_rows() {
  Option region = text("region", &Config::region, "REGION",
                       "region in the signature; also from AWS_REGION, AWS_DEFAULT_REGION");
  region.default_note = "us-east-1, or what AWS says";
  return {
      text("bucket", &Config::bucket, "BUCKET[:/PREFIX]",
           "the bucket, for the forms without a first argument"),
      size("bucket_size", &Config::bucket_size, 1, kMiB, kNoLimit, "size of the bucket that df shows"),
      rejected("createbucket", "make the bucket with your provider's tool first"),
      alias("endpoint", "region"),
      alias("host", "url"),
      ignored_number("list_object_max_keys", 1000, "listings ask for the server's most, 1000 a page"),
      accepted("listobjectsv2", kAlways),
      flag("noua", &Config::no_user_agent, "send no User-Agent header"),
      accepted("noxmlns", kNotNeeded),
      flag("public_bucket", &Config::public_bucket, "send unsigned requests; no credentials are looked for"),
      region,
      flag("requester_pays", &Config::requester_pays, "accept the charges of a requester-pays bucket"),
      text("servicepath", &Config::servicepath, "PATH",
           "path between host and bucket on services that have one"),
      rejected("sigv2", "requests are signed with version 4; leave sigv2 out"),
      accepted("sigv4", kAlways),
      text("url", &Config::url, "URL", "endpoint, with http:// or https://; also from AWS_ENDPOINT_URL"),
      flag("use_path_request_style", &Config::path_style,
           "put the bucket into the path, not into the host name"),
  };
}

Rows credential_rows() {
  constexpr sv kNoPlainKey = "keys on the command line show in ps; put them into a file and use passwd_file=";
  Option role = text("iam_role", &Config::iam_role, "auto|NAME",
                     "keys of this EC2 instance's role, renewed before they expire");
  role.value_optional = true;
  role.implied_value = "auto";
  return {
      rejected("accessKeyId", kNoPlainKey),
      rejected("credlib",
               "credential libraries are not loaded; use passwd_file=, profile= or the environment"),
      rejected("credlib_opts",
               "credential libraries are not loaded; use passwd_file=, profile= or the environment"),
      flag("ecs", &Config::ecs, "keys of this container's role, renewed before they expire"),
      role,
      rejected("ibm_iam_auth", "IBM tokens are not spoken; create HMAC keys and use passwd_file="),
      rejected("ibm_iam_endpoint", "IBM tokens are not spoken; create HMAC keys and use passwd_file="),
      flag("imdsv1only", &Config::imds_v1_only,
           "ask for the role of iam_role without a session token, as old services want it"),
      path("passwd_file", &Config::passwd_file, "FILE", "~/.passwd-s3fs, then /etc/passwd-s3fs",
           "file with KEY:SECRET or BUCKET:KEY:SECRET lines, mode 600; read again when it changes"),
      text("profile", &Config::profile, "NAME", "section of ~/.aws/credentials; also from AWS_PROFILE"),
      rejected("secretAccessKey", kNoPlainKey),
      flag("use_session_token", &Config::use_session_token,
           "insist that the credentials have a session token"),
  };
}

Rows cache_rows() {
  Option diskfree = size("ensure_diskfree", &Config::ensure_diskfree, kMiB, 0, kNoLimit,
                         "keep this much free on the cache's disk; excludes free_space_ratio");
  diskfree.default_note = "10% of the disk";
  Option limit = size("cache_size", &Config::cache_size, 1, 64 * kMiB, kNoLimit,
                      "the cache never takes more; 0: only ensure_diskfree limits it");
  limit.zero_ok = true;
  return {
      limit,
      flag("check_cache_dir_exist", &Config::check_cache_dir_exist,
           "refuse to start if use_cache does not exist"),
      flag("del_cache", &Config::del_cache, "empty this mount's cache at start and at exit"),
      diskfree,
      ignored("fake_diskfree", "the real free space counts"),
      accepted("fd_page_size", kNotNeeded),
      number("free_space_ratio", &Config::free_space_ratio, 0, 100,
             "percent of the cache's disk to keep free; excludes ensure_diskfree"),
      size("mem_limit", &Config::mem_limit, 1, 16 * kMiB, kNoLimit, "memory for data on its way from S3"),
      seconds("scrub_interval", &Config::scrub_interval, 0, 10 * 365 * 86400,
              "how often complete cache files are compared with their checksums, while idle; 0: never"),
      ignored("set_check_cache_sigusr1", "cached blocks are checked when they are read"),
      path("tmpdir", &Config::tmpdir, "DIR", "/tmp",
           "without use_cache: where the private cache of this mount lies; removed at exit, but for what S3 "
           "lacks"),
      path("use_cache", &Config::use_cache, "DIR", "",
           "cache folder, kept over remounts; may be shared by mounts"),
  };
}

Rows metadata_rows() {
  Option expire = seconds("stat_cache_expire", &Config::stat_cache_expire, 0, 10 * 365 * 86400,
                          "how long names and attributes are believed without asking S3");
  expire.overrides = "stat_cache_interval_expire";
  Option interval = seconds("stat_cache_interval_expire", &Config::stat_cache_interval_expire, 0,
                            10 * 365 * 86400, "the same, counted from the last use; the last one given wins");
  interval.overrides = "stat_cache_expire";
  interval.default_note = "not used";
  Option names =
      number("max_stat_cache_size", &Config::max_stat_cache_size, 0, kNoLimit,
             "names to know at most: past it those not used for long are forgotten, a minute's at least");
  names.default_note = "one for 3 KiB of cache_size, 2,000,000 at least";
  return {
      choice("attr", &Config::attr, "head|list", "head|list",
             "where attributes come from: HEAD (mode, owner, links as s3fs has them) or listings only"),
      ignored("attr_timeout", "the kernel's caches follow stat_cache_expire"),
      flag("compat_dir", &Config::compat_dir, "show NAME_$folder$ objects of old tools as folders"),
      accepted("complement_stat", kAlways),
      clears("disable_negative_cache", &Config::negative_cache, "do not remember that a name is absent"),
      alias("disable_noobj_cache", "disable_negative_cache"),
      flag("enable_negative_cache", &Config::negative_cache, "remember that a name is absent"),
      alias("enable_noobj_cache", "enable_negative_cache"),
      ignored("entry_timeout", "the kernel's caches follow stat_cache_expire"),
      names,
      ignored("negative_timeout", "the kernel's caches follow stat_cache_expire"),
      accepted("notsup_compat_dir", kAlways),
      expire,
      interval,
      ignored("use_wtf8", "names are shown as the bytes they are"),
      flag("use_xattr", &Config::use_xattr, "show extended attributes"),
  };
}

Rows reading_rows() {
  Option small =
      size("small_file", &Config::small_file, 1, 0, 64 * kMiB, "objects up to this size are fetched whole");
  return {
      size("min_fetch", &Config::min_fetch, 1, 4 * kKiB, 16 * kMiB, "least bytes that a read asks S3 for"),
      clears("nopassthrough", &Config::passthrough,
             "do not let the kernel read complete cache files by itself"),
      flag("passthrough", &Config::passthrough,
           "let the kernel read complete cache files by itself where it can"),
      size("read_ahead", &Config::read_ahead, 1, 0, 1024 * kMiB,
           "largest window fetched ahead of a sequential reader"),
      small,
  };
}

Rows network_rows() {
  return {
      text("cipher_suites", &Config::cipher_suites, "LIST", "TLS ciphers, as the TLS library spells them"),
      seconds("connect_timeout", &Config::connect_timeout, 1, 3600, "give up connecting after this long"),
      choice("ipresolve", &Config::ipresolve, "ipv4|ipv6|whatever", "FAMILY",
             "IPv4, IPv6 or whatever the host name has"),
      number("max_thread_count", &Config::max_connections, 1, 1024, "most requests in flight to S3"),
      alias("multireq_max", "max_thread_count"),
      number("network_threads", &Config::network_threads, 0, 64,
             "threads that move data from the network; 0: two, or one on fewer than four processors"),
      flag("no_check_certificate", &Config::no_check_certificate,
           "do not verify the server's TLS certificate"),
      accepted("nodnscache", kNotNeeded),
      accepted("nosscache", kNotNeeded),
      alias("parallel_count", "max_thread_count"),
      alias("parallel_upload", "max_thread_count"),
      text("proxy", &Config::proxy, "[SCHEME://]HOST[:PORT]",
           "go through this proxy; else as http_proxy and https_proxy say"),
      path("proxy_cred_file", &Config::proxy_cred_file, "FILE", "",
           "file with USER:PASSWORD for the proxy, mode 600"),
      seconds("readwrite_timeout", &Config::readwrite_timeout, 1, 3600,
              "give up a transfer that stands still this long"),
      number("retries", &Config::retries, 1, 100, "attempts of a request in total"),
      text("ssl_client_cert", &Config::ssl_client_cert, "CERT[:TYPE[:KEY[:KEYTYPE[:PASSWORD]]]]",
           "client certificate; the password also from S3FS_SSL_PRIVKEY_PASSWORD"),
      flag("ssl_verify_hostname", &Config::ssl_verify_hostname,
           "0: accept a TLS certificate for another host name"),
  };
}

Rows log_rows() {
  Option level = choice("dbglevel", &Config::dbglevel,
                        "silent|crit|critical|err|error|wan|warn|warning|inf|info|information|dbg|debug",
                        "LEVEL", "silent, crit, err, warn, info or debug");
  Option file = path("logfile", &Config::logfile, "FILE", "syslog; stderr with -f",
                     "log to this file; SIGHUP opens it again; also from S3FS_LOGFILE");
  return {
      ignored("curldbg", "dbglevel=debug logs every request"),
      level,
      ignored("f2", "use dbglevel=debug"),
      ignored("insecure_logging", "secrets are always masked"),
      text("instance_name", &Config::instance_name, "NAME", "added to the program's name in syslog"),
      file,
      flag("no_time_stamp_msg", &Config::no_time_stamp_msg, "log lines without a time stamp"),
  };
}

// Words of mount(8) and of the kernel, most of which every fstab line may hold.
Rows mount_word_rows() {
  constexpr sv kTimes = "access times are never stored";
  return {
      accepted("_netdev", kForMount),
      kernel("allow_root", "let root in as well"),
      kernel("async", "the kernel's default"),
      kernel("atime", "the kernel's default; access times are never stored"),
      accepted("auto", kForMount),
      accepted("auto_cache", kAlways),
      kernel("auto_unmount", "let fusermount3 unmount should the daemon die"),
      accepted("big_writes", kAlways),
      accepted("comment", kForMount),
      accepted("default_permissions", kAlways),
      accepted("defaults", kForMount),
      kernel("dev", "allow device files"),
      accepted("diratime", kTimes),
      kernel("dirsync", "folder updates are synchronous"),
      kernel("exec", "allow programs to run"),
      accepted("group", kForMount),
      accepted("intr", kNotNeeded),
      accepted("kernel_cache", kAlways),
      accepted("large_read", kAlways),
      kernel("noatime", "never update access times"),
      accepted("noauto", kForMount),
      accepted("nobootwait", kForMount),
      kernel("nodev", "no device files"),
      accepted("nodiratime", kTimes),
      kernel("noexec", "no programs run from this mount"),
      accepted("nofail", kForMount),
      accepted("norelatime", kTimes),
      accepted("nostrictatime", kTimes),
      kernel("nosuid", "set-user-id bits have no effect"),
      accepted("nouser", kForMount),
      accepted("owner", kForMount),
      accepted("relatime", kTimes),
      accepted("remember", kNotNeeded),
      flag("ro", &Config::read_only, "read only: nothing is changed"),
      clears("rw", &Config::read_only, "the opposite of ro"),
      accepted("setuid", kForMount),
      accepted("strictatime", kTimes),
      kernel("suid", "set-user-id bits have effect"),
      kernel("sync", "writes are synchronous"),
      accepted("use_ino", kAlways),
      accepted("user", kForMount),
      accepted("users", kForMount),
      accepted("x-*", "for mount(8) and systemd"),
  };
}

Rows mount_rows() {
  Option uid = {.name = "uid",
                .type = Type::kUser,
                .field = &Config::uid,
                .metavar = "USER",
                .default_note = "as stored, else the caller's",
                .help = "show this user, a number or a name, as owner of everything"};
  Option gid = {.name = "gid",
                .type = Type::kGroup,
                .field = &Config::gid,
                .metavar = "GROUP",
                .default_note = "as stored, else the caller's",
                .help = "show this group, a number or a name, on everything"};
  return {
      flag("allow_other", &Config::allow_other,
           "let other users in; a plain user needs user_allow_other in fuse.conf"),
      ignored("delay_connect", "the bucket is checked at start"),
      ignored("direct_io", "clean files keep their page cache"),
      text("fsname", &Config::fsname, "NAME", "source shown by mount and df"),
      gid,
      number("max_background", &Config::max_background, 1, 65535, "requests that the kernel keeps in flight"),
      ignored("max_read", "reads are as large as the kernel makes them"),
      ignored("max_write", "writes are as large as the kernel makes them"),
      octal("mp_umask", &Config::mp_umask, "none",
            "with allow_other: permission bits to hide of the mount point itself"),
      ignored("noac", "use stat_cache_expire=0"),
      flag("nonempty", &Config::nonempty, "mount over a folder that has entries"),
      text("subtype", &Config::subtype, "NAME", "the type shown is fuse.NAME"),
      uid,
      octal("umask", &Config::umask, "none", "permission bits to hide of everything"),
  };
}

Rows all_rows() {
  Rows mount = mount_rows();
  const Rows words = mount_word_rows();
  mount.insert(mount.end(), words.begin(), words.end());
  std::sort(mount.begin(), mount.end(), [](const Option& a, const Option& b) { return a.name < b.name; });
  const std::array<Rows, 9> groups = {bucket_rows(),   credential_rows(), cache_rows(),
                                      metadata_rows(), reading_rows(),    writing_rows(),
                                      network_rows(),  log_rows(),        std::move(mount)};
  Rows rows;
  for (size_t g = 0; g < groups.size(); ++g) {
    for (Option row : groups[g]) {
      row.group = static_cast<Group>(g);
      rows.push_back(row);
    }
  }
  return rows;
}

}  // namespace

std::span<const Option> option_rows() {
  static const Rows rows = all_rows();
  return rows;
}

std::string_view group_title(Group group) {
  constexpr std::array<sv, 9> kTitles = {"Bucket and endpoint",  "Credentials", "Cache",
                                         "Names and attributes", "Reading",     "Writing",
                                         "Network and TLS",      "Log",         "Mount"};
  return kTitles.at(static_cast<size_t>(group));
}

}  // namespace s3cache::config
