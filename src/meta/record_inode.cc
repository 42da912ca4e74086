// Dirent, Inode, Ext, Dir: what is known of the namespace.
#include "base/bytes.h"
#include "meta/records.h"

namespace s3cache::meta {
namespace {

constexpr uint8_t kVersion = 1;
constexpr size_t kMaxName = 255;
constexpr size_t kMaxEtag = 255;
constexpr size_t kMaxLength = 65535;

// Bits of Inode's flag byte.
constexpr uint8_t kKindKnown = 1, kImplicitDir = 2, kHasOwner = 4, kInodeBits = 7;

int64_t i64(ByteReader& r) { return static_cast<int64_t>(r.u64()); }
void put_i64(std::string& out, int64_t v) { put_u64(out, static_cast<uint64_t>(v)); }

bool done(const ByteReader& r) { return !r.failed() && r.at_end(); }

}  // namespace

std::string Dirent::encode() const {
  std::string out;
  out.reserve(17);
  put_u8(out, kVersion);
  put_u64(out, ino);
  put_i64(out, checked_at_ns);
  return out;
}

std::optional<Dirent> Dirent::decode(std::string_view v) {
  ByteReader r(v);
  if (r.u8() != kVersion) return std::nullopt;
  Dirent d;
  d.ino = r.u64();
  d.checked_at_ns = i64(r);
  if (!done(r)) return std::nullopt;
  return d;
}

std::string Inode::encode() const {
  std::string out;
  out.reserve(118 + etag.size() + name.size());
  put_u8(out, kVersion);
  put_u8(out, static_cast<uint8_t>(kind));
  put_u8(out, static_cast<uint8_t>(source));
  put_u8(out, static_cast<uint8_t>((kind_known ? kKindKnown : 0) | (implicit_dir ? kImplicitDir : 0) |
                                   (has_owner ? kHasOwner : 0)));
  put_u64(out, parent);
  put_u32(out, mode);
  put_u32(out, uid);
  put_u32(out, gid);
  put_u32(out, rdev);
  put_i64(out, size);
  put_i64(out, mtime_ns);
  put_i64(out, ctime_ns);
  put_i64(out, atime_ns);
  put_i64(out, last_modified_s);
  put_u64(out, fid);
  put_i64(out, base_len);
  put_u64(out, lineage);
  put_u32(out, flags);
  // An ETag nobody can hold counts as none: (size, LastModified) then names the version.
  put_bytes16(out, etag.size() <= kMaxEtag ? std::string_view(etag) : std::string_view());
  put_bytes16(out, std::string_view(name).substr(0, kMaxName + 1));  // over-long: decode() refuses it
  return out;
}

namespace {

// All but the two texts, which stay views.
bool parse_inode(std::string_view v, Inode& i, std::string_view& etag, std::string_view& name) {
  ByteReader r(v);
  if (r.u8() != kVersion) return false;
  const uint8_t kind = r.u8(), source = r.u8(), bits = r.u8();
  if (kind > static_cast<uint8_t>(Kind::kSpecial) || source > static_cast<uint8_t>(AttrSource::kLocal) ||
      (bits & ~kInodeBits) != 0) {
    return false;
  }
  i.kind = static_cast<Kind>(kind);
  i.source = static_cast<AttrSource>(source);
  i.kind_known = (bits & kKindKnown) != 0;
  i.implicit_dir = (bits & kImplicitDir) != 0;
  i.has_owner = (bits & kHasOwner) != 0;
  i.parent = r.u64();
  i.mode = r.u32();
  i.uid = r.u32();
  i.gid = r.u32();
  i.rdev = r.u32();
  i.size = i64(r);
  i.mtime_ns = i64(r);
  i.ctime_ns = i64(r);
  i.atime_ns = i64(r);
  i.last_modified_s = i64(r);
  i.fid = r.u64();
  i.base_len = i64(r);
  i.lineage = r.u64();
  i.flags = r.u32();
  etag = r.bytes16();
  name = r.bytes16();
  return done(r) && etag.size() <= kMaxEtag && name.size() <= kMaxName;
}

}  // namespace

std::optional<Inode> Inode::decode(std::string_view v) {
  Inode i;
  std::string_view etag, name;
  if (!parse_inode(v, i, etag, name)) return std::nullopt;
  i.etag = etag;
  i.name = name;
  return i;
}

bool Inode::valid(std::string_view v) {
  Inode i;
  std::string_view etag, name;
  return parse_inode(v, i, etag, name);
}

std::string Ext::encode() const {
  std::string out;
  put_u8(out, kVersion);
  // The server allows 2 KiB of user metadata and the kernel 4,095 bytes of target: far below what a length
  // can say.
  put_bytes16(out, std::string_view(symlink).substr(0, kMaxLength));
  put_bytes16(out, std::string_view(xattrs).substr(0, kMaxLength));
  for (const auto& [name, value] : headers) {
    if (out.size() + 4 + name.size() + value.size() > kMaxExt) break;
    put_bytes16(out, name);
    put_bytes16(out, value);
  }
  return out;
}

std::optional<Ext> Ext::decode(std::string_view v) {
  ByteReader r(v);
  if (r.u8() != kVersion) return std::nullopt;
  Ext e;
  e.symlink = r.bytes16();
  e.xattrs = r.bytes16();
  while (!r.failed() && !r.at_end()) {
    const std::string_view name = r.bytes16(), value = r.bytes16();
    if (r.failed()) return std::nullopt;
    e.headers.emplace_back(name, value);
  }
  if (!done(r)) return std::nullopt;
  return e;
}

std::string Dir::encode() const {
  std::string out;
  put_u8(out, kVersion);
  put_i64(out, listed_at_ns);
  put_u8(out, complete ? 1 : 0);
  return out;
}

std::optional<Dir> Dir::decode(std::string_view v) {
  ByteReader r(v);
  if (r.u8() != kVersion) return std::nullopt;
  Dir d;
  d.listed_at_ns = i64(r);
  const uint8_t complete = r.u8();
  if (!done(r) || complete > 1) return std::nullopt;
  d.complete = complete == 1;
  return d;
}

}  // namespace s3cache::meta
