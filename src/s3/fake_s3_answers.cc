// How FakeS3 answers: evaluation against the bucket, and the thread that delivers.
#include <algorithm>

#include "s3/fake_listing.h"
#include "s3/fake_s3.h"

namespace s3cache::s3 {

ObjectInfo FakeS3::info_of(const Object& object) const {
  ObjectInfo info;
  info.size = object.size;
  if (!omit_etags_) info.etag = object.etag;
  info.last_modified = object.last_modified;
  if (!omit_dates_) info.server_date = clock_.wall_s();
  info.headers = object.headers;
  return info;
}

void FakeS3::prepare(const JobPtr& job) {
  Result<std::string> body = std::string();
  if (job->body) body = read_all(*job->body);
  MutexLock l(mu_);
  evaluate(*job, std::move(body));
}

void FakeS3::evaluate(Job& job, Result<std::string> body) {
  if (job.frozen || job.cancelled) return;
  job.frozen = true;
  if (failure_) {
    if (auto error = failure_(job.info)) {
      job.status = std::move(*error);
      return;
    }
  }
  if (!body.ok())
    job.status = body.error();
  else if (job.info.verb == Verb::kList)
    evaluate_list(job);
  else if (job.deliver)
    evaluate_write(job, std::move(*body));
  else
    evaluate_get(job);
}

void FakeS3::evaluate_get(Job& job) {
  const RequestInfo& r = job.info;
  const auto it = bucket_.objects.find(r.key);
  if (it == bucket_.objects.end()) {
    job.status = Error{Code::kNotFound, "GET " + r.key + ": NoSuchKey"};
    return;
  }
  job.object_info = info_of(it->second);
  if (r.verb == Verb::kHead) return;
  job.object = it->second;
  const int64_t size = job.object.size;
  if (!r.if_match.empty() && r.if_match != job.object.etag) {
    job.status = Error{Code::kStale, "GET " + r.key + ": PreconditionFailed"};
  } else if (r.offset < 0 || r.length == 0 || r.length < -1) {
    job.status = Error{Code::kInvalid, "GET " + r.key + ": a range that says nothing"};
  } else if ((r.offset > 0 || r.length > 0) && r.offset >= size) {
    job.status = Error{Code::kInvalid, "GET " + r.key + ": InvalidRange"};
  } else {
    job.pos = r.offset;
    job.end = r.length < 0 ? size : r.offset + std::min(r.length, size - r.offset);
    bytes_requested_ += job.end - job.pos;
  }
}

void FakeS3::evaluate_list(Job& job) {
  FakeListing listing{.order_seed = out_of_order_ ? 1u : 0u, .page_size = page_size_};
  for (auto it = bucket_.objects.lower_bound(job.info.list.prefix);
       it != bucket_.objects.end() &&
       it->first.compare(0, job.info.list.prefix.size(), job.info.list.prefix) == 0;
       ++it) {
    const Object& o = it->second;
    listing.objects.push_back({it->first, o.size, omit_etags_ ? std::string() : o.etag, o.last_modified});
  }
  job.page = listing.page(job.info.list);
  if (!omit_dates_) job.page.server_date = clock_.wall_s();
}

FakeS3::JobPtr FakeS3::next_runnable() {
  JobPtr background;
  for (const JobPtr& j : jobs_) {
    if (j->cancelled) return j;
    const bool progress =
        (j->headers_released && !j->headers_sent) || (j->bytes_released > 0 && j->pos < j->end);
    if (manual_ && !j->all_released && !(j->sink && progress)) continue;
    if (j->priority == Priority::kForeground) return j;
    if (!background) background = j;
  }
  return background;
}

void FakeS3::run() {
  MutexLock l(mu_);
  for (;;) {
    const JobPtr job = next_runnable();
    if (!job) {
      ended_ = stopping_ && jobs_.empty();
      if (ended_) return;
      changed_.wait(mu_);
      continue;
    }
    l.unlock();
    prepare(job);
    const bool finished = step(job);
    l.lock();
    if (finished) {
      jobs_.remove(job);
      changed_.notify_all();
    }
  }
}

bool FakeS3::step(const JobPtr& job) {
  bool all;
  int64_t limit;
  {
    MutexLock l(mu_);
    if (job->cancelled) job->status = Error{Code::kCancelled, "cancelled"};
    if (!job->status.ok() && !job->cancelled) ++counters_.errors;
    all = !manual_ || job->all_released;
    limit = job->bytes_released;
    job->bytes_released = 0;
  }
  if (job->sink) return step_get(job, all, limit);
  if (job->deliver) {
    job->deliver(*job);
  } else if (job->head_done) {
    job->head_done(job->status.ok() ? Result<ObjectInfo>(job->object_info) : job->status.error());
  } else {
    job->list_done(job->status.ok() ? Result<ListPage>(std::move(job->page)) : job->status.error());
  }
  return true;
}

bool FakeS3::step_get(const JobPtr& job, bool all, int64_t limit) {
  const auto fail = [&job](Status s) {
    job->sink->on_done(std::move(s));
    return true;
  };
  if (!job->status.ok()) return fail(job->status);
  if (!job->headers_sent) {
    job->headers_sent = true;
    if (!job->sink->on_headers(job->object_info))
      return fail(Error{Code::kCancelled, "cancelled by the sink"});
  }
  std::vector<std::byte> buffer;
  while (job->pos < job->end && (all || limit > 0)) {
    int64_t n;
    {
      MutexLock l(mu_);
      if (job->cancelled) return false;  // the next step delivers it
      n = std::min(chunk_, job->end - job->pos);
      if (!all) n = std::min(n, limit);
      counters_.bytes_received += static_cast<uint64_t>(n);
    }
    buffer.resize(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = job->pos + i;
      buffer[static_cast<size_t>(i)] =
          job->object.data.empty() ? pattern_byte(at)
                                   : static_cast<std::byte>(job->object.data[static_cast<size_t>(at)]);
    }
    const int64_t at = job->pos;
    {
      MutexLock l(mu_);
      job->pos += n;
    }
    limit -= n;
    if (!job->sink->on_data(at, buffer)) return fail(Error{Code::kCancelled, "cancelled by the sink"});
  }
  if (!all) return false;
  job->sink->on_done({});
  return true;
}

}  // namespace s3cache::s3
