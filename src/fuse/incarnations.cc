#include "fuse/incarnations.h"

#include <algorithm>
#include <utility>

namespace s3cache::fuse {

Incarnations::Incarnations(NextId next_id, DropPages drop_pages, DropAttributes drop_attributes,
                           size_t page_records, std::chrono::milliseconds reservation)
    : next_id_(std::move(next_id)),
      drop_pages_(std::move(drop_pages)),
      drop_attributes_(std::move(drop_attributes)),
      lru_limit_(std::max<size_t>(1, page_records / kShards)),
      reservation_(reservation) {}

Incarnations::~Incarnations() {
  // Files still open when the mount was torn away: no RELEASE will come for them.
  for (Shard& s : shards_) {
    MutexLock lock(s.mu);
    for (auto& [ino, inode] : s.inodes) {
      for (auto& node : inode.nodes) {
        for (Handle* h = node->handles; h != nullptr;) delete std::exchange(h, h->next);
      }
    }
  }
}

Incarnations::Node* Incarnations::Inode::find(uint64_t nodeid) {
  for (auto& n : nodes) {
    if (n->nodeid == nodeid) return n.get();
  }
  return nullptr;
}

Incarnations::Node* Incarnations::Inode::current() {
  for (auto& n : nodes) {
    if (!n->retired) return n.get();
  }
  return nullptr;
}

Incarnations::Node* Incarnations::find(Shard& s, uint64_t ino, uint64_t nodeid) {
  auto it = s.inodes.find(ino);
  return it == s.inodes.end() ? nullptr : it->second.find(nodeid);
}

uint64_t Incarnations::ino_of(uint64_t nodeid) {
  if (alias_count_.load(std::memory_order_acquire) == 0) return nodeid;
  SharedLock lock(aliases_mu_);
  auto it = aliases_.find(nodeid);
  return it == aliases_.end() ? nodeid : it->second;
}

Result<uint64_t> Incarnations::nodeid_for(uint64_t ino, uint64_t version) {
  Shard& s = shard(ino);
  uint64_t fresh = 0;
  for (;;) {
    {
      MutexLock lock(s.mu);
      auto it = s.inodes.find(ino);
      if (it == s.inodes.end()) return ino;
      Inode& inode = it->second;
      Node* node = inode.current();
      if (node != nullptr && !usable_for(*node, version)) {
        retire(*node);
        node = nullptr;
      }
      if (node == nullptr && fresh != 0) {
        auto made = std::make_unique<Node>();
        node = made.get();
        node->nodeid = fresh;
        node->ino = ino;
        {
          ExclusiveLock aliases(aliases_mu_);
          aliases_.emplace(fresh, ino);
        }
        alias_count_.fetch_add(1, std::memory_order_release);
        inode.nodes.push_back(std::move(made));
      }
      if (node != nullptr) {
        if (node->opens == 0 && !node->pages) node->version = version;
        if (node->nodeid != ino) ++node->lookups;
        return node->nodeid;
      }
    }
    // Drawing an id may write to the store: never under the lock. A racing LOOKUP may make this one
    // superfluous.
    auto id = next_id_();
    if (!id) return id.error();
    fresh = *id;
  }
}

void Incarnations::forget(uint64_t nodeid, uint64_t lookups) {
  const uint64_t ino = ino_of(nodeid);
  if (ino == nodeid)
    return;  // stateless, or a page record: the kernel does not say whether its pages went for good
  Shard& s = shard(ino);
  MutexLock lock(s.mu);
  Node* node = find(s, ino, nodeid);
  if (node == nullptr) return;
  node->lookups -= std::min(node->lookups, lookups);
  // The kernel evicted the inode, its pages with it.
  if (node->lookups == 0 && node->opens == 0) erase(s, *node);
}

void Incarnations::leave_lru(Shard& s, Node& node) {
  if (!node.in_lru) return;
  s.lru.erase(node.lru);
  node.in_lru = false;
}

void Incarnations::attach(Node& node, Handle* handle, Shard& s) {
  leave_lru(s, node);
  ++node.opens;
  ++node.stamp;
  handle->next = node.handles;
  if (node.handles != nullptr) node.handles->prev = handle;
  node.handles = handle;
}

Incarnations::Grant Incarnations::open(uint64_t nodeid, const std::shared_ptr<core::OpenFile>& file, Io io,
                                       const std::function<void()>& again) {
  const uint64_t ino = ino_of(nodeid);
  auto handle = std::make_unique<Handle>();
  handle->file = file;
  handle->nodeid = nodeid;
  handle->ino = ino;
  const bool writable = file->writable();
  const OpenWish wish{file->version(), io == Io::kAny && !writable && file->sealed(),
                      io == Io::kOnlyCached || writable};

  std::vector<uint64_t> overtaken;
  Shard& s = shard(ino);
  MutexLock lock(s.mu);
  Inode& inode = s.inodes[ino];
  Node* node = inode.find(nodeid);
  if (node == nullptr) {
    // The plain nodeid again, after its record went. Not while a successor stands: the kernel may have been
    // told another version's attributes under this number.
    if (inode.current() != nullptr) {
      if (wish.write) make_way(s, ino);
      return {};
    }
    inode.nodes.push_back(std::make_unique<Node>());
    node = inode.nodes.back().get();
    node->nodeid = nodeid;
    node->ino = ino;
  }
  Grant g;
  node->reserved = wish.sealed && reserved(s, ino);
  g.verdict = decide_open(*node, wish);
  switch (g.verdict) {
    case Verdict::kWait:
      node->waiters.push_back(again);
      return g;
    case Verdict::kStale:
      retire(*node);
      if (wish.write) make_way(s, ino);
      return g;
    case Verdict::kRegister:
      node->mode = Mode::kPassthrough;
      node->registering = true;
      break;
    case Verdict::kCached:
      node->mode = Mode::kCached;
      node->pages = true;
      break;
    case Verdict::kJoin:
      g.backing_id = node->backing_id;
      break;
  }
  node->version = wish.version;
  g.handle = handle.release();
  attach(*node, g.handle, s);
  if (writable) overtaken = overtake(s, inode, *node);
  lock.unlock();
  for (uint64_t other : overtaken) drop_attributes_(other);
  return g;
}

void Incarnations::registered(Handle* handle, int32_t backing_id) {
  Shard& s = shard(handle->ino);
  std::vector<std::function<void()>> waiters;
  {
    MutexLock lock(s.mu);
    Node* node = s.inodes[handle->ino].find(handle->nodeid);
    node->registering = false;
    node->backing_id = backing_id;
    if (backing_id == 0) {
      node->mode = Mode::kCached;
      node->pages = true;
      node->register_failed = true;
    }
    waiters.swap(node->waiters);
  }
  for (auto& again : waiters) again();
}

int32_t Incarnations::close(Handle* handle) {
  Shard& s = shard(handle->ino);
  int32_t backing_id = 0;
  std::optional<Dropped> drop;
  {
    MutexLock lock(s.mu);
    Node* node = s.inodes[handle->ino].find(handle->nodeid);
    (handle->prev != nullptr ? handle->prev->next : node->handles) = handle->next;
    if (handle->next != nullptr) handle->next->prev = handle->prev;
    if (--node->opens == 0) {
      backing_id = std::exchange(node->backing_id, 0);
      node->mode = Mode::kNone;
      node->register_failed = node->written = node->overtaken = false;
      closed(s, *node, drop);
    }
  }
  delete handle;  // ends the OpenFile, which may do anything: not under the lock
  if (drop) drop_pages_(drop->nodeid, drop->stamp);
  return backing_id;
}

void Incarnations::closed(Shard& s, Node& node, std::optional<Dropped>& drop) {
  if (node.nodeid != node.ino && node.lookups == 0) return erase(s, node);
  if (!node.pages) {
    if (node.nodeid == node.ino) erase(s, node);
    return;
  }
  node.lru = s.lru.insert(s.lru.end(), &node);
  node.in_lru = true;
  if (s.lru.size() <= lru_limit_) return;
  Node* oldest = s.lru.front();
  leave_lru(s, *oldest);
  drop = Dropped{oldest->nodeid, oldest->stamp};
}

void Incarnations::erase(Shard& s, Node& node) {
  leave_lru(s, node);
  const uint64_t ino = node.ino, nodeid = node.nodeid;
  auto it = s.inodes.find(ino);
  auto& nodes = it->second.nodes;
  std::erase_if(nodes, [&](const auto& n) { return n.get() == &node; });
  if (nodes.empty()) s.inodes.erase(it);
  if (nodeid != ino) {
    ExclusiveLock lock(aliases_mu_);
    aliases_.erase(nodeid);
    alias_count_.fetch_sub(1, std::memory_order_release);
  }
}

std::optional<core::Attr> Incarnations::live_attr(uint64_t nodeid, uint64_t version) {
  const uint64_t ino = ino_of(nodeid);
  Shard& s = shard(ino);
  std::shared_ptr<core::OpenFile> file;
  {
    MutexLock lock(s.mu);
    Node* node = find(s, ino, nodeid);
    if (node == nullptr || usable_for(*node, version) || node->version == version) return std::nullopt;
    retire(*node);
    if (node->handles == nullptr) return std::nullopt;
    file = node->handles->file;
  }
  return file->attr();
}

std::optional<core::Attr> Incarnations::live_attr(uint64_t nodeid, bool only_retired) {
  const uint64_t ino = ino_of(nodeid);
  Shard& s = shard(ino);
  std::shared_ptr<core::OpenFile> file;
  {
    MutexLock lock(s.mu);
    Node* node = find(s, ino, nodeid);
    if (node == nullptr || node->handles == nullptr) return std::nullopt;
    if (only_retired && (!node->retired || node->overtaken || node->written)) return std::nullopt;
    file = node->handles->file;
  }
  return file->attr();
}

std::vector<uint64_t> Incarnations::nodeids_of(uint64_t ino) {
  std::vector<uint64_t> out{ino};
  Shard& s = shard(ino);
  MutexLock lock(s.mu);
  auto it = s.inodes.find(ino);
  if (it == s.inodes.end()) return out;
  for (auto& n : it->second.nodes) {
    if (n->nodeid != ino) out.push_back(n->nodeid);
  }
  return out;
}

void Incarnations::pages_dropped(uint64_t nodeid, uint64_t stamp) {
  const uint64_t ino = ino_of(nodeid);
  Shard& s = shard(ino);
  MutexLock lock(s.mu);
  Node* node = find(s, ino, nodeid);
  if (node == nullptr || node->stamp != stamp || node->opens > 0) return;
  node->pages = false;
  // A retired plain nodeid without pages is as good as new; any other waits for its FORGET.
  if (nodeid == ino) erase(s, *node);
}

Incarnations::Stats Incarnations::stats() {
  Stats st;
  for (Shard& s : shards_) {
    MutexLock lock(s.mu);
    st.page_records += s.lru.size();
    for (auto& [ino, inode] : s.inodes) {
      st.records += inode.nodes.size();
      for (auto& n : inode.nodes) st.open_handles += n->opens;
    }
  }
  st.aliases = alias_count_.load();
  return st;
}

}  // namespace s3cache::fuse
