#include "core/content_records.h"

#include <string>
#include <utility>

#include "core/namespace.h"

namespace s3cache::core {

using meta::Batch;
using meta::Table;

namespace {

uint32_t chunks(Table table, int64_t size) {
  const int64_t chunk = table == Table::kMap ? cache::kChunk : cache::kCrcChunk;
  return static_cast<uint32_t>((size + chunk - 1) / chunk);
}

template <class Fn>
void for_chunks(meta::MetaStore& store, Table table, const cache::CacheFile& file, const Fn& fn) {
  auto snapshot = store.snapshot();
  const uint64_t fid = file.fid();
  for (uint32_t c = 0; c < chunks(table, file.size()); ++c) {
    auto value = snapshot->get(table, meta::chunk_key(fid, c));
    if (value.ok() && value->has_value()) fn(c, **value);
  }
}

void put_changes(Batch& batch, uint64_t fid, const cache::CacheChanges& changes, bool with_maps) {
  if (with_maps)
    for (const auto& [chunk, bits] : changes.maps)
      batch.put(Table::kMap, meta::chunk_key(fid, chunk), meta::encode_bitmap(bits));
  for (const auto& crcs : changes.crcs) {
    meta::CrcChunk record;
    for (size_t i = 0; i < record.crc.size(); ++i) {
      record.crc[i] = crcs.crc[i];
      record.known[i] = crcs.known[i];
    }
    batch.put(Table::kCrc, meta::chunk_key(fid, crcs.chunk), record.encode());
  }
}

}  // namespace

std::optional<meta::File> read_file_record(meta::MetaStore& store, uint64_t fid) {
  auto value = store.get(Table::kFile, meta::id_key(fid));
  if (!value.ok() || !value->has_value()) return std::nullopt;
  return meta::File::decode(**value);
}

void load_pages(meta::MetaStore& store, cache::CacheFile& file, bool sealed) {
  if (sealed) {
    file.load_full();
    file.set_registered();
    return;
  }
  for_chunks(store, Table::kMap, file, [&](uint32_t chunk, const std::string& value) {
    if (auto bits = meta::decode_bitmap(value)) file.load_map(chunk, *bits);
  });
}

void load_checksums(meta::MetaStore& store, cache::CacheFile& file) {
  for_chunks(store, Table::kCrc, file, [&](uint32_t chunk, const std::string& value) {
    const auto record = meta::CrcChunk::decode(value);
    if (!record) return;
    cache::CacheChanges::Crcs crcs{};
    crcs.chunk = chunk;
    for (size_t i = 0; i < record->crc.size(); ++i) {
      crcs.crc[i] = record->crc[i];
      crcs.known[i] = record->known[i];
    }
    file.load_crcs(crcs);
  });
}

bool write_content_record(Inodes& inodes, Content& content, bool sealed, uint64_t policy_key, int64_t now_s) {
  bool written = false;
  const cache::CacheChanges changes = content.file()->take_changes();
  const ContentId& id = content.id();
  const uint64_t fid = content.fid();
  const auto updated = inodes.update(id.ino, [&](meta::Inode& inode, Batch& batch) {
    if (version_of(inode) != id.version) return false;
    inode.fid = fid;
    meta::File file;
    file.state = sealed ? meta::FileState::kSealed : meta::FileState::kPartial;
    // Sealed files may be handed to the kernel at any later open, so they count as registered from here on.
    file.registered = sealed;
    file.ino = id.ino;
    file.size = id.size;
    file.valid_bytes = changes.valid_bytes;
    file.last_used_s = now_s;
    file.key_hash = policy_key;
    file.etag = id.etag;
    batch.put(Table::kFile, meta::id_key(fid), file.encode());
    put_changes(batch, fid, changes, !sealed);
    if (sealed) erase_chunks(batch, Table::kMap, fid, id.size);
    return written = true;
  });
  return updated.ok() && written;
}

void erase_chunks(Batch& batch, Table table, uint64_t fid, int64_t size) {
  for (uint32_t c = 0; c < chunks(table, size); ++c) batch.erase(table, meta::chunk_key(fid, c));
}

void mark_synced(meta::MetaStore& store, const std::vector<uint64_t>& fids,
                 const std::function<bool(uint64_t fid)>& skip) {
  Batch batch;
  for (uint64_t fid : fids) {
    auto file = skip(fid) ? std::nullopt : read_file_record(store, fid);
    if (!file || file->synced) continue;
    file->synced = true;
    batch.put(Table::kFile, meta::id_key(fid), file->encode());
  }
  if (!batch.empty()) store.apply(std::move(batch));
}

}  // namespace s3cache::core
