// The writing verbs of FakeS3: calls become jobs, jobs change the bucket.
#include "s3/fake_s3.h"

namespace s3cache::s3 {

void FakeS3::count_call(Verb verb) {
  Counters& c = counters_;
  uint64_t* const counts[] = {&c.gets,    &c.heads,         &c.lists,       &c.puts,      &c.copies,
                              &c.uploads, &c.parts,         &c.part_copies, &c.completes, &c.aborts,
                              &c.deletes, &c.batch_deletes, &c.upload_lists};
  ++*counts[static_cast<size_t>(verb)];
}

void FakeS3::evaluate_write(Job& job, std::string body) {
  const RequestInfo& r = job.info;
  const int64_t now_s = clock_.wall_s();
  counters_.bytes_sent += body.size();
  switch (r.verb) {
    case Verb::kPut:
      return take_written(job, bucket_.put(r, std::move(body), job.crc32c, now_s));
    case Verb::kCopy:
      return take_written(job, bucket_.copy(r, now_s));
    case Verb::kUploadPart:
      return take_written(job, bucket_.upload_part(r, std::move(body), job.crc32c));
    case Verb::kCopyPart:
      return take_written(job, bucket_.copy_part(r, now_s));
    case Verb::kCompleteUpload:
      return take_written(job, bucket_.complete(r, now_s));
    case Verb::kCreateUpload:
      if (auto id = bucket_.create_upload(r, now_s); id.ok())
        job.upload_id = std::move(*id);
      else
        job.status = id.error();
      return;
    case Verb::kAbortUpload:
      job.status = bucket_.abort(r);
      return;
    case Verb::kDelete:
      job.status = bucket_.remove(r.items.front());
      return;
    case Verb::kDeleteMany:
      return evaluate_delete_many(job);
    default:
      job.uploads = bucket_.list_uploads(r.key);
  }
}

void FakeS3::take_written(Job& job, Result<Written> w) {
  if (!w.ok()) {
    job.status = w.error();
    return;
  }
  job.written = std::move(*w);
  if (!omit_dates_) job.written.server_date = clock_.wall_s();
  if (omit_etags_) job.written.etag.clear();
}

void FakeS3::evaluate_delete_many(Job& job) {
  if (job.info.items.size() > 1000) {
    job.status = Error{Code::kInvalid, "MalformedXML"};
    return;
  }
  for (const DeleteItem& item : job.info.items) {
    RequestInfo one = job.info;
    one.verb = Verb::kDelete;
    one.key = item.key;
    one.if_match = item.if_match;
    one.items = {item};
    auto error = failure_ ? failure_(one) : std::nullopt;
    if (!error) {
      const Status s = bucket_.remove(item);
      if (!s.ok()) error = s.error();
    }
    if (error) job.failures.push_back({item.key, std::move(*error)});
  }
}

RequestId FakeS3::submit_written(JobPtr job, WrittenCallback done) {
  job->deliver = [done = std::move(done)](Job& j) {
    done(j.status.ok() ? Result<Written>(std::move(j.written)) : j.status.error());
  };
  return submit(std::move(job));
}

RequestId FakeS3::submit_status(JobPtr job, StatusCallback done) {
  job->deliver = [done = std::move(done)](Job& j) { done(j.status); };
  return submit(std::move(job));
}

RequestId FakeS3::put(PutRequest request, WrittenCallback done) {
  auto job = std::make_shared<Job>();
  job->info = describe(request);
  job->priority = request.priority;
  job->body = std::move(request.body);
  job->crc32c = request.crc32c;
  return submit_written(std::move(job), std::move(done));
}

RequestId FakeS3::copy(CopyRequest request, WrittenCallback done) {
  auto job = std::make_shared<Job>();
  job->info = describe(request);
  job->priority = request.priority;
  return submit_written(std::move(job), std::move(done));
}

RequestId FakeS3::create_upload(UploadRequest request, UploadIdCallback done) {
  auto job = std::make_shared<Job>();
  job->info = describe(request);
  job->priority = request.priority;
  job->deliver = [done = std::move(done)](Job& j) {
    done(j.status.ok() ? Result<std::string>(j.upload_id) : j.status.error());
  };
  return submit(std::move(job));
}

RequestId FakeS3::upload_part(PartRequest request, WrittenCallback done) {
  auto job = std::make_shared<Job>();
  job->info = describe(request);
  job->priority = request.priority;
  job->body = std::move(request.body);
  job->crc32c = request.crc32c;
  return submit_written(std::move(job), std::move(done));
}

RequestId FakeS3::copy_part(PartCopyRequest request, WrittenCallback done) {
  auto job = std::make_shared<Job>();
  job->info = describe(request);
  job->priority = request.priority;
  return submit_written(std::move(job), std::move(done));
}

RequestId FakeS3::complete_upload(CompleteRequest request, WrittenCallback done) {
  auto job = std::make_shared<Job>();
  job->info = describe(request);
  job->priority = request.priority;
  return submit_written(std::move(job), std::move(done));
}

RequestId FakeS3::abort_upload(std::string key, std::string upload_id, StatusCallback done) {
  auto job = std::make_shared<Job>();
  job->info = describe_abort(std::move(key), std::move(upload_id));
  return submit_status(std::move(job), std::move(done));
}

RequestId FakeS3::remove(DeleteItem item, StatusCallback done) {
  auto job = std::make_shared<Job>();
  job->info = describe(std::move(item));
  return submit_status(std::move(job), std::move(done));
}

RequestId FakeS3::remove_many(std::vector<DeleteItem> items, DeletedCallback done) {
  auto job = std::make_shared<Job>();
  job->info = describe(std::move(items));
  job->deliver = [done = std::move(done)](Job& j) {
    done(j.status.ok() ? Result<std::vector<DeleteFailure>>(std::move(j.failures)) : j.status.error());
  };
  return submit(std::move(job));
}

RequestId FakeS3::list_uploads(std::string prefix, UploadsCallback done) {
  auto job = std::make_shared<Job>();
  job->info = describe_uploads(std::move(prefix));
  job->deliver = [done = std::move(done)](Job& j) {
    done(j.status.ok() ? Result<std::vector<ListedUpload>>(std::move(j.uploads)) : j.status.error());
  };
  return submit(std::move(job));
}

bool FakeS3::conditions_supported() const {
  MutexLock l(mu_);
  return !bucket_.conditions_refused;
}

}  // namespace s3cache::s3
