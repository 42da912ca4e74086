#include "meta/store_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <set>

#include "base/sync.h"
#include "base/unique_fd.h"
#include "meta/meta_store.h"
#include "meta/page_format.h"

namespace s3cache::meta {
namespace {

using format::Header, format::kPageHeader;

std::string damaged_mark(const std::string& path) { return path + ".damaged"; }

std::string clean_note(const std::string& path) {
  constexpr std::string_view kEnding = ".mdb";
  return (path.ends_with(kEnding) ? path.substr(0, path.size() - kEnding.size()) : path) + ".ok";
}

// What the note of a clean close says of the file as it is; empty: it cannot be told.
std::string state_of(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  std::string head(2 * page, '\0');
  struct stat st {};
  if (!fd || ::fstat(fd.get(), &st) != 0) return {};
  if (::pread(fd.get(), head.data(), head.size(), 0) != static_cast<ssize_t>(head.size())) return {};
  const long long mtime_ns = st.st_mtim.tv_sec * 1'000'000'000LL + st.st_mtim.tv_nsec;
  return std::to_string(st.st_size) + " " + std::to_string(mtime_ns) + " " +
         std::to_string(format::newest_header(head, page).txnid) + "\n";
}

Error corrupt(const std::string& path, const char* what) {
  return {Code::kCorrupt, "metadata store " + path + ": " + what};
}

Status check_header(const std::string& path, const char* page, Header& meta) {
  meta = format::load<Header>(page + kPageHeader);
  if (meta.magic != format::kMagic || (format::page_flags(page) & format::kMeta) == 0)
    return corrupt(path, "not an LMDB file");
  if (meta.version > format::kDataVersion) {
    return Error{Code::kNewerFormat, "metadata store " + path +
                                         " was written by a later LMDB (data version " +
                                         std::to_string(meta.version) +
                                         "): use that build of s3cache again, or another cache directory"};
  }
  if (meta.version != format::kDataVersion) return corrupt(path, "unknown LMDB data version");
  if (meta.trees[0].pad != static_cast<uint32_t>(::sysconf(_SC_PAGESIZE))) {
    return corrupt(path, "made with another page size");
  }
  for (const format::Tree& tree : meta.trees) {
    if (tree.root != format::kNoPage && (tree.root > meta.last_page || tree.root < 2)) {
      return corrupt(path, "a root lies outside the file");
    }
  }
  if (meta.last_page < 1 || meta.last_page > (uint64_t{1} << 47) / meta.trees[0].pad) {
    return corrupt(path, "impossible size in the header");
  }
  return {};
}

}  // namespace

Status check_store_file(const std::string& path, bool* shortened) {
  *shortened = false;
  if (::access(damaged_mark(path).c_str(), F_OK) == 0) return corrupt(path, "found damaged by the last run");
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return errno == ENOENT ? Status() : Status(errno_error(errno, "open " + path));
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return errno_error(errno, "stat " + path);
  if (!S_ISREG(st.st_mode)) return corrupt(path, "not a regular file");
  if (st.st_size == 0) return {};
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  std::string head(2 * page, '\0');
  const ssize_t got = ::pread(fd.get(), head.data(), head.size(), 0);
  if (got < 0) return errno_error(errno, "read " + path);
  if (static_cast<size_t>(got) < head.size()) return corrupt(path, "too short");
  uint64_t last_page = 0;
  for (int i = 0; i < 2; ++i) {
    Header meta;
    if (Status s = check_header(path, head.data() + i * page, meta); !s.ok()) return s;
    last_page = std::max(last_page, meta.last_page);
  }
  const auto wanted = static_cast<off_t>((last_page + 1) * page);
  if (st.st_size >= wanted) return {};
  // LMDB leaves out trailing pages that a transaction took and gave back, so a file a little short is in
  // order.
  *shortened = true;
  if (::truncate(path.c_str(), wanted) != 0) return errno_error(errno, "lengthen " + path);
  return {};
}

void mark_store_damaged(const std::string& path) {
  UniqueFd fd(::open(damaged_mark(path).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (fd) ::fsync(fd.get());  // takes its name to the disk with it
}

void note_clean_close(const std::string& path) {
  const std::string state = state_of(path);
  if (state.empty()) return;
  const std::string note = clean_note(path), fresh = note + ".new";
  UniqueFd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return;
  const bool whole = ::write(fd.get(), state.data(), state.size()) == static_cast<ssize_t>(state.size());
  if (!whole || ::rename(fresh.c_str(), note.c_str()) != 0) ::unlink(fresh.c_str());
}

bool closed_cleanly(const std::string& path) {
  UniqueFd fd(::open(clean_note(path).c_str(), O_RDONLY | O_CLOEXEC));
  char text[128];
  const ssize_t n = fd ? ::read(fd.get(), text, sizeof text) : 0;
  return n > 0 && std::string_view(text, static_cast<size_t>(n)) == state_of(path);
}

void forget_clean_close(const std::string& path) { ::unlink(clean_note(path).c_str()); }

bool disk_is_full(const std::string& path) {
  struct statvfs v {};
  if (::statvfs(path.c_str(), &v) != 0) return false;
  return static_cast<uint64_t>(v.f_bavail) * v.f_frsize < (1U << 20);  // below any group's worth of pages
}

uint64_t file_disk_bytes(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 ? static_cast<uint64_t>(st.st_blocks) * 512 : 0;
}

uint64_t file_size(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 ? static_cast<uint64_t>(st.st_size) : 0;
}

Status remove_store_files(const std::string& path) {
  // The mark last: whoever is stopped half-way finds the store still damaged.
  for (const std::string& p :
       {path, path + "-lock", clean_note(path), clean_note(path) + ".new", damaged_mark(path)}) {
    if (::unlink(p.c_str()) != 0 && errno != ENOENT) return errno_error(errno, "unlink " + p);
  }
  return {};
}

namespace {
Mutex& registry_mu() {
  static Mutex mu;
  return mu;
}
std::set<std::string>& registry() {
  static std::set<std::string> open_paths;
  return open_paths;
}
}  // namespace

Result<OpenOnce> OpenOnce::claim(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  char real[PATH_MAX];
  if (::realpath(folder.c_str(), real) == nullptr) return errno_error(errno, "open " + folder);
  std::string key = std::string(real) + "/" + path.substr(slash == std::string::npos ? 0 : slash + 1);
  MutexLock l(registry_mu());
  if (!registry().insert(key).second)
    return Error{Code::kBusy, "metadata store " + path + " is already open"};
  return OpenOnce(std::move(key));
}

OpenOnce::OpenOnce(OpenOnce&& o) noexcept : key_(std::exchange(o.key_, {})) {}

OpenOnce::~OpenOnce() {
  if (key_.empty()) return;
  MutexLock l(registry_mu());
  registry().erase(key_);
}

}  // namespace s3cache::meta
