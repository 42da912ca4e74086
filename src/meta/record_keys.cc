#include "base/bytes.h"
#include "meta/records.h"

namespace s3cache::meta {

std::string dirent_key(uint64_t parent, std::string_view name, bool directory) {
  std::string key = be64(parent);
  key.reserve(8 + name.size() + 1);
  key.append(name);
  // The '/' is part of the order: S3 lists the prefix "a/" between "a.txt" and "a0".
  if (directory) key.push_back('/');
  return key;
}

std::optional<DirentKey> parse_dirent_key(std::string_view key) {
  if (key.size() < 9) return std::nullopt;
  DirentKey d{read_be64(key), key.substr(8), false};
  if (d.name.back() == '/') {
    d.directory = true;
    d.name.remove_suffix(1);
  }
  if (d.name.empty() || d.name.size() > 255) return std::nullopt;
  if (d.name.find('/') != std::string_view::npos) return std::nullopt;
  return d;
}

std::string id_key(uint64_t id) { return be64(id); }

std::string chunk_key(uint64_t fid, uint32_t chunk) {
  std::string key = be64(fid);
  put_u32(key, chunk);
  return key;
}

bool record_ok(Table table, std::string_view key, std::string_view value) {
  const bool id = key.size() == 8, chunk = key.size() == 12;
  switch (table) {
    case Table::kState:
      return true;  // texts of many owners, who read them with care
    case Table::kDirent:
      return parse_dirent_key(key) && Dirent::decode(value);
    case Table::kInode:
      return id && Inode::valid(value);
    case Table::kExt:
      return id && Ext::decode(value);
    case Table::kDir:
      return id && Dir::decode(value);
    case Table::kFile:
      return id && File::decode(value);
    case Table::kMap:
      return chunk && decode_bitmap(value);
    case Table::kCrc:
      return chunk && CrcChunk::decode(value);
    case Table::kDirty:
      return key.size() == 16;
    case Table::kJournal:
      return id;
    case Table::kTrash:
      return id && value.empty();
  }
  return false;
}

}  // namespace s3cache::meta
