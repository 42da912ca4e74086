#include "s3/fake_s3.h"

#include <algorithm>

#include "s3/digests.h"

namespace s3cache::s3 {

namespace {

constexpr std::chrono::milliseconds kWaitLimit{10'000};

}  // namespace

FakeS3::FakeS3(const Clock& clock) : clock_(clock), thread_([this] { run(); }) {}

FakeS3::~FakeS3() { shutdown(); }

// The bucket.

void FakeS3::store(const std::string& key, Object object) {
  MutexLock l(mu_);
  bucket_.objects[key] = std::move(object);
}

std::string FakeS3::put(const std::string& key, std::string data, Headers headers) {
  Object o;
  o.size = static_cast<int64_t>(data.size());
  o.etag = md5_hex(data);
  o.last_modified = clock_.wall_s();
  o.data = std::move(data);
  o.headers = std::move(headers);
  std::string etag = o.etag;
  store(key, std::move(o));
  return etag;
}

std::string FakeS3::put_pattern(const std::string& key, int64_t size, Headers headers) {
  Object o;
  o.size = size;
  o.etag = md5_hex("pattern" + std::to_string(size));
  o.last_modified = clock_.wall_s();
  o.headers = std::move(headers);
  std::string etag = o.etag;
  store(key, std::move(o));
  return etag;
}

void FakeS3::put_object(const std::string& key, Object object) {
  if (!object.data.empty()) object.size = static_cast<int64_t>(object.data.size());
  store(key, std::move(object));
}

bool FakeS3::erase(const std::string& key) {
  MutexLock l(mu_);
  return bucket_.objects.erase(key) > 0;
}

std::optional<FakeS3::Object> FakeS3::object(const std::string& key) const {
  MutexLock l(mu_);
  const auto it = bucket_.objects.find(key);
  if (it == bucket_.objects.end()) return std::nullopt;
  return it->second;
}

std::vector<std::string> FakeS3::keys(const std::string& prefix) const {
  MutexLock l(mu_);
  std::vector<std::string> out;
  for (const auto& [key, o] : bucket_.objects)
    if (key.compare(0, prefix.size(), prefix) == 0) out.push_back(key);
  return out;
}

std::vector<ListedUpload> FakeS3::uploads() const {
  MutexLock l(mu_);
  return bucket_.list_uploads({});
}

// How it answers.

void FakeS3::set_page_size(int max_keys) {
  MutexLock l(mu_);
  page_size_ = max_keys;
}
void FakeS3::set_out_of_order(bool on) {
  MutexLock l(mu_);
  out_of_order_ = on;
}
void FakeS3::set_omit_etags(bool on) {
  MutexLock l(mu_);
  omit_etags_ = on;
}
void FakeS3::set_omit_dates(bool on) {
  MutexLock l(mu_);
  omit_dates_ = on;
}
void FakeS3::set_chunk(int64_t bytes) {
  MutexLock l(mu_);
  chunk_ = bytes;
}
void FakeS3::set_min_part(int64_t bytes) {
  MutexLock l(mu_);
  bucket_.min_part = bytes;
}
void FakeS3::set_conditions(bool on) {
  MutexLock l(mu_);
  bucket_.conditions = on;
  bucket_.conditions_refused = false;
}

void FakeS3::set_copies_have_checksums(bool on) {
  MutexLock l(mu_);
  bucket_.copies_have_checksums = on;
}
void FakeS3::set_failure(std::function<std::optional<Error>(const RequestInfo&)> f) {
  MutexLock l(mu_);
  failure_ = std::move(f);
}

// Manual mode.

FakeS3::JobPtr FakeS3::find(RequestId id) {
  for (const JobPtr& j : jobs_)
    if (j->info.id == id) return j;
  return nullptr;
}

void FakeS3::set_manual(bool on) {
  MutexLock l(mu_);
  manual_ = on;
  changed_.notify_all();
}

void FakeS3::freeze(RequestId id) {
  JobPtr job;
  {
    MutexLock l(mu_);
    job = find(id);
  }
  if (job) prepare(job);
}

void FakeS3::release(RequestId id) {
  MutexLock l(mu_);
  if (const JobPtr j = find(id)) j->all_released = true;
  changed_.notify_all();
}

void FakeS3::release_headers(RequestId id) { release_data(id, 0); }

void FakeS3::release_data(RequestId id, int64_t bytes) {
  MutexLock l(mu_);
  if (const JobPtr j = find(id)) {
    j->headers_released = true;
    j->bytes_released += bytes;
  }
  changed_.notify_all();
}

bool FakeS3::release_next() {
  MutexLock l(mu_);
  for (const JobPtr& j : jobs_) {
    if (j->all_released) continue;
    j->all_released = true;
    changed_.notify_all();
    return true;
  }
  return false;
}

std::vector<RequestInfo> FakeS3::pending() const {
  MutexLock l(mu_);
  std::vector<RequestInfo> out;
  for (const JobPtr& j : jobs_) out.push_back(j->info);
  return out;
}

bool FakeS3::wait_pending(size_t n) {
  MutexLock l(mu_);
  while (jobs_.size() < n)
    if (!changed_.wait_for(mu_, kWaitLimit)) return jobs_.size() >= n;
  return true;
}

bool FakeS3::wait_idle() {
  MutexLock l(mu_);
  while (!jobs_.empty())
    if (!changed_.wait_for(mu_, kWaitLimit)) return jobs_.empty();
  return true;
}

// The record.

std::vector<RequestInfo> FakeS3::requests() const {
  MutexLock l(mu_);
  return record_;
}

size_t FakeS3::count(Verb verb) const {
  MutexLock l(mu_);
  return static_cast<size_t>(
      std::count_if(record_.begin(), record_.end(), [verb](const RequestInfo& r) { return r.verb == verb; }));
}

int64_t FakeS3::bytes_requested() const {
  MutexLock l(mu_);
  return bytes_requested_;
}

void FakeS3::clear_requests() {
  MutexLock l(mu_);
  record_.clear();
  bytes_requested_ = 0;
}

// S3Client.

RequestId FakeS3::submit(JobPtr job) {
  MutexLock l(mu_);
  job->info.id = ++last_id_;
  job->info.priority = job->priority;
  job->cancelled = stopping_;
  count_call(job->info.verb);
  record_.push_back(job->info);
  const RequestId id = job->info.id;
  if (ended_) {  // as HttpEngine does it: the answer still comes, from here
    l.unlock();
    (void)step(job);
    return id;
  }
  jobs_.push_back(std::move(job));
  changed_.notify_all();
  return id;
}

RequestId FakeS3::get(GetRequest request, std::shared_ptr<GetSink> sink) {
  auto job = std::make_shared<Job>();
  job->info.verb = Verb::kGet;
  job->info.key = std::move(request.key);
  job->info.offset = request.offset;
  job->info.length = request.length;
  job->info.if_match = std::move(request.if_match);
  job->priority = request.priority;
  job->sink = std::move(sink);
  return submit(std::move(job));
}

RequestId FakeS3::head(std::string key, Priority priority, HeadCallback done) {
  auto job = std::make_shared<Job>();
  job->info.verb = Verb::kHead;
  job->info.key = std::move(key);
  job->priority = priority;
  job->head_done = std::move(done);
  return submit(std::move(job));
}

RequestId FakeS3::list(ListRequest request, ListCallback done) {
  auto job = std::make_shared<Job>();
  job->info.verb = Verb::kList;
  job->info.key = request.prefix;
  job->priority = request.priority;
  job->info.list = std::move(request);
  job->list_done = std::move(done);
  return submit(std::move(job));
}

void FakeS3::cancel(RequestId id) {
  MutexLock l(mu_);
  if (const JobPtr j = find(id)) j->cancelled = true;
  changed_.notify_all();
}

void FakeS3::promote(RequestId id) {
  MutexLock l(mu_);
  if (const JobPtr j = find(id)) j->priority = Priority::kForeground;
}

Counters FakeS3::counters() const {
  MutexLock l(mu_);
  return counters_;
}

void FakeS3::shutdown() {
  {
    MutexLock l(mu_);
    stopping_ = true;
    for (const JobPtr& j : jobs_) j->cancelled = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

}  // namespace s3cache::s3
