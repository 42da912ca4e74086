#include "core/dir_collect.h"

#include "base/bytes.h"

namespace s3cache::core {

using meta::Batch;
using meta::Table;

namespace {
constexpr std::string_view kGone = "ns/gone/";
std::string gone_key(uint64_t ino) { return std::string(kGone) + be64(ino); }
}  // namespace

void DirCollector::condemn(uint64_t ino, Batch& batch) { batch.put(Table::kState, gone_key(ino), ""); }

bool DirCollector::step() {
  uint64_t gone = 0;
  const auto first = [&gone](std::string_view key, std::string_view) {
    if (key.size() == kGone.size() + 8) gone = read_be64(key.substr(kGone.size()));
    return false;
  };
  if (!c_.store().scan(Table::kState, kGone, kGone, 1, first).ok() || gone == 0) return false;

  struct Child {
    std::string key;
    uint64_t ino;
  };
  std::vector<Child> children;
  const std::string prefix = be64(gone);
  const auto gather = [&children](std::string_view key, std::string_view value) {
    const auto dirent = meta::Dirent::decode(value);
    children.push_back({std::string(key), dirent ? dirent->ino : 0});
    return true;
  };
  if (!c_.store().scan(Table::kDirent, prefix, prefix, kStep, gather).ok()) return false;
  for (const Child& child : children) {
    Batch batch;
    batch.erase(Table::kDirent, child.key);
    if (child.key.back() == '/' && child.ino != 0) condemn(child.ino, batch);
    c_.inodes.remove(child.ino, std::move(batch));
  }
  if (children.size() < kStep) {
    Batch batch;
    batch.erase(Table::kState, gone_key(gone));
    c_.store().apply(std::move(batch));
  }
  return true;
}

}  // namespace s3cache::core
