#include "core/inode_queue.h"

#include <algorithm>
#include <atomic>
#include <utility>

namespace s3cache::core {

namespace {

// Runs `then` at the last arrival.
class Meeting {
 public:
  Meeting(size_t expected, std::function<void()> then) : missing_(expected), then_(std::move(then)) {}
  void arrive() {
    if (missing_.fetch_sub(1) == 1) std::exchange(then_, nullptr)();
  }

 private:
  std::atomic<size_t> missing_;
  std::function<void()> then_;
};

}  // namespace

uint64_t InodeQueue::key_place(std::string_view key) {
  // `a` and `a/` are one name, and a server that keeps objects as files (versitygw) has no room for both.
  if (key.ends_with('/')) key.remove_suffix(1);
  // Two keys of one hash wait for each other needlessly, which does no harm.
  return std::hash<std::string_view>()(key) | (uint64_t{1} << 63);
}

InodeQueue::Gate* InodeQueue::gate_over(const Request& request) {
  for (Gate& gate : gates_) {
    const auto inside = [&gate](uint64_t place) { return is_ino(place) && gate.inside(place); };
    if (std::any_of(request.places.begin(), request.places.end(), inside) ||
        std::any_of(request.scope.begin(), request.scope.end(), inside)) {
      return &gate;
    }
  }
  return nullptr;
}

void InodeQueue::run_all(std::vector<uint64_t> places, std::vector<uint64_t> scope, Job job) {
  std::sort(places.begin(), places.end());
  places.erase(std::unique(places.begin(), places.end()), places.end());
  std::shared_ptr<Meeting> meeting;
  {
    MutexLock lock(mu_);
    Request request{std::move(places), std::move(scope), std::move(job)};
    if (Gate* gate = gate_over(request); gate != nullptr) {
      gate->parked.push_back(std::move(request));
      return;
    }
    places = std::move(request.places);
    auto start = [this, places, job = std::move(request.job)] {
      job(Turn(this, [this, places](void*) {
        for (const uint64_t place : places) leave(place);
      }));
    };
    meeting = std::make_shared<Meeting>(places.size() + 1, std::move(start));
    for (const uint64_t place : places) {
      const auto [it, first] = waiting_.try_emplace(place);
      if (first) {
        meeting->arrive();
      } else {
        it->second.push_back([meeting] { meeting->arrive(); });
      }
    }
  }
  meeting->arrive();
}

bool InodeQueue::busy(uint64_t place) {
  MutexLock lock(mu_);
  return waiting_.contains(place);
}

bool InodeQueue::busy_behind(uint64_t place) {
  MutexLock lock(mu_);
  const auto it = waiting_.find(place);
  return it != waiting_.end() && !it->second.empty();
}

void InodeQueue::leave(uint64_t place) {
  Step step;
  {
    MutexLock lock(mu_);
    const auto it = waiting_.find(place);
    if (it->second.empty()) {
      waiting_.erase(it);
      return;
    }
    step = std::move(it->second.front());
    it->second.pop_front();
  }
  step();
}

void InodeQueue::close_gate(Inside inside, std::function<void(uint64_t gate)> quiet) {
  std::shared_ptr<Meeting> meeting;
  {
    MutexLock lock(mu_);
    const uint64_t id = ++last_gate_;
    std::vector<uint64_t> under_way;
    for (const auto& [place, steps] : waiting_) {
      if (is_ino(place) && inside(place)) under_way.push_back(place);
    }
    meeting = std::make_shared<Meeting>(under_way.size() + 1, [id, quiet = std::move(quiet)] { quiet(id); });
    for (const uint64_t place : under_way) {
      waiting_[place].push_back([this, meeting, place] {
        meeting->arrive();
        leave(place);
      });
    }
    gates_.push_back({id, std::move(inside), {}});
  }
  meeting->arrive();
}

void InodeQueue::open_gate(uint64_t gate) {
  std::vector<Request> parked;
  {
    MutexLock lock(mu_);
    const auto it =
        std::find_if(gates_.begin(), gates_.end(), [gate](const Gate& g) { return g.id == gate; });
    if (it == gates_.end()) return;
    parked = std::move(it->parked);
    gates_.erase(it);
  }
  for (Request& request : parked) {
    run_all(std::move(request.places), std::move(request.scope), std::move(request.job));
  }
}

}  // namespace s3cache::core
