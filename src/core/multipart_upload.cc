#include "core/multipart_upload.h"

#include <algorithm>
#include <utility>

#include "base/crash_point.h"
#include "base/log.h"

namespace s3cache::core {

namespace {
// Parts sent again because they were written under way, before the upload gives up on a hot file.
constexpr int kMaxRepeats = 20;

bool forgotten(const Error& error) {
  return error.code == Code::kNotFound && error.message.find("NoSuchUpload") != std::string::npos;
}
}  // namespace

MultipartUpload::MultipartUpload(Uploader& uploader, std::shared_ptr<Draft> draft, Draft::Snapshot snapshot,
                                 Uploader::Target target, s3::WrittenCallback done)
    : up_(uploader),
      draft_(std::move(draft)),
      snapshot_(std::move(snapshot)),
      target_(std::move(target)),
      done_(std::move(done)),
      plan_(plan_parts(up_.grid_, snapshot_.size, snapshot_.base_len, snapshot_.changed,
                       up_.options_.copy_size)),
      at_once_(up_.options_.parallel) {}

void MultipartUpload::start() {
  // Early parts first: whether they are good is known when they have ended.
  draft_->session().when_idle([self = shared_from_this()] {
    UploadSession& session = self->draft_->session();
    // Renamed since it was opened: parts cannot change their key.
    if (session.open() && session.key() != self->target_.key) self->up_.abandon(*self->draft_);
    if (session.open()) return self->run();
    (void)session.claim();
    self->up_.open_session(self->draft_, self->target_, [self](Status opened) {
      if (!opened.ok()) return self->done_(opened.error());
      self->run();
    });
  });
}

void MultipartUpload::run() {
  std::vector<PlannedPart> to_launch;
  bool finish = false;
  {
    MutexLock lock(mu_);
    if (draft_->unlinked() && !error_) error_ = Error{Code::kCancelled, target_.key + " was removed"};
    while (!error_ && running_ < at_once_ && next_ < plan_.size()) {
      const PlannedPart& part = plan_[next_++];
      if (draft_->session().has_for_snapshot(part.number, part.offset, part.length)) continue;
      ++running_;
      to_launch.push_back(part);
    }
    finish = running_ == 0 && (error_ || next_ == plan_.size()) && !std::exchange(finishing_, true);
  }
  for (const PlannedPart& part : to_launch) launch(part);
  if (!finish) return;
  std::optional<Error> error;
  {
    MutexLock lock(mu_);
    error = error_;
  }
  error ? fail(*error) : complete();
}

void MultipartUpload::launch(const PlannedPart& part) {
  if (!draft_->session().begin_part(part.number, part.offset, part.length)) return ended(part, s3::Written{});
  if (part.copy) return copy(part);
  const Range range{part.offset, part.length};
  draft_->materialize(range, [self = shared_from_this(), part, range](Status ready) {
    const auto ended = [self, part](const Result<s3::Written>& written) { self->ended(part, written); };
    if (!ready.ok()) {
      self->draft_->session().end_part(part.number, ready.error(), std::nullopt);
      return ended(ready.error());
    }
    self->up_.send_part(self->draft_, self->snapshot_.file, range, part.number, self->is_hot(part), ended);
  });
}

void MultipartUpload::copy(const PlannedPart& part) {
  s3::PartCopyRequest request;
  request.key = request.source_key = target_.key;
  request.upload_id = draft_->session().id();
  request.number = part.number;
  request.offset = part.offset;
  request.length = part.length;
  request.source_if_match = snapshot_.base_etag;
  up_.s3_.copy_part(std::move(request), [self = shared_from_this(), part](Result<s3::Written> written) {
    crash_point("part-copied");
    // The version this builds on is gone, or a shorter one is there (versitygw looks at the range first):
    // which is what a replaced one is.
    if ((written.is(Code::kNotFound) && !forgotten(written.error())) || written.is(Code::kInvalid))
      written = Error{Code::kStale, written.error().message};
    if (written.ok() && !written->crc32c && self->draft_->session().checksums()) {
      self->up_.copies_lose_checksums_ = true;
      written = Error{Code::kUnsupported, self->target_.key + ": a copied part has no checksum"};
    }
    // Where parts carry checksums each has to be named in Complete, also the server's own of a copy.
    self->draft_->session().end_part(part.number, written, written.ok() ? written->crc32c : std::nullopt);
    self->ended(part, written);
  });
}

// Of what was read beside the changes to make whole parts. Without what is in `but`, returns the bytes that
// went.
int64_t MultipartUpload::drop_sent(const PlannedPart& but) {
  std::vector<PlannedPart> all;
  {
    MutexLock lock(mu_);
    all = plan_;
  }
  int64_t freed = 0;
  for (const PlannedPart& part : all)
    if (!part.copy && part.number != but.number &&
        draft_->session().has(part.number, part.offset, part.length))
      freed += draft_->drop_clean({part.offset, part.length});
  return freed;
}

bool MultipartUpload::is_hot(const PlannedPart& part) {
  MutexLock lock(mu_);
  return hot_.count(part.number) > 0;
}

void MultipartUpload::ended(const PlannedPart& part, const Result<s3::Written>& written) {
  int64_t freed = 0;
  const bool no_room = written.is(Code::kNoSpace);
  if (no_room) {
    // The parts take turns in the room there is.
    tight_ = true;
    freed = drop_sent(part);
    draft_->drop_clean({part.offset, part.length});
  } else if (tight_ && written.ok() && !part.copy) {
    draft_->drop_clean({part.offset, part.length});
  }
  {
    MutexLock lock(mu_);
    --running_;
    if (no_room && (freed > 0 || running_ > 0)) {
      at_once_ = std::max(1, running_);
      plan_.push_back(part);
    } else if (!written.ok()) {
      // Written under way: the server refused bytes that do not fit their checksum.
      const bool refused = written.is(Code::kCorrupt) || written.is(Code::kBusy);
      const bool torn = draft_->generation() != snapshot_.generation && !part.copy && refused;
      if (torn && ++repeats_ <= kMaxRepeats) {
        hot_.insert(part.number);
        plan_.push_back(part);
      } else if (!error_) {
        error_ = written.error();
      }
    }
  }
  run();
}

// Parts that are missing after all: begun by the writer's own early sending, and written again since.
bool MultipartUpload::go_again() {
  const bool complete = std::all_of(plan_.begin(), plan_.end(), [this](const PlannedPart& part) {
    return draft_->session().has_for_snapshot(part.number, part.offset, part.length);
  });
  if (complete) return false;
  {
    MutexLock lock(mu_);
    if (++repeats_ > kMaxRepeats) {
      error_ = Error{Code::kBusy, target_.key + " is written faster than it can be sent"};
    } else {
      next_ = 0;
    }
    finishing_ = false;
  }
  draft_->session().when_idle([self = shared_from_this()] { self->run(); });
  return true;
}

void MultipartUpload::complete() {
  if (go_again()) return;
  std::vector<int> numbers;
  for (const PlannedPart& part : plan_) numbers.push_back(part.number);
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  s3::CompleteRequest request;
  request.key = target_.key;
  request.upload_id = draft_->session().id();
  request.parts = draft_->session().parts(numbers);
  request.if_none_match = target_.exclusive && up_.s3_.conditions_supported();
  // An edit must not replace what it does not build on; a whole rewrite is last-writer-wins unless asked
  // otherwise.
  const bool edit = snapshot_.base_len > 0 && !snapshot_.changed.covers(0, snapshot_.base_len);
  if ((edit || up_.options_.conflict_fail) && up_.s3_.conditions_supported())
    request.if_match = snapshot_.base_etag;
  const std::string id = request.upload_id;
  crash_point("complete-before");
  up_.s3_.complete_upload(std::move(request), [self = shared_from_this(), id](Result<s3::Written> written) {
    crash_point("complete-answered");
    if (!written.ok()) return self->fail(written.error());
    self->up_.completed(id);
    self->completed(*written);
  });
}

void MultipartUpload::completed(const s3::Written& written) {
  const bool outdated = draft_->session().headers_outdated();
  (void)draft_->session().close();
  if (!outdated) return done_(written);
  ObjectCopier::Copy copy;
  copy.source_key = copy.key = target_.key;
  copy.etag = written.etag;
  copy.size = snapshot_.size;
  copy.replace = true;
  copy.headers = target_.headers;
  up_.copier_.copy(std::move(copy), done_);
}

bool MultipartUpload::start_over(const Error& error) {
  // The one that follows has no checksums, so this comes once.
  const bool without_checksums =
      error.code == Code::kUnsupported && up_.copies_lose_checksums_ && draft_->session().checksums();
  if (!without_checksums && !forgotten(error)) return false;
  {
    MutexLock lock(mu_);
    if (!without_checksums && std::exchange(started_over_, true)) return false;
    next_ = 0;
    finishing_ = false;
    error_.reset();
  }
  log::warn("upload of {}: {}; it begins anew", target_.key, error.message);
  up_.abandon(*draft_);
  start();
  return true;
}

void MultipartUpload::fail(const Error& error) {
  if (start_over(error)) return;
  up_.abandon(*draft_);
  done_(forgotten(error) ? Error{Code::kUnavailable, error.message} : error);
}

}  // namespace s3cache::core
