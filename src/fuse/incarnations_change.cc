// What a writer means for the other nodeids of its inode.
#include "fuse/incarnations.h"

namespace s3cache::fuse {

bool Incarnations::superseded(Shard& s, uint64_t ino, uint64_t nodeid) {
  auto it = s.inodes.find(ino);
  if (it == s.inodes.end()) return false;
  Node* node = it->second.find(nodeid);
  return node != nullptr ? node->retired : it->second.current() != nullptr;
}

bool Incarnations::superseded(uint64_t nodeid) {
  const uint64_t ino = ino_of(nodeid);
  Shard& s = shard(ino);
  MutexLock lock(s.mu);
  return superseded(s, ino, nodeid);
}

bool Incarnations::refuses_writer(uint64_t nodeid) {
  const uint64_t ino = ino_of(nodeid);
  Shard& s = shard(ino);
  MutexLock lock(s.mu);
  Node* node = find(s, ino, nodeid);
  const bool passthrough = node != nullptr && node->mode == Mode::kPassthrough;
  if (!passthrough && !superseded(s, ino, nodeid)) return false;
  make_way(s, ino);
  return true;
}

void Incarnations::make_way(Shard& s, uint64_t ino) {
  auto it = s.inodes.find(ino);
  Node* current = it == s.inodes.end() ? nullptr : it->second.current();
  if (current != nullptr && current->mode == Mode::kPassthrough) retire(*current);
  const auto now = std::chrono::steady_clock::now();
  // Those whose writer never came: looked for where the map grows.
  if (s.reserved.size() >= 64) std::erase_if(s.reserved, [now](const auto& r) { return r.second <= now; });
  s.reserved[ino] = now + reservation_;
}

bool Incarnations::reserved(Shard& s, uint64_t ino) {
  auto it = s.reserved.find(ino);
  if (it == s.reserved.end()) return false;
  if (std::chrono::steady_clock::now() < it->second) return true;
  s.reserved.erase(it);
  return false;
}

std::vector<uint64_t> Incarnations::overtake(Shard&, Inode& inode, Node& node) {
  node.written = true;
  std::vector<uint64_t> out;
  bool plain_seen = false;
  for (auto& other : inode.nodes) {
    plain_seen |= other->nodeid == other->ino;
    if (other.get() == &node || other->version != node.version || other->overtaken) continue;
    if (other->opens == 0) continue;
    other->overtaken = true;
    out.push_back(other->nodeid);
  }
  // The kernel may know the plain nodeid without a record here (a descriptor of O_PATH).
  if (!plain_seen) out.push_back(node.ino);
  return out;
}

void Incarnations::content_changed(uint64_t nodeid) {
  const uint64_t ino = ino_of(nodeid);
  std::vector<Dropped> drops;
  Shard& s = shard(ino);
  {
    MutexLock lock(s.mu);
    auto it = s.inodes.find(ino);
    if (it == s.inodes.end()) return;
    Node* self = it->second.find(nodeid);
    // Truncated by name under its passthrough readers: the next open is not theirs to join.
    if (self != nullptr && self->mode == Mode::kPassthrough) self->overtaken = true;
    if (it->second.nodes.size() == 1) return;
    for (auto& other : it->second.nodes) {
      if (other.get() == self || (self != nullptr && other->version != self->version)) continue;
      // Pages nobody reads lie under a retired nodeid, which is never opened again before they are gone.
      if (other->mode == Mode::kCached) drops.push_back({other->nodeid, other->stamp});
    }
  }
  for (const Dropped& d : drops) drop_pages_(d.nodeid, d.stamp);
}

void Incarnations::attributes_changed(uint64_t nodeid) {
  for (uint64_t other : nodeids_of(ino_of(nodeid))) {
    if (other != nodeid) drop_attributes_(other);
  }
}

bool Incarnations::attributes_last(uint64_t nodeid) {
  const uint64_t ino = ino_of(nodeid);
  Shard& s = shard(ino);
  MutexLock lock(s.mu);
  auto it = s.inodes.find(ino);
  if (it == s.inodes.end()) return true;
  Node* node = it->second.find(nodeid);
  // Beside another nodeid either may change the file, and a notification comes a moment late.
  return node != nullptr && !node->overtaken && it->second.nodes.size() == 1;
}

}  // namespace s3cache::fuse
