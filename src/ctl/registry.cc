#include "ctl/registry.h"

#include <fmt/format.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace s3cache::ctl {

namespace {

// Others must not be able to put links there.
Status check_folder(const std::string& folder, uid_t owner) {
  struct stat st {};
  if (::lstat(folder.c_str(), &st) != 0) return errno_error(errno, folder);
  if (S_ISDIR(st.st_mode) && st.st_uid == owner && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0) return {};
  return Error{Code::kAccessDenied, folder + " is not this user's own folder"};
}

// Root's is for everybody to look into: the sockets themselves are not.
Status make_folder(const std::string& folder) {
  const uid_t me = ::geteuid();
  if (::mkdir(folder.c_str(), me == 0 ? 0755 : 0700) != 0 && errno != EEXIST)
    return errno_error(errno, "make " + folder);
  return check_folder(folder, me);
}

Result<std::string> target_of(const std::string& link) {
  char target[PATH_MAX];
  const ssize_t n = ::readlink(link.c_str(), target, sizeof target);
  if (n < 0) return errno_error(errno, link);
  return std::string(target, static_cast<size_t>(n));
}

}  // namespace

std::vector<std::string> registry_folders(uid_t owner) {
  const std::string shared = fmt::format("/tmp/s3cache-{}", owner);
  if (owner == 0) return {"/run/s3cache", shared};
  return {fmt::format("/run/user/{}/s3cache", owner), shared};
}

Result<std::unique_ptr<Registration>> Registration::publish(const std::string& device,
                                                            const std::string& socket,
                                                            const std::vector<std::string>& folders) {
  Status last = Error{Code::kNotFound, "no folder for the control link"};
  for (const std::string& folder : folders) {
    last = make_folder(folder);
    if (!last.ok()) continue;
    const std::string link = folder + "/" + device, fresh = link + "." + std::to_string(::getpid());
    ::unlink(fresh.c_str());
    if (::symlink(socket.c_str(), fresh.c_str()) == 0 && ::rename(fresh.c_str(), link.c_str()) == 0)
      return std::unique_ptr<Registration>(new Registration(link, socket));
    last = errno_error(errno, "make " + link);
  }
  return last.error();
}

Registration::~Registration() {
  // The number may be another mount's by now.
  const auto target = target_of(link_);
  if (target.ok() && *target == socket_) ::unlink(link_.c_str());
}

Result<std::string> registered_socket(const std::string& device, uid_t owner,
                                      const std::vector<std::string>& folders) {
  Error last{Code::kNotFound, "no control link for " + device};
  for (const std::string& folder : folders) {
    struct stat st {};
    if (::lstat(folder.c_str(), &st) != 0 && errno == ENOENT) continue;
    if (Status s = check_folder(folder, owner); !s.ok()) {
      last = s.error();
      continue;
    }
    auto target = target_of(folder + "/" + device);
    if (target.ok()) return target;
    if (!target.is(Code::kNotFound)) last = target.error();
  }
  return last;
}

}  // namespace s3cache::ctl
