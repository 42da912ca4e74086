#include "core/namespace_names.h"

#include <algorithm>

namespace s3cache::core {

bool nameable(std::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.size() > kMaxName) return false;
  return name.find('\0') == std::string_view::npos && name.find('/') == std::string_view::npos;
}

namespace {

class Splitter {
 public:
  Splitter(const std::string& prefix, bool compat_dir) : prefix_(prefix), compat_dir_(compat_dir) {}

  void object(s3::ListedObject&& object) {
    if (!object.key.starts_with(prefix_)) return refuse();
    const std::string_view tail = std::string_view(object.key).substr(prefix_.size());
    if (tail.empty()) {
      out_.marker = std::move(object);
      return;
    }
    if (tail.find('/') != std::string_view::npos) return directory(tail);
    if (compat_dir_ && tail.size() > kFolderSuffix.size() && tail.ends_with(kFolderSuffix)) {
      return name(tail.substr(0, tail.size() - kFolderSuffix.size()), true, {});
    }
    std::string file(tail);
    name(file, false, std::move(object));
  }

  void directory(std::string_view tail) {
    if (tail == "/" && prefix_.empty()) {
      out_.marker = s3::ListedObject{};
      out_.marker->key.assign(1, '/');
      return;
    }
    name(tail.substr(0, tail.find('/')), true, {});
  }

  void common_prefix(const std::string& common) {
    if (!common.starts_with(prefix_) || common.size() == prefix_.size()) return refuse();
    directory(std::string_view(common).substr(prefix_.size()));
  }

  SplitPage finish() {
    const auto less = [](const ListedName& a, const ListedName& b) { return a.key < b.key; };
    const auto same = [](const ListedName& a, const ListedName& b) { return a.key == b.key; };
    std::stable_sort(out_.names.begin(), out_.names.end(), less);
    out_.names.erase(std::unique(out_.names.begin(), out_.names.end(), same), out_.names.end());
    return std::move(out_);
  }

 private:
  void refuse() { out_.unnameable++; }

  void name(std::string_view name, bool directory, s3::ListedObject&& object) {
    if (!nameable(name)) return refuse();
    std::string key(name);
    if (directory) key += '/';
    out_.names.push_back({std::move(key), std::move(object)});
  }

  const std::string& prefix_;
  const bool compat_dir_;
  SplitPage out_;
};

}  // namespace

SplitPage split_page(const std::string& prefix, s3::ListPage page, bool compat_dir) {
  Splitter splitter(prefix, compat_dir);
  for (s3::ListedObject& object : page.objects) splitter.object(std::move(object));
  for (const std::string& common : page.prefixes) splitter.common_prefix(common);
  return splitter.finish();
}

}  // namespace s3cache::core
