#include "s3/s3_http_client.h"

#include "s3/failing_task.h"
#include "s3/get_operation.h"
#include "s3/http_engine.h"

namespace s3cache::s3 {

Result<std::unique_ptr<S3HttpClient>> S3HttpClient::create(S3Options options, const Clock& clock) {
  auto endpoint = Endpoint::parse(options.url, options.bucket, options.region, options.path_style);
  if (!endpoint.ok()) return endpoint.error();
  if (!options.credentials) return Error{Code::kInvalid, "no credentials provider"};
  return std::unique_ptr<S3HttpClient>(new S3HttpClient(std::move(options), std::move(*endpoint), clock));
}

S3HttpClient::S3HttpClient(S3Options options, Endpoint endpoint, const Clock& clock)
    : context_(std::make_unique<ClientContext>(std::move(options), std::move(endpoint), clock)),
      engine_(std::make_unique<HttpEngine>(context_->options.http)) {
  context_->engine = engine_.get();
}

S3HttpClient::~S3HttpClient() { shutdown(); }

RequestId S3HttpClient::get(GetRequest request, std::shared_ptr<GetSink> sink) {
  context_->gets.fetch_add(1, std::memory_order_relaxed);
  const Priority priority = request.priority;
  const bool sensible =
      !request.key.empty() && request.offset >= 0 && request.length != 0 && request.length >= -1;
  if (!sensible)
    return engine_->submit(std::make_shared<FailingTask>(
                               Error{Code::kInvalid, "GET " + request.key + ": not a range of an object"},
                               [sink = std::move(sink)](Error error) { sink->on_done(std::move(error)); }),
                           priority);
  return engine_->submit(std::make_shared<GetOperation>(*context_, std::move(request), std::move(sink)),
                         priority);
}

RequestId S3HttpClient::head(std::string key, Priority priority, HeadCallback done) {
  context_->heads.fetch_add(1, std::memory_order_relaxed);
  return engine_->submit(std::make_shared<HeadOperation>(*context_, std::move(key), std::move(done)),
                         priority);
}

RequestId S3HttpClient::list(ListRequest request, ListCallback done) {
  return probe(std::move(request), 0, std::move(done), {});
}

RequestId S3HttpClient::probe(ListRequest request, int attempts, ListCallback done, ListFailure failure) {
  context_->lists.fetch_add(1, std::memory_order_relaxed);
  const Priority priority = request.priority;
  return engine_->submit(std::make_shared<ListOperation>(*context_, std::move(request), std::move(done),
                                                         std::move(failure), attempts),
                         priority);
}

void S3HttpClient::cancel(RequestId id) { engine_->cancel(id); }

void S3HttpClient::promote(RequestId id) { engine_->promote(id); }

Counters S3HttpClient::counters() const {
  const auto read = [](const std::atomic<uint64_t>& a) { return a.load(std::memory_order_relaxed); };
  Counters c;
  c.gets = read(context_->gets);
  c.heads = read(context_->heads);
  c.lists = read(context_->lists);
  c.retries = read(context_->retries);
  c.errors = read(context_->errors);
  c.bytes_received = read(context_->bytes_received);
  c.puts = read(context_->puts);
  c.copies = read(context_->copies);
  c.uploads = read(context_->uploads);
  c.parts = read(context_->parts);
  c.part_copies = read(context_->part_copies);
  c.completes = read(context_->completes);
  c.aborts = read(context_->aborts);
  c.deletes = read(context_->deletes);
  c.batch_deletes = read(context_->batch_deletes);
  c.upload_lists = read(context_->upload_lists);
  c.bytes_sent = read(context_->bytes_sent);
  return c;
}

void S3HttpClient::shutdown() { engine_->shutdown(); }

const S3Options& S3HttpClient::options() const { return context_->options; }

const Endpoint& S3HttpClient::endpoint() const { return context_->endpoint; }

}  // namespace s3cache::s3
