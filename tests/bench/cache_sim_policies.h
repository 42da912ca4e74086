// The eviction rules that cache_sim compares. Each counts bytes, not files; each is as its paper has it, with
// sizes. Threads: one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cache/eviction_policy.h"

namespace s3cache::bench {

struct Access {
  uint64_t key;
  int64_t bytes;
};

class Policy {
 public:
  virtual ~Policy() = default;
  virtual bool access(Access a) = 0;  // true: a hit
};

// What the program does. Keys are fids here; the last four files stay open.
class Ours : public Policy {
 public:
  explicit Ours(int64_t capacity) : capacity_(capacity), policy_(capacity) {}
  bool access(Access a) override {
    policy_.accessed(a.key, a.key, a.bytes);
    const bool hit = cached_.contains(a.key);
    if (!hit) insert(a);
    hold(a.key);
    return hit;
  }

 private:
  void insert(Access a) {
    const auto admission = policy_.admit(a.key, a.bytes, used_ + a.bytes - capacity_);
    if (!admission.admit) return;
    for (uint64_t fid : admission.victims) {
      used_ -= cached_.at(fid);
      cached_.erase(fid);
      policy_.removed(fid);
    }
    cached_[a.key] = a.bytes;
    used_ += a.bytes;
    policy_.inserted(a.key, a.key, a.bytes);
  }
  void hold(uint64_t key) {
    policy_.set_evictable(key, false);
    open_.push_back(key);
    if (open_.size() < 4) return;
    const uint64_t closed = open_.front();
    open_.pop_front();
    if (std::find(open_.begin(), open_.end(), closed) == open_.end()) policy_.set_evictable(closed, true);
  }

  const int64_t capacity_;
  cache::EvictionPolicy policy_;
  int64_t used_ = 0;
  std::unordered_map<uint64_t, int64_t> cached_;
  std::deque<uint64_t> open_;
};

// One queue: LRU moves hits to the front, FIFO and SIEVE do not, a frozen cache never evicts.
class OneQueue : public Policy {
 public:
  enum class Rule { kLru, kFifo, kSieve, kFrozen };
  OneQueue(Rule rule, int64_t capacity) : rule_(rule), capacity_(capacity), hand_(queue_.end()) {}
  bool access(Access a) override {
    if (const auto it = index_.find(a.key); it != index_.end()) {
      it->second->visited = true;
      if (rule_ == Rule::kLru) queue_.splice(queue_.begin(), queue_, it->second);
      return true;
    }
    if (rule_ == Rule::kFrozen && used_ + a.bytes > capacity_) return false;
    while (used_ + a.bytes > capacity_ && !queue_.empty()) evict();
    queue_.push_front({a.key, a.bytes, false});
    index_[a.key] = queue_.begin();
    used_ += a.bytes;
    return false;
  }

 private:
  struct Node {
    uint64_t key;
    int64_t bytes;
    bool visited;
  };
  using Iterator = std::list<Node>::iterator;

  void evict() {
    Iterator victim = std::prev(queue_.end());
    if (rule_ == Rule::kSieve) {
      if (hand_ == queue_.end()) hand_ = victim;
      while (hand_->visited) {
        hand_->visited = false;
        hand_ = hand_ == queue_.begin() ? std::prev(queue_.end()) : std::prev(hand_);
      }
      victim = hand_;
      hand_ = victim == queue_.begin() ? queue_.end() : std::prev(victim);
    }
    used_ -= victim->bytes;
    index_.erase(victim->key);
    queue_.erase(victim);
  }

  const Rule rule_;
  const int64_t capacity_;
  int64_t used_ = 0;
  std::list<Node> queue_;
  std::unordered_map<uint64_t, Iterator> index_;
  Iterator hand_;
};

// S3-FIFO: a small queue of a tenth, a main queue, ghosts of the main queue's size.
class S3Fifo : public Policy {
 public:
  explicit S3Fifo(int64_t capacity) : capacity_(capacity) {}
  bool access(Access a) override {
    if (const auto it = nodes_.find(a.key); it != nodes_.end()) {
      it->second.frequency = std::min(3, it->second.frequency + 1);
      return true;
    }
    while (small_bytes_ + main_bytes_ + a.bytes > capacity_ && !nodes_.empty()) evict();
    const bool ghost = ghosts_.erase(a.key) > 0;
    nodes_[a.key] = {a.bytes, 0};
    push(ghost, a.key, a.bytes);
    return false;
  }

 private:
  struct Node {
    int64_t bytes;
    int frequency;
  };
  void push(bool to_main, uint64_t key, int64_t bytes) {
    (to_main ? main_ : small_).push_back(key);
    (to_main ? main_bytes_ : small_bytes_) += bytes;
  }
  void evict() {
    if (small_bytes_ >= capacity_ / 10 || main_.empty()) {
      const uint64_t key = small_.front();
      small_.pop_front();
      Node& n = nodes_.at(key);
      small_bytes_ -= n.bytes;
      if (n.frequency > 1) {
        n.frequency = 0;
        push(true, key, n.bytes);
        return;
      }
      remember(key, n.bytes);
      nodes_.erase(key);
      return;
    }
    const uint64_t key = main_.front();
    main_.pop_front();
    Node& n = nodes_.at(key);
    main_bytes_ -= n.bytes;
    if (n.frequency > 0) {
      n.frequency--;
      push(true, key, n.bytes);
    } else {
      nodes_.erase(key);
    }
  }
  void remember(uint64_t key, int64_t bytes) {
    ghosts_.insert(key);
    ghost_queue_.push_back({key, bytes});
    ghost_bytes_ += bytes;
    while (ghost_bytes_ > capacity_ * 9 / 10) {
      ghosts_.erase(ghost_queue_.front().key);
      ghost_bytes_ -= ghost_queue_.front().bytes;
      ghost_queue_.pop_front();
    }
  }

  const int64_t capacity_;
  int64_t small_bytes_ = 0, main_bytes_ = 0, ghost_bytes_ = 0;
  std::unordered_map<uint64_t, Node> nodes_;
  std::deque<uint64_t> small_, main_;
  std::unordered_set<uint64_t> ghosts_;
  std::deque<Access> ghost_queue_;
};

inline const std::vector<std::string>& policy_names() {
  static const std::vector<std::string> names{"ours", "LRU", "FIFO", "SIEVE", "S3-FIFO", "frozen"};
  return names;
}

inline std::unique_ptr<Policy> make_policy(const std::string& name, int64_t capacity) {
  using Rule = OneQueue::Rule;
  if (name == "LRU") return std::make_unique<OneQueue>(Rule::kLru, capacity);
  if (name == "FIFO") return std::make_unique<OneQueue>(Rule::kFifo, capacity);
  if (name == "SIEVE") return std::make_unique<OneQueue>(Rule::kSieve, capacity);
  if (name == "S3-FIFO") return std::make_unique<S3Fifo>(capacity);
  if (name == "frozen") return std::make_unique<OneQueue>(Rule::kFrozen, capacity);
  return std::make_unique<Ours>(capacity);
}

}  // namespace s3cache::bench
