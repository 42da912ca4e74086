#include "s3/faulty_s3.h"

#include <algorithm>

namespace s3cache::s3 {

namespace {

// Passes one GET on and spoils it on the way.
class SpoilingSink : public GetSink {
 public:
  SpoilingSink(std::shared_ptr<GetSink> inner, Fault fault)
      : inner_(std::move(inner)), fault_(std::move(fault)) {}

  bool on_headers(const ObjectInfo& info) override {
    if (fault_.kind != Fault::Kind::kOtherEtag) return inner_->on_headers(info);
    ObjectInfo other = info;
    other.etag = fault_.etag;
    return inner_->on_headers(other);
  }

  bool on_data(int64_t offset, std::span<const std::byte> data) override {
    if (fault_.kind == Fault::Kind::kShortBody) {
      const int64_t left = fault_.bytes - delivered_;
      const auto part = data.first(std::min(data.size(), static_cast<size_t>(left)));
      delivered_ += static_cast<int64_t>(part.size());
      if (!part.empty() && !inner_->on_data(offset, part)) return false;
      cut_ = part.size() < data.size();
      return !cut_;
    }
    if (fault_.kind == Fault::Kind::kFlipBit) {
      std::vector<std::byte> copy(data.begin(), data.end());
      const int64_t at = fault_.bytes - delivered_;
      if (at >= 0 && at < static_cast<int64_t>(copy.size())) copy[static_cast<size_t>(at)] ^= std::byte{1};
      delivered_ += static_cast<int64_t>(copy.size());
      return inner_->on_data(offset, copy);
    }
    return inner_->on_data(offset, data);
  }

  void on_done(Status status) override { inner_->on_done(cut_ ? Status(fault_.error) : std::move(status)); }

 private:
  const std::shared_ptr<GetSink> inner_;
  const Fault fault_;
  int64_t delivered_ = 0;
  bool cut_ = false;
};

}  // namespace

FaultyS3::FaultyS3(S3Client& inner, Decide decide)
    : inner_(inner), decide_(std::move(decide)), thread_([this] { run(); }) {}

FaultyS3::~FaultyS3() { shutdown(); }

void FaultyS3::set_decide(Decide decide) {
  MutexLock l(mu_);
  decide_ = std::move(decide);
}

std::pair<RequestId, Fault> FaultyS3::admit(RequestInfo info) {
  Decide decide;
  {
    MutexLock l(mu_);
    info.id = ++last_id_;
    decide = decide_;
  }
  return {info.id, decide ? decide(info) : Fault{}};
}

RequestId FaultyS3::dispatch(Call call, const Fault& fault) {
  const RequestId id = call.id;
  if (fault.kind == Fault::Kind::kError) {
    post([fail = std::move(call.fail), error = fault.error] { fail(error); });
  } else if (fault.kind == Fault::Kind::kHold) {
    MutexLock l(mu_);
    held_.push_back(std::move(call));
  } else {
    forward(call);
  }
  return id;
}

void FaultyS3::forward(const Call& call) {
  const RequestId inner = call.send();
  MutexLock l(mu_);
  inner_ids_[call.id] = inner;
}

RequestId FaultyS3::get(GetRequest request, std::shared_ptr<GetSink> sink) {
  RequestInfo info;
  info.verb = Verb::kGet;
  info.key = request.key;
  info.offset = request.offset;
  info.length = request.length;
  info.if_match = request.if_match;
  info.priority = request.priority;
  const auto [id, fault] = admit(std::move(info));
  auto spoiling = std::make_shared<SpoilingSink>(sink, fault);
  return dispatch(
      {id, [this, request = std::move(request), spoiling] { return inner_.get(request, spoiling); },
       [sink](Error e) { sink->on_done(std::move(e)); }},
      fault);
}

RequestId FaultyS3::head(std::string key, Priority priority, HeadCallback done) {
  RequestInfo info;
  info.verb = Verb::kHead;
  info.key = key;
  info.priority = priority;
  return pass<ObjectInfo>(std::move(info), std::move(done),
                          [this, key, priority](HeadCallback d) { return inner_.head(key, priority, d); });
}

RequestId FaultyS3::list(ListRequest request, ListCallback done) {
  RequestInfo info;
  info.verb = Verb::kList;
  info.key = request.prefix;
  info.priority = request.priority;
  info.list = request;
  return pass<ListPage>(std::move(info), std::move(done),
                        [this, request](ListCallback d) { return inner_.list(request, d); });
}

void FaultyS3::release_held() {
  std::deque<Call> calls;
  {
    MutexLock l(mu_);
    calls.swap(held_);
  }
  for (const Call& c : calls) forward(c);
}

size_t FaultyS3::held() const {
  MutexLock l(mu_);
  return held_.size();
}

void FaultyS3::cancel(RequestId id) {
  MutexLock l(mu_);
  const auto it = std::find_if(held_.begin(), held_.end(), [id](const Call& c) { return c.id == id; });
  if (it != held_.end()) {
    auto fail = std::move(it->fail);
    held_.erase(it);
    l.unlock();
    post([fail = std::move(fail)] { fail(Error{Code::kCancelled, "cancelled"}); });
    return;
  }
  const auto known = inner_ids_.find(id);
  const RequestId inner = known == inner_ids_.end() ? 0 : known->second;
  l.unlock();
  if (inner != 0) inner_.cancel(inner);
}

void FaultyS3::promote(RequestId id) {
  RequestId inner = 0;
  {
    MutexLock l(mu_);
    if (const auto it = inner_ids_.find(id); it != inner_ids_.end()) inner = it->second;
  }
  if (inner != 0) inner_.promote(inner);
}

void FaultyS3::post(std::function<void()> work) {
  MutexLock l(mu_);
  work_.push_back(std::move(work));
  changed_.notify_one();
}

void FaultyS3::run() {
  MutexLock l(mu_);
  for (;;) {
    if (work_.empty()) {
      if (stopping_) return;
      changed_.wait(mu_);
      continue;
    }
    const auto work = std::move(work_.front());
    work_.pop_front();
    l.unlock();
    work();
    l.lock();
  }
}

void FaultyS3::shutdown() {
  {
    MutexLock l(mu_);
    stopping_ = true;
    for (Call& c : held_)
      work_.push_back([fail = std::move(c.fail)] { fail(Error{Code::kCancelled, "shutting down"}); });
    held_.clear();
    changed_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

}  // namespace s3cache::s3
