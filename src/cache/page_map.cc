#include "cache/page_map.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace s3cache::cache {

namespace {

constexpr uint32_t kPagesPerChunk = kChunk / kPage;
constexpr size_t kChunkBytes = kPagesPerChunk / 8;

static_assert(std::endian::native == std::endian::little,
              "chunk_bits() copies words: LSB first needs little endian");

// Bits [first, end) of the word that holds page `first`. REQUIRES: first < end.
uint64_t word_mask(uint32_t first, uint32_t end) {
  const uint32_t low = first % 64;
  const uint32_t count = std::min(64 - low, end - first);
  return (count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1) << low;
}

}  // namespace

PageMap::PageMap(int64_t size) : size_(std::max<int64_t>(size, 0)), pages_((size_ + kPage - 1) / kPage) {}

uint32_t PageMap::chunk_count() const { return static_cast<uint32_t>((size_ + kChunk - 1) / kChunk); }

uint32_t PageMap::pages_in(uint32_t chunk) const {
  return static_cast<uint32_t>(std::min<int64_t>(kPagesPerChunk, pages_ - int64_t{chunk} * kPagesPerChunk));
}

PageMap::Pages PageMap::touched(int64_t offset, int64_t length) const {
  if (offset < 0) {
    length += offset;  // cannot overflow: the signs differ, or the result only gets more negative
    offset = 0;
  }
  if (length <= 0 || offset >= size_) return {0, 0};
  length = std::min(length, size_ - offset);
  return {offset / kPage, (offset + length + kPage - 1) / kPage};
}

int64_t PageMap::bytes_of(int64_t first_page, int64_t end_page) const {
  return std::min(end_page * kPage, size_) - first_page * kPage;
}

bool PageMap::chunk_covers(uint32_t chunk, uint32_t first, uint32_t end) const {
  if (chunk >= chunks_.size()) return false;
  const Chunk& c = chunks_[chunk];
  if (!c.words) return c.valid != 0;
  while (first < end) {
    const uint64_t mask = word_mask(first, end);
    if ((c.words[first / 64] & mask) != mask) return false;
    first = (first / 64 + 1) * 64;
  }
  return true;
}

bool PageMap::covers(int64_t offset, int64_t length) const {
  if (full()) return true;
  Pages p = touched(offset, length);
  while (p.first < p.end) {
    const uint32_t chunk = static_cast<uint32_t>(p.first / kPagesPerChunk);
    const int64_t base = int64_t{chunk} * kPagesPerChunk;
    const int64_t stop = std::min(p.end, base + kPagesPerChunk);
    if (!chunk_covers(chunk, static_cast<uint32_t>(p.first - base), static_cast<uint32_t>(stop - base)))
      return false;
    p.first = stop;
  }
  return true;
}

int64_t PageMap::find(int64_t from, int64_t end, bool valid) const {
  while (from < end) {
    const size_t chunk = static_cast<size_t>(from / kPagesPerChunk);
    if (chunk >= chunks_.size()) return valid ? end : from;
    const int64_t base = static_cast<int64_t>(chunk) * kPagesPerChunk;
    const Chunk& c = chunks_[chunk];
    if (!c.words) {
      if ((c.valid != 0) == valid) return from;
      from = base + kPagesPerChunk;
      continue;
    }
    const int64_t stop = std::min(end, base + kPagesPerChunk);
    while (from < stop) {
      const uint32_t bit = static_cast<uint32_t>(from - base);
      const uint64_t word = (valid ? c.words[bit / 64] : ~c.words[bit / 64]) >> (bit % 64);
      if (word != 0) return std::min(end, from + std::countr_zero(word));
      from += 64 - bit % 64;
    }
    from = stop;
  }
  return end;
}

std::vector<Run> PageMap::missing(int64_t offset, int64_t length) const {
  std::vector<Run> runs;
  if (full()) return runs;
  const Pages p = touched(offset, length);
  for (int64_t at = find(p.first, p.end, false); at < p.end;) {
    const int64_t stop = find(at, p.end, true);
    runs.push_back({at * kPage, bytes_of(at, stop)});
    at = find(stop, p.end, false);
  }
  return runs;
}

PageMap::Chunk& PageMap::writable(uint32_t chunk) {
  if (chunk >= chunks_.size()) chunks_.resize(chunk + 1);
  Chunk& c = chunks_[chunk];
  if (!c.words) {
    const uint32_t pages = pages_in(chunk);
    c.words = std::make_unique<uint64_t[]>((pages + 63) / 64);
    for (uint32_t page = 0; c.valid != 0 && page < pages; page = (page / 64 + 1) * 64)
      c.words[page / 64] = word_mask(page, pages);
  }
  return c;
}

void PageMap::settle(uint32_t chunk) {
  Chunk& c = chunks_[chunk];
  if (c.valid == 0 || c.valid == pages_in(chunk)) c.words.reset();
}

void PageMap::touch(uint32_t chunk) {
  if (chunk >= chunk_count()) return;
  if (chunk >= chunks_.size()) chunks_.resize(chunk + 1);
  if (chunks_[chunk].changed) return;
  chunks_[chunk].changed = true;
  changed_.push_back(chunk);
}

int64_t PageMap::set_range(Pages p, bool valid) {
  int64_t flipped_bytes = 0;
  while (p.first < p.end) {
    const uint32_t chunk = static_cast<uint32_t>(p.first / kPagesPerChunk);
    const int64_t base = int64_t{chunk} * kPagesPerChunk;
    const int64_t stop = std::min(p.end, base + kPagesPerChunk);
    const uint32_t had = chunk < chunks_.size() ? chunks_[chunk].valid : 0;
    if (had == (valid ? pages_in(chunk) : 0)) {  // nothing to flip: do not unfold a full or an empty chunk
      p.first = stop;
      continue;
    }
    Chunk& c = writable(chunk);
    uint32_t flipped = 0;
    for (int64_t page = p.first; page < stop; page = (page / 64 + 1) * 64) {
      const uint32_t bit = static_cast<uint32_t>(page - base);
      uint64_t& word = c.words[bit / 64];
      const uint64_t flip = word_mask(bit, static_cast<uint32_t>(stop - base)) & (valid ? ~word : word);
      word ^= flip;
      flipped += static_cast<uint32_t>(std::popcount(flip));
      // The last page of the file may be short.
      if (flip != 0 && page / 64 == (pages_ - 1) / 64 && (flip >> ((pages_ - 1) % 64) & 1) != 0)
        flipped_bytes -= pages_ * kPage - size_;
    }
    flipped_bytes += int64_t{flipped} * kPage;
    c.valid = valid ? c.valid + flipped : c.valid - flipped;
    settle(chunk);
    if (flipped != 0) touch(chunk);
    p.first = stop;
  }
  valid_bytes_ += valid ? flipped_bytes : -flipped_bytes;
  return flipped_bytes;
}

int64_t PageMap::mark(int64_t offset, int64_t length) {
  if (offset < 0) {
    length += offset;
    offset = 0;
  }
  if (length <= 0 || offset >= size_) return 0;
  length = std::min(length, size_ - offset);
  const int64_t first = (offset + kPage - 1) / kPage;
  const int64_t end = offset + length == size_ ? pages_ : (offset + length) / kPage;
  return first < end ? set_range({first, end}, true) : 0;
}

int64_t PageMap::clear(int64_t offset, int64_t length) { return set_range(touched(offset, length), false); }

std::vector<uint32_t> PageMap::take_changed() {
  std::vector<uint32_t> out;
  out.swap(changed_);
  std::sort(out.begin(), out.end());
  for (uint32_t chunk : out) chunks_[chunk].changed = false;
  return out;
}

std::string PageMap::chunk_bits(uint32_t chunk) const {
  std::string bits(kChunkBytes, '\0');
  if (chunk >= chunks_.size() || chunks_[chunk].valid == 0) return bits;
  const Chunk& c = chunks_[chunk];
  const uint32_t pages = pages_in(chunk);
  if (c.words) {
    std::memcpy(bits.data(), c.words.get(), (pages + 63) / 64 * sizeof(uint64_t));
    return bits;
  }
  std::memset(bits.data(), 0xff, pages / 8);
  if (pages % 8 != 0) bits[pages / 8] = static_cast<char>((1 << (pages % 8)) - 1);
  return bits;
}

void PageMap::load_chunk(uint32_t chunk, std::string_view bits) {
  if (chunk >= chunk_count() || bits.size() != kChunkBytes) return;
  const uint32_t pages = pages_in(chunk);
  Chunk& c = writable(chunk);
  uint32_t valid = 0;
  bool had_last = false, has_last = false;
  for (uint32_t page = 0; page < pages; page += 64) {
    uint64_t word;
    std::memcpy(&word, bits.data() + page / 8, sizeof(word));
    word &= word_mask(page, pages);  // what lies past the end of the file says nothing
    if (page + 64 >= pages && chunk + 1 == chunk_count()) {
      had_last = (c.words[page / 64] >> ((pages - 1) % 64) & 1) != 0;
      has_last = (word >> ((pages - 1) % 64) & 1) != 0;
    }
    c.words[page / 64] = word;
    valid += static_cast<uint32_t>(std::popcount(word));
  }
  valid_bytes_ += (int64_t{valid} - int64_t{c.valid}) * kPage;
  valid_bytes_ -= (int{has_last} - int{had_last}) * (pages_ * kPage - size_);
  c.valid = valid;
  settle(chunk);
}

}  // namespace s3cache::cache
