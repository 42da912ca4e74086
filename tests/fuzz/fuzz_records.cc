// Every record decoder on arbitrary bytes: no crash, and what decodes is stable under another round.
//
// The first byte chooses the decoder, the rest is the record. Built with -fsanitize=fuzzer,address,undefined.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "meta/records.h"

namespace {

using s3cache::meta::CrcChunk;
using s3cache::meta::Dir;
using s3cache::meta::Dirent;
using s3cache::meta::Ext;
using s3cache::meta::File;
using s3cache::meta::Inode;
using s3cache::meta::Intent;

void require(bool ok) {
  if (!ok) std::abort();
}

template <class T>
void round_trip(std::string_view v) {
  const auto record = T::decode(v);
  if (!record) return;
  const std::string encoded = record->encode();
  const auto again = T::decode(encoded);
  require(again.has_value());
  require(again->encode() == encoded);
  // All but Ext, which may drop headers, have one form only.
  if (v.size() <= s3cache::meta::kMaxExt) require(encoded == v);
}

void bitmap(std::string_view v) {
  const auto bits = s3cache::meta::decode_bitmap(v);
  if (!bits) return;
  require(bits->size() == 1024);
  require(s3cache::meta::decode_bitmap(s3cache::meta::encode_bitmap(*bits)) == bits);
}

void dirent_key(std::string_view v) {
  const auto key = s3cache::meta::parse_dirent_key(v);
  if (key) require(s3cache::meta::dirent_key(key->parent, key->name, key->directory) == v);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  // A copy of exactly the record's size: a read past its end is a read past an allocation.
  const std::unique_ptr<char[]> exact(new char[size - 1]);
  for (size_t i = 1; i < size; ++i) exact[i - 1] = static_cast<char>(data[i]);
  const std::string_view v(exact.get(), size - 1);
  switch (data[0] % 9) {
    case 0:
      round_trip<Dirent>(v);
      break;
    case 1:
      round_trip<Inode>(v);
      break;
    case 2:
      round_trip<Ext>(v);
      break;
    case 3:
      round_trip<Dir>(v);
      break;
    case 4:
      round_trip<File>(v);
      break;
    case 5:
      round_trip<CrcChunk>(v);
      break;
    case 6:
      bitmap(v);
      break;
    case 7:
      dirent_key(v);
      break;
    default:
      round_trip<Intent>(v);
      break;
  }
  return 0;
}
