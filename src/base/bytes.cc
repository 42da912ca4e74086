#include "base/bytes.h"

namespace s3cache {

namespace {

template <class T>
void put_be(std::string& out, T v) {
  for (int shift = (static_cast<int>(sizeof(T)) - 1) * 8; shift >= 0; shift -= 8)
    out.push_back(static_cast<char>(static_cast<uint64_t>(v) >> shift));
}

template <class T>
T get_be(std::string_view s) {
  uint64_t v = 0;
  for (size_t i = 0; i < sizeof(T); ++i) v = v << 8 | static_cast<uint8_t>(s[i]);
  return static_cast<T>(v);
}

}  // namespace

void put_u8(std::string& out, uint8_t v) { put_be(out, v); }
void put_u16(std::string& out, uint16_t v) { put_be(out, v); }
void put_u32(std::string& out, uint32_t v) { put_be(out, v); }
void put_u64(std::string& out, uint64_t v) { put_be(out, v); }

void put_bytes16(std::string& out, std::string_view s) {
  put_u16(out, static_cast<uint16_t>(s.size()));
  out.append(s);
}

std::string be64(uint64_t v) {
  std::string s;
  put_u64(s, v);
  return s;
}

uint64_t read_be64(std::string_view s) { return get_be<uint64_t>(s); }

std::string_view ByteReader::take(size_t n) {
  if (s_.size() < n) {
    failed_ = true;
    s_ = {};
    return {};
  }
  const std::string_view out = s_.substr(0, n);
  s_.remove_prefix(n);
  return out;
}

uint8_t ByteReader::u8() {
  const auto b = take(1);
  return failed_ ? uint8_t{0} : get_be<uint8_t>(b);
}
uint16_t ByteReader::u16() {
  const auto b = take(2);
  return failed_ ? uint16_t{0} : get_be<uint16_t>(b);
}
uint32_t ByteReader::u32() {
  const auto b = take(4);
  return failed_ ? 0 : get_be<uint32_t>(b);
}
uint64_t ByteReader::u64() {
  const auto b = take(8);
  return failed_ ? 0 : get_be<uint64_t>(b);
}
std::string_view ByteReader::bytes16() {
  const uint16_t n = u16();
  return take(n);
}
std::string_view ByteReader::rest() { return take(s_.size()); }

}  // namespace s3cache
