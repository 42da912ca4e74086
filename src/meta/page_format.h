// LMDB's file format (0.9.x, 64 bit, little endian), as far as the checks before LMDB's own open need it.
//
// A page is a header of 16 bytes, then 16-bit offsets of its nodes, which lie at its end. Pages 0 and 1 hold
// the two copies of the store's own header. Threads: values. Units: bytes, page numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace s3cache::meta::format {

inline constexpr size_t kPageHeader = 16, kNodeHeader = 8;
inline constexpr uint32_t kMagic = 0xBEEFC0DE;
inline constexpr uint32_t kDataVersion = 1;
inline constexpr uint64_t kNoPage = ~uint64_t{0};
inline constexpr int kMaxDepth = 32;  // LMDB's cursor stack

// Page flags; the others say how a page was treated in memory.
inline constexpr uint16_t kBranch = 0x01, kLeaf = 0x02, kOverflow = 0x04, kMeta = 0x08, kKindFlags = 0x6f;
// Node flags.
inline constexpr uint16_t kBigData = 0x01, kSubTree = 0x02;

struct Tree {
  uint32_t pad;  // of the first: the page size
  uint16_t flags, depth;
  uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
};
static_assert(sizeof(Tree) == 48);

struct Header {
  uint32_t magic;
  uint32_t version;
  uint64_t address;
  uint64_t mapsize;
  Tree trees[2];  // free pages, then the table of tables
  uint64_t last_page;
  uint64_t txnid;
};
static_assert(sizeof(Header) == 136);

template <class T>
T load(const char* at) {
  T v;
  std::memcpy(&v, at, sizeof v);
  return v;
}

inline uint64_t page_number(const char* page) { return load<uint64_t>(page); }
inline uint16_t page_flags(const char* page) { return load<uint16_t>(page + 10); }
inline uint16_t page_lower(const char* page) { return load<uint16_t>(page + 12); }
inline uint16_t page_upper(const char* page) { return load<uint16_t>(page + 14); }
inline uint32_t overflow_count(const char* page) { return load<uint32_t>(page + 12); }

// The header LMDB will use. REQUIRES: both pages have been checked (check_store_file).
inline Header newest_header(const std::string& head, size_t page_size) {
  const auto a = load<Header>(head.data() + kPageHeader);
  const auto b = load<Header>(head.data() + page_size + kPageHeader);
  return a.txnid < b.txnid ? b : a;
}

}  // namespace s3cache::meta::format
