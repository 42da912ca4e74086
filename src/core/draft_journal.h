// The records of drafts: what a mount after a crash or a power cut needs to finish their uploads.
//
// kState "draft/" be64(ino) stands as long as an inode is changed (the mark); with `durable` its kDirty
// extents, its kFile (state modified) and its kInode say exactly which bytes of which file have to go up,
// over which base version. A mark that is not durable belongs to changes nobody was promised: they are taken
// back. Threads: pure functions. Errors: those of the store; an unreadable record is kept where it is and
// logged, never deleted. Units: bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/draft.h"
#include "meta/meta_store.h"
#include "meta/records.h"

namespace s3cache::core {

inline constexpr std::string_view kDraftMarks = "draft/";  // in kState

struct DraftMark {
  uint64_t ino = 0;
  bool durable = false;
  uint64_t fid = 0;
  int64_t base_len = 0, base_size = 0;
  std::string sent_ctime;  // of the latest upload that began, empty: none
  int64_t sent_size = 0;
};

void put_draft_mark(meta::Batch& batch, uint64_t ino, const Draft::Start& start, bool durable);
meta::File modified_file(uint64_t ino, const Draft::Start& start, int64_t now_s);

// Everything of the draft as it stands; the caller has synced its file.
meta::Batch durable_draft(meta::MetaStore& store, const Draft& draft, int64_t now_s);
// The mark alone, with what is about to be sent.
meta::Batch sent_mark(const Draft& draft);
// The file is about to be cut to `size`.
void put_draft_cut(meta::MetaStore& store, meta::Batch& batch, uint64_t ino, int64_t size);
// Takes the mark and the extents away.
void put_draft_end(meta::MetaStore& store, meta::Batch& batch, uint64_t ino);
// The inode is being changed: its source and its name's pin are the draft's.
bool has_draft_mark(meta::MetaStore& store, uint64_t ino);
void forget_draft_records(meta::MetaStore& store, uint64_t ino);

std::vector<DraftMark> read_draft_marks(meta::MetaStore& store);
ExtentSet read_extents(meta::MetaStore& store, uint64_t ino);

}  // namespace s3cache::core
