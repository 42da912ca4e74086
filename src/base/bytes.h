// Big-endian integers in keys and little cursors over records: the byte order of everything on disk.
//
// Keys are big-endian so that memcmp order is numeric order; record fields are big-endian too, for one rule.
// ByteReader never reads past its end: a short record sets failed() and yields zeros. Threads: values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace s3cache {

void put_u8(std::string& out, uint8_t v);
void put_u16(std::string& out, uint16_t v);
void put_u32(std::string& out, uint32_t v);
void put_u64(std::string& out, uint64_t v);
// Length (u16) then bytes; REQUIRES: s.size() < 65,536.
void put_bytes16(std::string& out, std::string_view s);

std::string be64(uint64_t v);
uint64_t read_be64(std::string_view s);  // REQUIRES: s.size() >= 8

class ByteReader {
 public:
  explicit ByteReader(std::string_view s) : s_(s) {}
  uint8_t u8();
  uint16_t u16();
  uint32_t u32();
  uint64_t u64();
  std::string_view bytes16();
  std::string_view rest();
  bool failed() const { return failed_; }
  bool at_end() const { return s_.empty(); }

 private:
  std::string_view take(size_t n);
  std::string_view s_;
  bool failed_ = false;
};

}  // namespace s3cache
