// Intent: a change of the namespace on its way to S3.
#include "base/bytes.h"
#include "meta/records.h"

namespace s3cache::meta {
namespace {

constexpr uint8_t kVersion = 1;
constexpr uint8_t kPromised = 1, kIsDir = 2, kIntentBits = 3;
constexpr uint8_t kMaxStage = 2;

}  // namespace

std::string Intent::encode() const {
  std::string out;
  out.reserve(70 + name.size() + new_name.size() + key.size() + new_key.size() + etag.size());
  put_u8(out, kVersion);
  put_u8(out, static_cast<uint8_t>(op));
  put_u8(out, stage);
  put_u8(out, static_cast<uint8_t>((promised ? kPromised : 0) | (is_dir ? kIsDir : 0)));
  put_u64(out, ino);
  put_u64(out, parent);
  put_u64(out, new_parent);
  put_u64(out, static_cast<uint64_t>(last_modified_s));
  put_u64(out, static_cast<uint64_t>(made_at_ns));
  for (const std::string* text : {&name, &new_name, &key, &new_key, &etag}) put_bytes16(out, *text);
  return out;
}

std::optional<Intent> Intent::decode(std::string_view v) {
  ByteReader r(v);
  if (r.u8() != kVersion) return std::nullopt;
  const uint8_t op = r.u8(), stage = r.u8(), bits = r.u8();
  if (op > static_cast<uint8_t>(Op::kRenameTree) || stage > kMaxStage || (bits & ~kIntentBits) != 0) {
    return std::nullopt;
  }
  Intent i;
  i.op = static_cast<Op>(op);
  i.stage = stage;
  i.promised = (bits & kPromised) != 0;
  i.is_dir = (bits & kIsDir) != 0;
  i.ino = r.u64();
  i.parent = r.u64();
  i.new_parent = r.u64();
  i.last_modified_s = static_cast<int64_t>(r.u64());
  i.made_at_ns = static_cast<int64_t>(r.u64());
  for (std::string* text : {&i.name, &i.new_name, &i.key, &i.new_key, &i.etag}) *text = r.bytes16();
  if (r.failed() || !r.at_end()) return std::nullopt;
  return i;
}

}  // namespace s3cache::meta
