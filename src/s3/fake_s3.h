// FakeS3: a bucket in memory behind S3Client, for the tests of every floor above.
//
// Callbacks come from its one own thread, foreground first, else in the order of the calls. With
// set_manual(true) nothing is answered until the test releases it: a whole answer (release), or step by step
// (release_headers, release_data), and freeze() fixes what a held answer will say before the bucket changes
// further. A request is otherwise answered from the bucket as it is when the answer starts. Cancelled
// requests answer at once, and a write that is cancelled before its answer began is not done. A write is done
// when its answer is evaluated: freeze() makes one that the server has done and the client has not heard of.
// Threads: every method from any thread, except shutdown() and the destructor from a
// callback. Owns: the bucket and its thread. The Clock is borrowed. Errors: those of S3Client that a correct
// server can cause: kNotFound, kStale, kExists, kInvalid (range past the end, parts too small), kTooBig,
// kNameTooLong, kCorrupt (a wrong CRC); kUnsupported (set_conditions).
#pragma once

#include <atomic>
#include <list>
#include <map>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/sync.h"
#include "s3/fake_bucket.h"
#include "s3/request_info.h"

namespace s3cache::s3 {

class FakeS3 : public S3Client {
 public:
  using Headers = SentHeaders;

  using Object = FakeBucket::Object;

  explicit FakeS3(const Clock& clock = Clock::real());
  ~FakeS3() override;

  // The bucket.

  // As PutObject: the same bytes give the same ETag; last_modified is the clock's second. Returns the ETag.
  std::string put(const std::string& key, std::string data, Headers headers = {});
  // A large object without memory: byte i is pattern_byte(i).
  std::string put_pattern(const std::string& key, int64_t size, Headers headers = {});
  // Full control, for odd ETags and times; size is taken from data unless data is empty.
  void put_object(const std::string& key, Object object);
  bool erase(const std::string& key);
  static std::byte pattern_byte(int64_t offset) { return FakeBucket::pattern_byte(offset); }
  // What the bucket holds now.
  std::optional<Object> object(const std::string& key) const;
  std::vector<std::string> keys(const std::string& prefix = {}) const;
  std::vector<ListedUpload> uploads() const;  // neither completed nor aborted

  // How it answers.
  void set_page_size(int max_keys);  // at most this many entries a LIST page, default 1000
  void set_out_of_order(bool on);    // listings in a fixed scrambled order
  void set_omit_etags(bool on);      // a server without ETags
  void set_omit_dates(bool on);      // a server without Date headers
  void set_chunk(int64_t bytes);     // on_data's size, default 16 KiB as libcurl
  void set_min_part(int64_t bytes);  // of a multipart upload, default 5 MiB as S3
  void set_copies_have_checksums(bool on);
  void set_conditions(bool on);  // off: a server that does not know If-Match and If-None-Match of writes
  // Requests for which this gives an Error fail with it (before the bucket is asked). Null: none. The items
  // of remove_many are asked one by one as kDelete, too.
  void set_failure(std::function<std::optional<Error>(const RequestInfo&)> f);

  // Manual mode.
  void set_manual(bool on);  // off: everything held is released
  void freeze(RequestId id);
  void release(RequestId id);
  void release_headers(RequestId id);              // GET: on_headers only
  void release_data(RequestId id, int64_t bytes);  // GET: headers and `bytes` more of the body
  // Releases the oldest request not released yet. False: there is none.
  bool release_next();
  // Requests called and not completed, oldest first.
  std::vector<RequestInfo> pending() const;
  // Waits until at least n requests are pending. False: not within 10 s.
  bool wait_pending(size_t n);
  // Waits until every request is completed (callbacks returned). False: not within 10 s.
  bool wait_idle();

  // The record.
  std::vector<RequestInfo> requests() const;  // since the start or clear_requests()
  size_t count(Verb verb) const;
  int64_t bytes_requested() const;  // what the GETs of the record asked for, cut at the objects' ends
  void clear_requests();

  RequestId get(GetRequest request, std::shared_ptr<GetSink> sink) override;
  RequestId head(std::string key, Priority priority, HeadCallback done) override;
  RequestId list(ListRequest request, ListCallback done) override;
  RequestId put(PutRequest request, WrittenCallback done) override;
  RequestId copy(CopyRequest request, WrittenCallback done) override;
  RequestId create_upload(UploadRequest request, UploadIdCallback done) override;
  RequestId upload_part(PartRequest request, WrittenCallback done) override;
  RequestId copy_part(PartCopyRequest request, WrittenCallback done) override;
  RequestId complete_upload(CompleteRequest request, WrittenCallback done) override;
  RequestId abort_upload(std::string key, std::string upload_id, StatusCallback done) override;
  RequestId remove(DeleteItem item, StatusCallback done) override;
  RequestId remove_many(std::vector<DeleteItem> items, DeletedCallback done) override;
  RequestId list_uploads(std::string prefix, UploadsCallback done) override;
  bool conditions_supported() const override;
  void cancel(RequestId id) override;
  void promote(RequestId id) override;
  Counters counters() const override;
  void shutdown() override;

 private:
  struct Job {
    RequestInfo info;
    Priority priority = Priority::kForeground;
    std::shared_ptr<GetSink> sink;
    HeadCallback head_done;
    ListCallback list_done;
    // Writes: the answer goes where `deliver` says, from the fields below.
    std::function<void(Job&)> deliver;
    std::shared_ptr<Body> body;
    std::optional<uint32_t> crc32c;
    bool cancelled = false;
    bool all_released = false;
    bool headers_released = false;
    int64_t bytes_released = 0;
    // The answer, once frozen.
    bool frozen = false;
    Status status;
    ObjectInfo object_info;
    Object object;
    ListPage page;
    Written written;
    std::string upload_id;
    std::vector<DeleteFailure> failures;
    std::vector<ListedUpload> uploads;
    int64_t pos = 0;
    int64_t end = 0;
    bool headers_sent = false;
  };
  using JobPtr = std::shared_ptr<Job>;

  RequestId submit(JobPtr job);
  RequestId submit_written(JobPtr job, WrittenCallback done);
  RequestId submit_status(JobPtr job, StatusCallback done);
  void count_call(Verb verb) REQUIRES(mu_);
  JobPtr find(RequestId id) REQUIRES(mu_);
  JobPtr next_runnable() REQUIRES(mu_);
  // Reads a write's body, then evaluates.
  void prepare(const JobPtr& job) EXCLUDES(mu_);
  void evaluate(Job& job, Result<std::string> body) REQUIRES(mu_);
  void evaluate_get(Job& job) REQUIRES(mu_);
  void evaluate_list(Job& job) REQUIRES(mu_);
  void evaluate_write(Job& job, std::string body) REQUIRES(mu_);
  void take_written(Job& job, Result<Written> w) REQUIRES(mu_);
  void evaluate_delete_many(Job& job) REQUIRES(mu_);
  ObjectInfo info_of(const Object& object) const REQUIRES(mu_);
  void run();
  bool step(const JobPtr& job) EXCLUDES(mu_);
  bool step_get(const JobPtr& job, bool all, int64_t limit) EXCLUDES(mu_);
  void store(const std::string& key, Object object) EXCLUDES(mu_);

  const Clock& clock_;
  mutable Mutex mu_;
  CondVar changed_;
  FakeBucket bucket_ GUARDED_BY(mu_);
  std::list<JobPtr> jobs_ GUARDED_BY(mu_);
  std::vector<RequestInfo> record_ GUARDED_BY(mu_);
  std::function<std::optional<Error>(const RequestInfo&)> failure_ GUARDED_BY(mu_);
  Counters counters_ GUARDED_BY(mu_);
  int64_t bytes_requested_ GUARDED_BY(mu_) = 0;
  int64_t chunk_ GUARDED_BY(mu_) = 16 * 1024;
  int page_size_ GUARDED_BY(mu_) = 1000;
  RequestId last_id_ GUARDED_BY(mu_) = 0;
  bool out_of_order_ GUARDED_BY(mu_) = false;
  bool omit_etags_ GUARDED_BY(mu_) = false;
  bool omit_dates_ GUARDED_BY(mu_) = false;
  bool manual_ GUARDED_BY(mu_) = false;
  bool ended_ GUARDED_BY(mu_) = false;  // the thread is gone
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace s3cache::s3
