#include "core/scrubber.h"

#include <algorithm>
#include <string>

#include "base/bytes.h"
#include "base/encoding.h"
#include "base/log.h"
#include "meta/records.h"

namespace s3cache::core {

using meta::Table;

namespace {
constexpr char kProgress[] = "scrub/progress";
constexpr int64_t kQuietMs = 2'000;        // nobody opened or fetched anything for so long
constexpr int64_t kLookMs = 1'000;         // until it looks again whether it is time
constexpr int64_t kSaveBytes = 256 << 20;  // of reading that a remount may repeat
constexpr size_t kSkip = 256;              // records looked at for a file to check
}  // namespace

Scrubber::Scrubber(meta::MetaStore& store, ContentTable& contents, Clock& clock, int64_t interval_s)
    : store_(store), contents_(contents), clock_(clock), interval_s_(interval_s) {}

void Scrubber::load() {
  loaded_ = true;
  const auto value = store_.get(Table::kState, kProgress);
  if (value.ok() && value->has_value() && (*value)->size() == 16) {
    progress_.began_s = static_cast<int64_t>(read_be64((*value)->substr(0, 8)));
    progress_.next_fid = read_be64((*value)->substr(8));
  } else {
    // A new cache: what is written today need not be doubted today.
    progress_.began_s = clock_.wall_s();
    save();
  }
}

void Scrubber::save() {
  meta::Batch batch;
  batch.put(Table::kState, kProgress,
            be64(static_cast<uint64_t>(progress_.began_s)) + be64(progress_.next_fid));
  store_.apply(std::move(batch));
  unsaved_ = 0;
}

int64_t Scrubber::step() {
  if (interval_s_ <= 0) return kLookMs;
  if (!loaded_) load();
  if (progress_.next_fid == 0) {
    const int64_t age = clock_.wall_s() - progress_.began_s;
    if (age >= 0 && age < interval_s_) return kLookMs;  // below 0: the clock was set back
    progress_ = {clock_.wall_s(), 1};
    bytes_ = files_ = damaged_ = 0;
    save();
  }
  if (!contents_.quiet_for(kQuietMs)) return kLookMs;
  if (!file_ && !next_file()) {
    if (progress_.next_fid == 0) finish();
    return 1;
  }
  const int64_t read = check_some();
  bytes_ += read;
  unsaved_ += read;
  if (unsaved_ >= kSaveBytes) save();
  return std::max<int64_t>(read * 1000 / kRate, 1);
}

bool Scrubber::next_file() {
  std::optional<std::pair<uint64_t, meta::File>> found;
  size_t seen = 0;
  const auto first = [&](std::string_view key, std::string_view value) {
    seen++;
    const auto file = key.size() == 8 ? meta::File::decode(value) : std::nullopt;
    if (key.size() == 8) progress_.next_fid = read_be64(key) + 1;
    if (file && file->state == meta::FileState::kSealed) found = {read_be64(key), *file};
    return !found;
  };
  const Status s = store_.scan(Table::kFile, meta::id_key(progress_.next_fid), "", kSkip, first);
  if (!s.ok() || (!found && seen < kSkip)) {
    progress_.next_fid = 0;
    return false;
  }
  if (!found) return false;
  file_ = contents_.take_for_scrub(found->second.ino, found->first);
  offset_ = 0;
  return file_ != nullptr;
}

int64_t Scrubber::check_some() {
  const int64_t length = std::min(kStep, file_->id().size - offset_);
  const bool good = contents_.scrub(*file_, offset_, length);
  offset_ += length;
  if (!good || offset_ >= file_->id().size) {
    files_++;
    damaged_ += good ? 0 : 1;
    file_.reset();
  }
  return length;
}

void Scrubber::finish() {
  save();
  if (files_ == 0) return;
  log::info("cache: {} files of {} MiB compared with their checksums, {} damaged", files_, bytes_ >> 20,
            damaged_);
}

}  // namespace s3cache::core
