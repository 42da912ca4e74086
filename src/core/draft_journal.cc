#include "core/draft_journal.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/log.h"

namespace s3cache::core {

using meta::Batch;
using meta::Table;

namespace {

constexpr uint8_t kVersion = 1;

std::string mark_key(uint64_t ino) { return std::string(kDraftMarks) + be64(ino); }

std::string encode(const DraftMark& mark) {
  std::string out;
  put_u8(out, kVersion);
  put_u8(out, mark.durable ? 1 : 0);
  put_u64(out, mark.fid);
  put_u64(out, static_cast<uint64_t>(mark.base_len));
  put_u64(out, static_cast<uint64_t>(mark.base_size));
  put_u64(out, static_cast<uint64_t>(mark.sent_size));
  put_bytes16(out, mark.sent_ctime);
  return out;
}

std::optional<DraftMark> decode(std::string_view key, std::string_view value) {
  ByteReader r(value);
  DraftMark mark;
  if (key.size() != kDraftMarks.size() + 8 || r.u8() != kVersion) return std::nullopt;
  mark.ino = read_be64(key.substr(kDraftMarks.size()));
  mark.durable = r.u8() == 1;
  mark.fid = r.u64();
  mark.base_len = static_cast<int64_t>(r.u64());
  mark.base_size = static_cast<int64_t>(r.u64());
  mark.sent_size = static_cast<int64_t>(r.u64());
  mark.sent_ctime = r.bytes16();
  if (r.failed() || !r.at_end() || mark.base_len < 0 || mark.base_size < mark.base_len) return std::nullopt;
  return mark;
}

std::string extent_value(int64_t length) {
  std::string out;
  put_u8(out, kVersion);
  put_u64(out, static_cast<uint64_t>(length));
  return out;
}

std::vector<std::string> extent_keys(meta::MetaStore& store, uint64_t ino) {
  std::vector<std::string> keys;
  const std::string prefix = be64(ino);
  (void)store.scan(Table::kDirty, prefix, prefix, SIZE_MAX, [&](std::string_view key, std::string_view) {
    keys.emplace_back(key);
    return true;
  });
  return keys;
}

}  // namespace

void put_draft_mark(Batch& batch, uint64_t ino, const Draft::Start& start, bool durable) {
  const int64_t base_len = start.base_len >= 0 ? start.base_len : start.base_etag.empty() ? 0 : start.size;
  DraftMark mark;
  mark.ino = ino;
  mark.durable = durable;
  mark.fid = start.fid;
  mark.base_len = base_len;
  mark.base_size = std::max(base_len, start.base_size);
  batch.put(Table::kState, mark_key(ino), encode(mark));
}

meta::File modified_file(uint64_t ino, const Draft::Start& start, int64_t now_s) {
  meta::File file;
  file.state = meta::FileState::kModified;
  file.registered = start.whole;
  file.ino = ino;
  file.size = file.valid_bytes = start.size;
  file.last_used_s = now_s;
  file.etag = start.base_etag;
  return file;
}

Batch sent_mark(const Draft& draft) {
  const Draft::State state = draft.state();
  DraftMark mark;
  mark.ino = draft.ino();
  mark.durable = true;
  mark.fid = state.fid;
  mark.base_len = state.base_len;
  mark.base_size = std::max(state.base_len, state.base_size);
  mark.sent_ctime = state.sent_ctime;
  mark.sent_size = state.sent_size;
  Batch batch;
  batch.put(Table::kState, mark_key(draft.ino()), encode(mark));
  return batch;
}

Batch durable_draft(meta::MetaStore& store, const Draft& draft, int64_t now_s) {
  Batch batch = sent_mark(draft);
  const Draft::State state = draft.state();
  Draft::Start as_is;
  as_is.size = state.size;
  as_is.base_etag = state.base_etag;
  as_is.whole = state.whole;
  batch.put(Table::kFile, meta::id_key(state.fid), modified_file(draft.ino(), as_is, now_s).encode());
  for (std::string& key : extent_keys(store, draft.ino())) batch.erase(Table::kDirty, std::move(key));
  for (const Range& r : draft.unsaved().all())
    batch.put(Table::kDirty, be64(draft.ino()) + be64(static_cast<uint64_t>(r.offset)),
              extent_value(r.length));
  return batch;
}

void put_draft_cut(meta::MetaStore& store, Batch& batch, uint64_t ino, int64_t size) {
  const auto known = store.get(Table::kState, mark_key(ino));
  auto mark = known.ok() && known->has_value() ? decode(mark_key(ino), **known) : std::nullopt;
  if (!mark) return;
  mark->base_len = std::min(mark->base_len, size);
  batch.put(Table::kState, mark_key(ino), encode(*mark));
  for (const Range& r : read_extents(store, ino).all()) {
    std::string key = be64(ino) + be64(static_cast<uint64_t>(r.offset));
    if (r.offset >= size) {
      batch.erase(Table::kDirty, std::move(key));
    } else if (r.offset + r.length > size) {
      batch.put(Table::kDirty, std::move(key), extent_value(size - r.offset));
    }
  }
}

void put_draft_end(meta::MetaStore& store, Batch& batch, uint64_t ino) {
  batch.erase(Table::kState, mark_key(ino));
  for (std::string& key : extent_keys(store, ino)) batch.erase(Table::kDirty, std::move(key));
}

bool has_draft_mark(meta::MetaStore& store, uint64_t ino) {
  const auto mark = store.get(Table::kState, mark_key(ino));
  return mark.ok() && mark->has_value();
}

void forget_draft_records(meta::MetaStore& store, uint64_t ino) {
  Batch batch;
  put_draft_end(store, batch, ino);
  store.apply(std::move(batch));
}

std::vector<DraftMark> read_draft_marks(meta::MetaStore& store) {
  std::vector<DraftMark> out;
  const Status scanned = store.scan(
      Table::kState, kDraftMarks, kDraftMarks, SIZE_MAX, [&](std::string_view key, std::string_view value) {
        if (auto mark = decode(key, value)) {
          out.push_back(*mark);
        } else {
          log::error(
              "journal: a draft's record is unreadable; it is kept, its bytes are in the cache folder");
        }
        return true;
      });
  if (!scanned.ok()) log::error("journal: {}", scanned.error().message);
  return out;
}

ExtentSet read_extents(meta::MetaStore& store, uint64_t ino) {
  ExtentSet out;
  const std::string prefix = be64(ino);
  (void)store.scan(Table::kDirty, prefix, prefix, SIZE_MAX,
                   [&](std::string_view key, std::string_view value) {
                     ByteReader r(value);
                     const bool version = r.u8() == kVersion;
                     const auto length = static_cast<int64_t>(r.u64());
                     if (key.size() == 16 && version && !r.failed() && length > 0)
                       out.add(static_cast<int64_t>(read_be64(key.substr(8))), length);
                     return true;
                   });
  return out;
}

}  // namespace s3cache::core
