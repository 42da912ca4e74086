// What the app tells the FUSE edge. A plain struct; fuse/session.h reads it once, at mount.
#pragma once

#include <string>
#include <vector>

namespace s3cache::fuse {

struct Options {
  std::string mountpoint;
  std::string fsname = "s3cache";   // first column of /proc/mounts
  std::string subtype = "s3cache";  // fuse.<subtype> is its type
  bool allow_other = false;
  bool read_only = true;            // MS_RDONLY; saves a GETATTR after each read besides
  bool default_permissions = true;  // the kernel checks modes
  bool nonempty = false;            // mount over a directory that has entries
  bool use_xattr = false;           // without it xattr calls answer ENOSYS once and are never asked again
  bool passthrough = true;          // false: `nopassthrough`
  bool clone_fd = false;            // one /dev/fuse descriptor a worker; no gain measured
  int max_threads = 8;  // workers at most, started as needed; only disk reads hold one, network waits never
  int max_background = 256;   // readahead requests in flight; the kernel's default of 12 starves a fast disk
  unsigned max_io = 1 << 20;  // bytes of one READ or WRITE
  unsigned readahead_kb = 1024;  // written to the mount's bdi; 0 leaves the kernel's 128
  // The same where there is no passthrough: two READs of a stream under way were a fifth faster than one. Not
  // more than needed: a fault of a mapped file reads that much around it.
  unsigned daemon_readahead_kb = 2048;
  size_t page_records = 100'000;  // closed files whose kernel pages are remembered; about 150 bytes each
  std::string cache_dir;  // where backing files will lie: probed for passthrough. Empty: no passthrough
  std::vector<std::string> mount_options;  // further libfuse -o words, as they are
};

}  // namespace s3cache::fuse
