#include "core/uploader.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/crash_point.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "cache/file_io.h"
#include "core/attributes.h"
#include "core/multipart_upload.h"
#include "core/scratch.h"

namespace s3cache::core {

namespace {

// In kState: multipart uploads on the server that nobody has completed or aborted yet.
constexpr size_t kHashPiece = 256 << 10;
// A new file, an object that another client makes, a digest broken on the wire: each may take one more.
constexpr int kMaxAttempts = 5;

// A range of a work file, read as it is sent. `draft`: whose writes may change it, null for a copy.
class FileBody : public s3::Body {
 public:
  FileBody(std::shared_ptr<UniqueFd> file, Range range, std::shared_ptr<Draft> draft)
      : file_(std::move(file)),
        range_(range),
        draft_(std::move(draft)),
        generation_(draft_ ? draft_->generation() : 0) {}
  int64_t size() const override { return range_.length; }
  Result<size_t> read(int64_t offset, std::span<std::byte> out) override {
    const auto want =
        static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(out.size()), range_.length - offset));
    const ssize_t n = cache::read_fully(file_->get(), range_.offset + offset, out.first(want));
    if (n < 0) return errno_error(static_cast<int>(-n), "read the work file");
    if (n == 0) return Error{Code::kBusy, "the work file was cut while it was sent"};
    return static_cast<size_t>(n);
  }
  bool intact() const override { return !draft_ || draft_->generation() == generation_; }

 private:
  const std::shared_ptr<UniqueFd> file_;
  const Range range_;
  const std::shared_ptr<Draft> draft_;
  const uint64_t generation_;
};

// Passes a body on, once from its beginning to its end, and sums what went by.
class Summing : public s3::Body {
 public:
  explicit Summing(s3::Body& body) : body_(body) {}
  int64_t size() const override { return body_.size(); }
  Result<size_t> read(int64_t offset, std::span<std::byte> out) override {
    auto n = body_.read(offset, out);
    if (n.ok()) crc_ = crc32c(crc_, out.data(), *n);
    return n;
  }
  uint32_t crc() const { return crc_; }

 private:
  s3::Body& body_;
  uint32_t crc_ = 0;
};

struct Sums {
  std::optional<uint32_t> crc;
  std::string sha;  // empty: not wanted
};

// One pass for both: the second one was a tenth of the CPU of a large upload.
Result<Sums> sums_of(s3::Body& body, bool crc, bool sha) {
  Sums out;
  Summing summing(body);
  if (sha) {
    auto hex = s3::sha256_hex(summing);
    if (!hex.ok()) return hex.error();
    out.sha = std::move(*hex);
  } else if (crc) {
    const auto buffer = scratch(kHashPiece);
    for (int64_t at = 0; at < body.size();) {
      auto n = summing.read(at, buffer);
      if (!n.ok()) return n.error();
      at += static_cast<int64_t>(*n);
    }
  }
  if (crc) out.crc = summing.crc();
  return out;
}

// A body written under way does not fit its digest any more; one that was cut ends early.
bool torn(const Error& error) { return error.code == Code::kCorrupt || error.code == Code::kBusy; }

}  // namespace

Uploader::Uploader(s3::S3Client& s3, meta::MetaStore& store, WorkerPool& workers, Clock& clock,
                   const UploadOptions& options)
    : s3_(s3),
      store_(store),
      workers_(workers),
      clock_(clock),
      options_(options),
      copier_(s3, options_),
      grid_(options.multipart_size) {}

std::string Uploader::Target::ctime() const {
  for (const auto& [name, value] : headers)
    if (name == kCtimeHeader) return value;
  return {};
}

void Uploader::send(const std::shared_ptr<Draft>& draft, const Draft::Snapshot& snapshot, Target target,
                    s3::WrittenCallback done) {
  if (!snapshot.only_headers || draft->session().open())
    return send_bytes(draft, snapshot, std::move(target), std::move(done));
  ObjectCopier::Copy copy;
  copy.source_key = copy.key = target.key;
  copy.etag = snapshot.base_etag;
  copy.size = snapshot.size;
  copy.replace = true;
  copy.headers = target.headers;
  copier_.copy(copy, [this, draft, snapshot, target, done](const Result<s3::Written>& written) {
    crash_point("headers-copied");
    // Another version, none, or no such copy: then as if the bytes had changed, too.
    const bool refused = written.is(Code::kStale) || written.is(Code::kNotFound) ||
                         written.is(Code::kInvalid) || written.is(Code::kUnsupported);
    if (!refused) return done(written);
    send_bytes(draft, snapshot, target, done);
  });
}

void Uploader::send_bytes(const std::shared_ptr<Draft>& draft, const Draft::Snapshot& snapshot, Target target,
                          s3::WrittenCallback done) {
  if (snapshot.size <= grid_.at(0).length) {
    // It was larger, if parts of it went up early.
    return draft->session().when_idle([this, draft, snapshot, target, done] {
      abandon(*draft);
      put(draft, snapshot, target, 0, done);
    });
  }
  auto upload = std::make_shared<MultipartUpload>(*this, draft, snapshot, std::move(target), std::move(done));
  upload->start();
}

void Uploader::put(const std::shared_ptr<Draft>& draft, const Draft::Snapshot& snapshot, Target target,
                   int attempt, s3::WrittenCallback done) {
  const auto send = [this, draft, snapshot, target, attempt, done] {
    s3::PutRequest request;
    request.key = target.key;
    request.headers = target.headers;
    request.if_none_match = target.exclusive && s3_.conditions_supported();
    const bool edit = snapshot.base_len > 0 && !snapshot.changed.covers(0, snapshot.base_len);
    if ((edit || options_.conflict_fail) && s3_.conditions_supported()) request.if_match = snapshot.base_etag;
    if (snapshot.size > 0) {
      auto parcel = pack(draft, snapshot.file, {0, snapshot.size}, attempt > 0, options_.crc32c);
      if (parcel.is(Code::kBusy) && attempt == 0) return put(draft, snapshot, target, 1, done);
      if (!parcel.ok()) return done(parcel.error());
      request.body = std::move(parcel->body);
      request.crc32c = parcel->crc32c;
      request.sha256_hex = std::move(parcel->sha256_hex);
    }
    crash_point("put-before");
    s3_.put(std::move(request), [this, draft, snapshot, target, attempt, done](Result<s3::Written> written) {
      crash_point("put-answered");
      const bool unconditional = written.is(Code::kUnsupported) && !s3_.conditions_supported();
      const bool again =
          !written.ok() && attempt < kMaxAttempts && !draft->unlinked() &&
          (unconditional || (torn(written.error()) && draft->generation() != snapshot.generation));
      if (!again) return done(std::move(written));
      put(draft, snapshot, target, attempt + 1, done);
    });
  };
  draft->materialize({0, snapshot.size}, [this, send, done](Status ready) {
    if (!ready.ok()) return done(ready.error());
    workers_.post(send);
  });
}

Result<Uploader::Parcel> Uploader::pack(const std::shared_ptr<Draft>& draft, std::shared_ptr<UniqueFd> file,
                                        Range range, bool still, bool checksum) {
  Parcel out;
  if (still) {
    auto copy = draft->still_copy(*file, range);
    // Without room for a copy the file itself has to do.
    if (copy.ok()) out.body = std::make_shared<FileBody>(std::move(*copy), Range{0, range.length}, nullptr);
  }
  if (!out.body) out.body = std::make_shared<FileBody>(std::move(file), range, draft);
  auto sums = sums_of(*out.body, checksum, s3_.signs_bodies());
  if (!sums.ok()) return sums.error();
  out.crc32c = sums->crc;
  out.sha256_hex = std::move(sums->sha);
  return out;
}

// Announced first: a kill between the server's answer and the record of the id would leave an upload that is
// paid for and seen by nobody.
void Uploader::open_session(const std::shared_ptr<Draft>& draft, const Target& target,
                            std::function<void(Status)> done) {
  meta::Batch batch;
  batch.put(meta::Table::kState, std::string(kAnnounced) + meta::id_key(draft->ino()),
            be64(static_cast<uint64_t>(clock_.wall_s())) + target.key);
  store_.apply(std::move(batch), [this, draft, target, done = std::move(done)](const Status& announced) {
    if (announced.ok()) return create(draft, target, done);
    draft->session().open_failed();
    done(announced);
  });
}

void Uploader::create(const std::shared_ptr<Draft>& draft, const Target& target,
                      std::function<void(Status)> done) {
  s3::UploadRequest request;
  request.key = target.key;
  request.headers = target.headers;
  // Some servers answer a copy with the checksum of the whole source.
  const bool checksums = options_.crc32c && !(copies_lose_checksums_ && !draft->state().base_etag.empty());
  request.crc32c = checksums;
  s3_.create_upload(std::move(request), [this, draft, key = target.key, headers = target.headers, checksums,
                                         done](Result<std::string> id) {
    if (!id.ok()) {
      draft->session().open_failed();
      return done(id.error());
    }
    crash_point("multipart-created");
    // On record before its first part: a crash leaves no parts that are paid for and seen by nobody.
    meta::Batch batch;
    batch.put(meta::Table::kState, std::string(kUploads) + *id, key);
    batch.erase(meta::Table::kState, std::string(kAnnounced) + meta::id_key(draft->ino()));
    store_.apply(std::move(batch),
                 [this, draft, key, id = *id, headers, checksums, done](const Status& recorded) {
                   if (!recorded.ok()) {
                     abort(key, id);
                     draft->session().open_failed();
                     return done(recorded);
                   }
                   crash_point("multipart-recorded");
                   draft->session().opened(key, id, headers, checksums);
                   done({});
                 });
  });
}

void Uploader::send_part(const std::shared_ptr<Draft>& draft, std::shared_ptr<UniqueFd> file, Range range,
                         int number, bool still, s3::WrittenCallback done) {
  workers_.post([this, draft, file = std::move(file), range, number, still, done = std::move(done)] {
    auto parcel = pack(draft, file, range, still, draft->session().checksums());
    if (!parcel.ok()) {
      draft->session().end_part(number, parcel.error(), std::nullopt);
      return done(parcel.error());
    }
    s3::PartRequest request;
    request.key = draft->session().key();
    request.upload_id = draft->session().id();
    request.number = number;
    request.body = std::move(parcel->body);
    request.crc32c = parcel->crc32c;
    request.sha256_hex = std::move(parcel->sha256_hex);
    s3_.upload_part(std::move(request),
                    [draft, number, sum = parcel->crc32c, done](Result<s3::Written> written) {
                      crash_point("part-sent");
                      draft->session().end_part(number, written, sum);
                      done(std::move(written));
                    });
  });
}

void Uploader::stream(const std::shared_ptr<Draft>& draft, int64_t written_to,
                      const std::function<Result<Target>()>& target) {
  // The cell in front of the one being written; a file of two cells and less is not worth the early start.
  if (written_to < 2 * grid_.at(0).length) return;
  const auto cell = grid_.at(std::max<int64_t>(0, written_to - 1));
  if (cell.number < 2) return;
  UploadSession& session = draft->session();
  if (!session.open()) {
    if (!session.claim()) return;
    auto to = target();
    if (!to.ok()) return session.open_failed();
    return open_session(draft, *to, [this, draft, written_to, target](const Status& opened) {
      if (opened.ok()) return stream(draft, written_to, target);
      log::debug("early upload: {}", opened.error().message);
    });
  }
  // What piled up while the upload was being opened, and what was refused for too many on their way.
  for (auto at = grid_.at(0); at.number < cell.number; at = grid_.next(at)) {
    if (session.flying() >= options_.parallel) return;
    const Range range{at.offset, at.length};
    if (session.has(at.number, at.offset, at.length) || !draft->ready_to_send(range)) continue;
    if (session.begin_part(at.number, at.offset, at.length))
      send_part(draft, draft->file(), range, at.number, false, [](const Result<s3::Written>&) {});
  }
}

void Uploader::abandon(Draft& draft) {
  if (auto left = draft.session().close()) abort(left->first, left->second);
}

void Uploader::abort(const std::string& key, const std::string& id) {
  s3_.abort_upload(key, id, [this, key, id](Status aborted) {
    if (!aborted.ok() && !aborted.is(Code::kNotFound)) {
      if (!aborted.is(Code::kCancelled))
        log::warn("upload of {}: cannot abort: {}", key, aborted.error().message);
      return;  // stays on record: the next mount tries again
    }
    crash_point("multipart-aborted");
    completed(id);
  });
}

void Uploader::completed(const std::string& id) {
  meta::Batch batch;
  batch.erase(meta::Table::kState, std::string(kUploads) + id);
  store_.apply(std::move(batch));
}

void Uploader::abort_left_over() {
  std::vector<std::pair<std::string, std::string>> left;
  (void)store_.scan(meta::Table::kState, kUploads, kUploads, SIZE_MAX,
                    [&](std::string_view key, std::string_view value) {
                      left.emplace_back(value, key.substr(kUploads.size()));
                      return true;
                    });
  for (const auto& [key, id] : left) {
    crash_point("replay-abort");
    abort(key, id);
  }
  std::vector<std::pair<std::string, std::string>> announced;
  (void)store_.scan(meta::Table::kState, kAnnounced, kAnnounced, SIZE_MAX,
                    [&](std::string_view key, std::string_view value) {
                      announced.emplace_back(key, value);
                      return true;
                    });
  for (const auto& [record, value] : announced) {
    if (value.size() <= 8) continue;
    abort_announced(record, value.substr(8), static_cast<int64_t>(read_be64(value)));
  }
}

// Uploads of just this key that began when ours was asked for. Somebody else's of the same minutes would go,
// too: two that upload one key at once lose one of them anyway.
void Uploader::abort_announced(const std::string& record, const std::string& key, int64_t announced_s) {
  constexpr int64_t kSkewS = 120, kLongestS = 600;  // clocks that differ; retries of the request
  s3_.list_uploads(key, [this, record, key, announced_s](const Result<std::vector<s3::ListedUpload>>& found) {
    if (!found.ok()) return log::warn("uploads of {} cannot be listed: {}", key, found.error().message);
    for (const s3::ListedUpload& upload : *found) {
      const bool ours = upload.key == key && upload.initiated >= announced_s - kSkewS &&
                        upload.initiated <= announced_s + kLongestS;
      if (ours) abort(key, upload.upload_id);
    }
    meta::Batch batch;
    batch.erase(meta::Table::kState, record);
    store_.apply(std::move(batch));
  });
}

}  // namespace s3cache::core
