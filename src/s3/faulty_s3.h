// FaultyS3: a decorator of S3Client that fails, delays or spoils chosen requests, for the tests of upper
// floors.
//
// A callback decides per request. What it makes is what S3Client's users can really see: errors after the
// retries, bodies that end early, answers of another version, flipped bits, answers that are late. Threads:
// every method from any thread; errors it makes itself are delivered from its own thread, never from inside
// the call. Borrows the inner client, which outlives it. Errors: as decided.
#pragma once

#include <deque>
#include <map>
#include <thread>
#include <type_traits>

#include "base/sync.h"
#include "s3/request_info.h"

namespace s3cache::s3 {

struct Fault {
  enum class Kind : uint8_t {
    kPass,
    kError,       // fails with `error`; the server is not asked
    kHold,        // reaches the server at release_held() only
    kShortBody,   // GET: after `bytes` of the body on_done gets `error`
    kFlipBit,     // GET: the bit 0 of the byte `bytes` of the delivered body is inverted
    kOtherEtag,   // GET, HEAD and writes: the ETag is replaced by `etag`
    kLostAnswer,  // all but GET: the server does it, the caller gets `error`
  };
  Kind kind = Kind::kPass;
  Error error = {Code::kUnavailable, "injected"};
  int64_t bytes = 0;
  std::string etag = "injected";
};

class FaultyS3 : public S3Client {
 public:
  using Decide = std::function<Fault(const RequestInfo&)>;

  explicit FaultyS3(S3Client& inner, Decide decide = {});
  ~FaultyS3() override;

  void set_decide(Decide decide);  // null: everything passes
  void release_held();
  size_t held() const;

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
  bool conditions_supported() const override { return inner_.conditions_supported(); }
  void cancel(RequestId id) override;
  void promote(RequestId id) override;
  Counters counters() const override { return inner_.counters(); }
  // Fails what is held; the inner client is left alone.
  void shutdown() override;

 private:
  // `send` asks the inner client and returns its id, `fail` completes the request here.
  struct Call {
    RequestId id = 0;
    std::function<RequestId()> send;
    std::function<void(Error)> fail;
  };

  std::pair<RequestId, Fault> admit(RequestInfo info);
  RequestId dispatch(Call call, const Fault& fault);
  // One verb with a callback: `send` passes it on to the inner client with the callback it is given.
  template <class T>
  RequestId pass(RequestInfo info, std::function<void(Result<T>)> done,
                 std::function<RequestId(std::function<void(Result<T>)>)> send);
  void forward(const Call& call);
  void post(std::function<void()> work);
  void run();

  S3Client& inner_;
  mutable Mutex mu_;
  CondVar changed_;
  Decide decide_ GUARDED_BY(mu_);
  std::deque<Call> held_ GUARDED_BY(mu_);
  std::deque<std::function<void()>> work_ GUARDED_BY(mu_);
  std::map<RequestId, RequestId> inner_ids_ GUARDED_BY(mu_);  // never shrinks: tests are short
  RequestId last_id_ GUARDED_BY(mu_) = 0;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

template <class T>
RequestId FaultyS3::pass(RequestInfo info, std::function<void(Result<T>)> done,
                         std::function<RequestId(std::function<void(Result<T>)>)> send) {
  const auto [id, fault] = admit(std::move(info));
  std::function<void(Result<T>)> answer = done;
  if (fault.kind == Fault::Kind::kLostAnswer) {
    answer = [done, error = fault.error](Result<T> r) { done(r.ok() ? Result<T>(error) : std::move(r)); };
  } else if (fault.kind == Fault::Kind::kOtherEtag) {
    answer = [done, etag = fault.etag](Result<T> r) {
      if constexpr (std::is_same_v<T, ObjectInfo> || std::is_same_v<T, Written>)
        if (r.ok()) r->etag = etag;
      done(std::move(r));
    };
  }
  return dispatch({id, [send = std::move(send), answer] { return send(answer); },
                   [done](Error e) { done(std::move(e)); }},
                  fault);
}

}  // namespace s3cache::s3
