#include "ctl/mount_table.h"

#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <deque>
#include <fstream>
#include <sstream>

namespace s3cache::ctl {

namespace {

constexpr int kMaxLinks = 40;

// mountinfo writes blanks, tabs, line ends and backslashes as \ooo.
std::string unescape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool octal = text[i] == '\\' && i + 3 < text.size();
    if (!octal) {
      out += text[i];
      continue;
    }
    out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
    i += 3;
  }
  return out;
}

uid_t owner_in(const std::string& options) {
  constexpr std::string_view kWord = "user_id=";
  size_t at = options.find(kWord);
  if (at == std::string::npos) return 0;
  at += kWord.size();
  uid_t uid = 0;
  std::from_chars(options.data() + at, options.data() + options.size(), uid);
  return uid;
}

void push_front(std::deque<std::string>& components, const std::string& path) {
  std::vector<std::string> words;
  std::istringstream in(path);
  for (std::string word; std::getline(in, word, '/');)
    if (!word.empty() && word != ".") words.push_back(word);
  components.insert(components.begin(), words.begin(), words.end());
}

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

Result<std::string> link_target(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t n = ::readlink(path.c_str(), target, sizeof target);
  if (n < 0) return errno_error(errno, path);
  return std::string(target, static_cast<size_t>(n));
}

}  // namespace

MountTable MountTable::of_this_process() {
  std::ifstream in("/proc/self/mountinfo");
  return parse(in);
}

MountTable MountTable::parse(std::istream& mountinfo) {
  MountTable table;
  for (std::string line; std::getline(mountinfo, line);) {
    std::istringstream words(line);
    std::string skip, word, options;
    MountEntry entry;
    words >> skip >> skip >> entry.device >> skip >> entry.path;
    while (words >> word && word != "-") {
    }
    words >> entry.type >> entry.source >> options;
    if (words.fail()) continue;
    entry.path = unescape(entry.path);
    entry.source = unescape(entry.source);
    entry.owner = owner_in(options);
    table.entries_.push_back(std::move(entry));
  }
  return table;
}

const MountEntry* MountTable::at(const std::string& path) const {
  const auto it = std::find_if(entries_.rbegin(), entries_.rend(),
                               [&path](const MountEntry& entry) { return entry.path == path; });
  return it == entries_.rend() ? nullptr : &*it;
}

const MountEntry* MountTable::fuse_around(std::string path) const {
  for (; !path.empty(); path = parent_of(path))
    if (const MountEntry* entry = at(path); entry != nullptr && entry->fuse()) return entry;
  return nullptr;
}

Result<MountEntry> MountTable::find(const std::string& path) const {
  std::string here;  // "" is the root
  std::deque<std::string> left;
  push_front(left, path);
  if (!path.starts_with('/')) {
    char cwd[PATH_MAX];
    if (::getcwd(cwd, sizeof cwd) == nullptr) return errno_error(errno, "the current directory");
    push_front(left, cwd);
  }
  const MountEntry* found = nullptr;
  for (int links = 0; !left.empty();) {
    const std::string name = left.front();
    left.pop_front();
    if (name == "..") {
      here = parent_of(here);
      if (found) found = fuse_around(here);
      continue;
    }
    const std::string next = here + "/" + name;
    if (const MountEntry* entry = at(next); entry != nullptr && entry->fuse()) found = entry;
    if (found) {  // from here on by the words alone: a mount in a mount counts, a link inside does not
      here = next;
      continue;
    }
    struct stat st {};
    if (::lstat(next.c_str(), &st) != 0) return errno_error(errno, path);
    if (!S_ISLNK(st.st_mode)) {
      here = next;
      continue;
    }
    if (++links > kMaxLinks) return errno_error(ELOOP, path);
    auto target = link_target(next);
    if (!target.ok()) return target.error();
    if (target->starts_with('/')) here.clear();
    push_front(left, *target);
  }
  if (found) return *found;
  return Error{Code::kInvalid, path + " is not on an s3cache mount"};
}

std::string device_name(dev_t device) {
  return std::to_string(major(device)) + ":" + std::to_string(minor(device));
}

}  // namespace s3cache::ctl
