#include "cache/cache_dir_open.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <optional>

#include "base/log.h"

namespace s3cache::cache {

namespace {

constexpr int kMaxMountsPerIdentity = 64;
constexpr std::string_view kVersionWord = "s3cache ";

// Names what was tried and what the user can do about it.
Error open_error(int err, const std::string& what) {
  Error e = errno_error(err, what);
  switch (err) {
    case ENOSPC:
    case EDQUOT:
      e.message += "; free some space there or give another use_cache=";
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      e.code = Code::kAccessDenied;
      e.message += "; make it writable for this user or give another use_cache=";
      break;
    case ENOTDIR:
    case EEXIST:
      e.code = Code::kNotDirectory;
      e.message += "; use_cache= needs a directory, or a path where one can be made";
      break;
    default:
      e.message += "; give another use_cache=";
      break;
  }
  return e;
}

// FNV-1a with a final mix: the folder's name must stay the same for ever, so the hash is spelt out here. A
// collision is harmless: the version file holds the identity itself.
uint64_t identity_hash(std::string_view s) {
  uint64_t h = 0xcbf29ce484222325;
  for (unsigned char c : s) h = (h ^ c) * 0x100000001b3;
  h ^= h >> 33;
  h *= 0xff51afd7ed558ccd;
  return h ^ h >> 33;
}

Status make_folder(const std::string& path, Undo* undo) {
  if (::mkdir(path.c_str(), 0700) == 0) {
    if (undo != nullptr) undo->made(path);
    return {};
  }
  const int err = errno;
  struct stat st;
  if (::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode)) return {};
  return open_error(err, "make the cache directory " + path);
}

Status make_root(const CacheDirOptions& o, Undo& undo) {
  struct stat st;
  if (::stat(o.root.c_str(), &st) == 0) {
    return S_ISDIR(st.st_mode) ? Status() : open_error(ENOTDIR, "use the cache directory " + o.root);
  }
  if (errno != ENOENT) return open_error(errno, "use the cache directory " + o.root);
  if (!o.create_root)
    return Error{Code::kNotFound,
                 fmt::format("the cache directory {} does not exist, and check_cache_dir_exist says "
                             "not to make it: make it or drop that option",
                             o.root)};
  for (size_t slash = o.root.find('/', 1);; slash = o.root.find('/', slash + 1)) {
    const std::string part = o.root.substr(0, slash);
    if (!part.empty()) {
      if (Status s = make_folder(part, &undo); !s.ok()) return s;
    }
    if (slash == std::string::npos) return {};
  }
}

// Opens and flocks `folder`/lock. kBusy: another process holds it.
Result<UniqueFd> take_lock(const std::string& folder, Undo& undo) {
  const std::string path = folder + "/lock";
  for (;;) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    const bool made = static_cast<bool>(fd);
    if (!fd && errno == EEXIST) fd.reset(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!fd && errno == ENOENT) {  // its maker failed and took the folder away again
      if (Status s = make_folder(folder, &undo); !s.ok()) return s.error();
      continue;
    }
    if (!fd) return open_error(errno, "open " + path);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno == EWOULDBLOCK) return Error{Code::kBusy, path + " is held by another mount"};
      return open_error(errno, "lock " + path);
    }
    // Only the lock of the file that still has the name counts: a failed open() unlinks its own.
    struct stat mine, named;
    if (::fstat(fd.get(), &mine) != 0 || ::stat(path.c_str(), &named) != 0 || mine.st_ino != named.st_ino)
      continue;
    if (made) undo.made(path);
    undo.hold(fd.get());
    return fd;
  }
}

std::optional<std::string> read_small_file(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  std::string text(8192, '\0');
  const ssize_t n = ::read(fd.get(), text.data(), text.size());
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return text;
}

struct Version {
  int number = 0;  // 0: missing or unreadable
  std::string identity;
};

Version read_version(const std::string& folder) {
  const std::optional<std::string> text = read_small_file(folder + "/version");
  Version v;
  if (!text || !text->starts_with(kVersionWord) || !text->ends_with('\n')) return v;
  const char* begin = text->data() + kVersionWord.size();
  const char* end = text->data() + text->size();
  int number = 0;
  const auto [stop, error] = std::from_chars(begin, end, number);
  if (error != std::errc() || number < 0 || stop == end || *stop != '\n') return v;
  v.number = number;
  if (stop + 1 < end) v.identity.assign(stop + 1, end - 1);
  return v;
}

// By rename after fsync: a version file is whole or not there.
Status write_version(const std::string& folder, const std::string& identity, Undo& undo) {
  const std::string path = folder + "/version";
  const std::string temporary = path + ".new";
  const std::string text = fmt::format("{}{}\n{}\n", kVersionWord, kFormatVersion, identity);
  UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return open_error(errno, "write " + path);
  const bool existed = ::access(path.c_str(), F_OK) == 0;
  errno = ENOSPC;  // what a short write means
  if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::fsync(fd.get()) != 0 || ::rename(temporary.c_str(), path.c_str()) != 0) {
    Error e = open_error(errno, "write " + path);
    ::unlink(temporary.c_str());
    return e;
  }
  if (!existed) undo.made(path);
  return {};
}

bool holds_something(const std::string& folder) {
  return ::access((folder + "/data").c_str(), F_OK) == 0 ||
         ::access((folder + "/meta.mdb").c_str(), F_OK) == 0;
}

// The folder is ours (locked): brings it to this version's format.
Status prepare(const std::string& folder, const CacheDirOptions& o, Undo& undo, bool& fresh) {
  const Version version = read_version(folder);
  fresh = version.number != kFormatVersion;
  if (fresh && holds_something(folder)) {
    log::warn("{}: {}; the cache starts empty", folder,
              version.number == 0
                  ? std::string("the version file is missing or unreadable")
                  : fmt::format("format {} is older than {}", version.number, kFormatVersion));
    if (Status s = move_aside(folder); !s.ok()) return s;
  }
  if (Status s = make_data_folders(folder, &undo); !s.ok()) return s;
  // Last: a folder whose making was cut short has no version file and is made anew.
  return fresh ? write_version(folder, o.identity, undo) : Status();
}

}  // namespace

std::string folder_name(const CacheDirOptions& o) {
  std::string name;
  for (char c : o.bucket) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || (c == '.' && !name.empty());
    name += plain ? c : '_';
  }
  return fmt::format("{}-{:016x}", name.substr(0, 200), identity_hash(o.identity));
}

Undo::~Undo() {
  for (auto it = made_.rbegin(); it != made_.rend(); ++it) std::remove(it->c_str());
}

void write_lock_pid(int lock_fd) {
  const std::string pid = fmt::format("{}\n", ::getpid());
  // Information for people only: a failure here costs nothing.
  if (::ftruncate(lock_fd, 0) == 0 && ::pwrite(lock_fd, pid.data(), pid.size(), 0) < 0) return;
}

Status make_data_folders(const std::string& folder, Undo* undo) {
  const std::string data = folder + "/data";
  struct stat st;
  const bool whole = ::stat((data + "/ff").c_str(), &st) == 0 && S_ISDIR(st.st_mode);
  if (whole) return {};  // "ff" is made last; one that a person removed later is made by create_file()
  if (Status s = make_folder(data, undo); !s.ok()) return s;
  for (int i = 0; i < 256; i++)
    if (Status s = make_folder(fmt::format("{}/{:02x}", data, i), undo); !s.ok()) return s;
  return {};
}

Status move_aside(const std::string& folder) {
  std::string trash;
  for (int n = 1;; n++) {
    trash = fmt::format("{}/{}{}", folder, kTrashPrefix, n);
    if (::mkdir(trash.c_str(), 0700) == 0) break;
    if (errno != EEXIST) return open_error(errno, "make " + trash);
  }
  for (const char* name : {"meta.mdb", "meta.mdb-lock", "data"}) {
    const std::string from = folder + "/" + name;
    if (::rename(from.c_str(), (trash + "/" + name).c_str()) != 0 && errno != ENOENT)
      return open_error(errno, "move " + from + " aside");
  }
  return {};
}

Result<OpenedFolder> open_folder(const CacheDirOptions& o, Undo& undo) {
  if (Status s = make_root(o, undo); !s.ok()) return s.error();
  const std::string base = o.root + "/" + folder_name(o);
  for (int n = 1; n <= kMaxMountsPerIdentity; n++) {
    const std::string folder = n == 1 ? base : fmt::format("{}-{}", base, n);
    // Before anything is made in it: the refusal of a newer folder leaves that folder as it is.
    const Version version = read_version(folder);
    if (version.number > kFormatVersion)
      return Error{
          Code::kNewerFormat,
          fmt::format(
              "{} was made by a newer s3cache (format {}, this one knows {}): remove it or use another "
              "use_cache=",
              folder, version.number, kFormatVersion)};
    if (version.number == kFormatVersion && version.identity != o.identity) continue;  // the hash collided
    if (Status s = make_folder(folder, &undo); !s.ok()) return s.error();
    Result<UniqueFd> lock = take_lock(folder, undo);
    if (lock.is(Code::kBusy)) continue;
    if (!lock.ok()) return lock.error();
    OpenedFolder out{folder, std::move(*lock), false};
    write_lock_pid(out.lock.get());
    if (Status s = prepare(folder, o, undo, out.fresh); !s.ok()) return s.error();
    if (n > 1)
      log::warn("{} is in use by another mount of the same bucket: this one caches in {}", base, folder);
    return out;
  }
  return Error{Code::kBusy, fmt::format("{} and {} more like it are all in use; give another use_cache=",
                                        base, kMaxMountsPerIdentity - 1)};
}

}  // namespace s3cache::cache
