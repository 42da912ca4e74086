#include "core/upload_session.h"

#include <algorithm>
#include <utility>

namespace s3cache::core {

bool UploadSession::open() const {
  MutexLock lock(mu_);
  return !id_.empty();
}

std::string UploadSession::id() const {
  MutexLock lock(mu_);
  return id_;
}

std::string UploadSession::key() const {
  MutexLock lock(mu_);
  return key_;
}

bool UploadSession::claim() {
  MutexLock lock(mu_);
  return !std::exchange(claimed_, true);
}

bool UploadSession::checksums() const {
  MutexLock lock(mu_);
  return checksums_;
}

void UploadSession::opened(std::string key, std::string id, s3::SentHeaders headers, bool checksums) {
  {
    MutexLock lock(mu_);
    checksums_ = checksums;
    key_ = std::move(key);
    id_ = std::move(id);
    headers_ = std::move(headers);
  }
  tell_idle();
}

void UploadSession::open_failed() {
  {
    MutexLock lock(mu_);
    claimed_ = outdated_ = false;
  }
  tell_idle();
}

bool UploadSession::idle_locked() const { return flying_locked() == 0 && claimed_ != id_.empty(); }

void UploadSession::tell_idle() {
  std::function<void()> idle;
  {
    MutexLock lock(mu_);
    if (idle_locked()) idle.swap(idle_);
  }
  if (idle) idle();
}

bool UploadSession::begin_part(int number, int64_t offset, int64_t length) {
  MutexLock lock(mu_);
  Part& part = parts_[number];
  const bool same = part.offset == offset && part.length == length;
  if (part.flying || (part.sent && same && !part.stale)) return false;
  part = Part{};
  part.offset = offset;
  part.length = length;
  part.flying = true;
  return true;
}

void UploadSession::end_part(int number, const Result<s3::Written>& written, std::optional<uint32_t> crc32c) {
  {
    MutexLock lock(mu_);
    const auto it = parts_.find(number);
    if (it == parts_.end()) return;
    Part& part = it->second;
    part.flying = false;
    part.sent = written.ok();
    if (written.ok()) {
      part.etag = written->etag;
      part.crc32c = crc32c;
    }
  }
  tell_idle();
}

int UploadSession::flying_locked() const {
  return static_cast<int>(
      std::count_if(parts_.begin(), parts_.end(), [](const auto& p) { return p.second.flying; }));
}

int UploadSession::flying() const {
  MutexLock lock(mu_);
  return flying_locked();
}

void UploadSession::when_idle(std::function<void()> done) {
  {
    MutexLock lock(mu_);
    if (!idle_locked()) {
      idle_ = std::move(done);
      return;
    }
  }
  done();
}

void UploadSession::touched(int64_t offset, int64_t length) {
  MutexLock lock(mu_);
  for (auto it = parts_.rbegin(); it != parts_.rend(); ++it) {
    Part& part = it->second;
    if (part.offset < offset + length && offset < part.offset + part.length) part.stale = true;
    if (part.offset + part.length <= offset) break;
  }
}

void UploadSession::attributes_changed() {
  MutexLock lock(mu_);
  outdated_ = claimed_;
}

bool UploadSession::headers_outdated() const {
  MutexLock lock(mu_);
  return outdated_;
}

std::string UploadSession::header(std::string_view name) const {
  MutexLock lock(mu_);
  for (const auto& [key, value] : headers_) {
    if (key == name) return value;
  }
  return {};
}

void UploadSession::snapshot() {
  MutexLock lock(mu_);
  for (auto& [number, part] : parts_) part.old = part.stale;
}

const UploadSession::Part* UploadSession::sent_locked(int number, int64_t offset, int64_t length) const {
  const auto it = parts_.find(number);
  if (it == parts_.end()) return nullptr;
  const Part& part = it->second;
  return part.sent && part.offset == offset && part.length == length ? &part : nullptr;
}

bool UploadSession::has(int number, int64_t offset, int64_t length) const {
  MutexLock lock(mu_);
  const Part* part = sent_locked(number, offset, length);
  return part != nullptr && !part->stale;
}

bool UploadSession::has_for_snapshot(int number, int64_t offset, int64_t length) const {
  MutexLock lock(mu_);
  const Part* part = sent_locked(number, offset, length);
  return part != nullptr && !part->old;
}

std::vector<Range> UploadSession::sent() const {
  MutexLock lock(mu_);
  std::vector<Range> out;
  for (const auto& [number, part] : parts_)
    if (part.sent && !part.stale) out.push_back({part.offset, part.length});
  return out;
}

std::vector<s3::CompletedPart> UploadSession::parts(const std::vector<int>& numbers) const {
  MutexLock lock(mu_);
  std::vector<s3::CompletedPart> out;
  for (const int number : numbers) {
    const auto it = parts_.find(number);
    if (it != parts_.end()) out.push_back({number, it->second.etag, it->second.crc32c});
  }
  return out;
}

std::optional<std::pair<std::string, std::string>> UploadSession::close() {
  MutexLock lock(mu_);
  std::optional<std::pair<std::string, std::string>> out;
  if (!id_.empty()) out.emplace(std::move(key_), std::move(id_));
  key_.clear();
  id_.clear();
  parts_.clear();
  headers_.clear();
  claimed_ = outdated_ = false;
  return out;
}

}  // namespace s3cache::core
