#include "core/attributes.h"

#include <dirent.h>
#include <sys/stat.h>

#include <array>
#include <charconv>

namespace s3cache::core {

using meta::AttrSource;
using meta::Inode;
using meta::Kind;

namespace {

constexpr int64_t kNsPerS = 1'000'000'000;
// Two writes of one object within a second have the same LastModified, so a HEAD is final only when the
// server's own clock was past that second; the second one covers the rounding of Date.
constexpr int64_t kSettledS = 2;
constexpr size_t kMaxEtag = 255;
constexpr std::string_view kRdevHeader = "x-amz-meta-rdev";  // ours; decimal

// FNV-1a, then a finaliser: equal versions must mean equal bytes, so every bit of the input has to count.
class VersionHash {
 public:
  void byte(uint8_t b) { h_ = (h_ ^ b) * 0x100000001b3; }
  void number(uint64_t v) {
    for (int i = 0; i < 8; i++) byte(static_cast<uint8_t>(v >> (8 * i)));
  }
  void text(std::string_view s) {
    for (const char c : s) byte(static_cast<uint8_t>(c));
  }
  uint64_t result() const {  // never 0
    uint64_t h = h_;
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccd;
    h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53;
    h ^= h >> 33;
    return h == 0 ? 1 : h;
  }

 private:
  uint64_t h_ = 0xcbf29ce484222325;
};

uint64_t chained(uint64_t lineage, std::string_view etag, int64_t size) {
  VersionHash hash;
  hash.number(lineage);
  hash.text(etag);
  hash.number(static_cast<uint64_t>(size));
  return hash.result();
}

std::string_view clip_etag(const std::string& etag) { return std::string_view(etag).substr(0, kMaxEtag); }

bool same_time(int64_t a, int64_t b) { return a == 0 || b == 0 || a == b; }

bool same_content(const Inode& inode, std::string_view etag, int64_t size, int64_t last_modified) {
  if (inode.size != size) return false;
  if (inode.etag.empty() || etag.empty()) return same_time(inode.last_modified_s, last_modified);
  return inode.etag == etag;
}

// Takes over the identity; returns what it means for pages and attributes.
Change take_identity(Inode& inode, std::string_view etag, int64_t size, int64_t last_modified) {
  const bool content = !same_content(inode, etag, size, last_modified);
  const bool attributes = content || !same_time(inode.last_modified_s, last_modified);
  // Unlike any hash of a version and any earlier lineage: the old bytes may come back under their old ETag.
  if (content && inode.lineage != 0) inode.lineage = chained(inode.lineage, etag, size);
  if (content || !etag.empty()) inode.etag = std::string(etag);
  if (content || last_modified != 0) inode.last_modified_s = last_modified;
  inode.size = size;
  if (content) {
    inode.base_len = size;
    inode.fid = 0;
  }
  return content ? Change::kContent : attributes ? Change::kAttributes : Change::kNone;
}

void forget_attributes(Inode& inode) {
  inode.source = AttrSource::kListing;
  inode.mode = inode.uid = inode.gid = inode.rdev = 0;
  inode.has_owner = false;
  inode.mtime_ns = inode.ctime_ns = inode.atime_ns = inode.last_modified_s * kNsPerS;
}

// The first of the headers that is there and well-formed.
struct Source {
  const char* header;
  int base;
};
template <size_t N>
std::optional<uint64_t> first_number(const s3::ObjectInfo& info, const std::array<Source, N>& sources) {
  for (const Source& s : sources) {
    const std::string* text = info.header(s.header);
    if (text == nullptr) continue;
    if (auto v = parse_number(*text, s.base)) return v;
  }
  return std::nullopt;
}

std::optional<int64_t> time_header(const s3::ObjectInfo& info, std::string_view name) {
  const std::string* text = info.header(name);
  return text == nullptr ? std::nullopt : parse_time_ns(*text);
}

bool directory_content_type(const s3::ObjectInfo& info) {
  const std::string* type = info.header("content-type");
  if (type == nullptr) return false;
  std::string_view t(*type);
  t = t.substr(0, t.find(';'));
  while (!t.empty() && t.back() == ' ') t.remove_suffix(1);
  return t == "application/x-directory" || t == "httpd/unix-directory";
}

uint32_t type_bits(Kind kind, uint32_t mode) {
  switch (kind) {
    case Kind::kDirectory:
      return S_IFDIR;
    case Kind::kSymlink:
      return S_IFLNK;
    case Kind::kSpecial:
      return mode & S_IFMT;
    case Kind::kFile:
      break;
  }
  return S_IFREG;
}

// What the mode, the content type and the key say together. The bytes of an object are never hidden: one that
// has any is no directory, and one longer than a path no symlink.
Kind kind_of(const s3::ObjectInfo& info, std::string_view key, uint32_t mode) {
  if (!key.empty() && key.back() == '/') return Kind::kDirectory;
  Kind kind = kind_of_mode(mode);
  if ((mode & S_IFMT) == 0 && directory_content_type(info)) kind = Kind::kDirectory;
  if (kind == Kind::kDirectory && info.size > 0) return Kind::kFile;
  if (info.size > kMaxSymlink) return Kind::kFile;
  return kind;
}

void take_mode(Inode& inode, const s3::ObjectInfo& info, std::string_view key) {
  static constexpr std::array<Source, 3> kMode{
      {{"x-amz-meta-mode", 10}, {"x-amz-meta-permissions", 10}, {"x-amz-meta-goog-reserved-posix-mode", 8}}};
  const auto header = first_number(info, kMode);
  const auto mode = static_cast<uint32_t>(header.value_or(0));
  inode.kind = kind_of(info, key, mode);
  inode.kind_known = true;
  inode.mode = inode.rdev = 0;
  if (!header) {
    // A symlink or special file always has its mode header, so the defaults of file and directory are enough.
    return;
  }
  if (inode.kind == Kind::kSpecial) {
    const std::string* rdev = info.header(kRdevHeader);
    inode.rdev = rdev == nullptr ? 0 : static_cast<uint32_t>(parse_number(*rdev, 10).value_or(0));
  }
  uint32_t permissions = mode & 07777;
  if ((mode & 0777) == 0) permissions |= inode.kind == Kind::kDirectory ? 0500 : 0400;
  inode.mode = type_bits(inode.kind, mode) | permissions;
}

void take_owner(Inode& inode, const s3::ObjectInfo& info, const NamespaceOptions& options) {
  static constexpr std::array<Source, 3> kUid{
      {{"x-amz-meta-uid", 0}, {"x-amz-meta-owner", 0}, {"x-amz-meta-goog-reserved-posix-uid", 0}}};
  static constexpr std::array<Source, 3> kGid{
      {{"x-amz-meta-gid", 0}, {"x-amz-meta-group", 0}, {"x-amz-meta-goog-reserved-posix-gid", 0}}};
  const auto uid = first_number(info, kUid), gid = first_number(info, kGid);
  inode.has_owner = uid.has_value() || gid.has_value();
  inode.uid = static_cast<uint32_t>(inode.has_owner ? uid.value_or(options.default_uid) : 0);
  inode.gid = static_cast<uint32_t>(inode.has_owner ? gid.value_or(options.default_gid) : 0);
}

void take_times(Inode& inode, const s3::ObjectInfo& info) {
  const int64_t modified = inode.last_modified_s * kNsPerS;
  auto mtime = time_header(info, kMtimeHeader);
  if (!mtime) mtime = time_header(info, "x-amz-meta-goog-reserved-file-mtime");
  inode.mtime_ns = mtime.value_or(modified);
  inode.ctime_ns = time_header(info, kCtimeHeader).value_or(modified);
  inode.atime_ns = time_header(info, "x-amz-meta-atime").value_or(modified);
}

}  // namespace

std::optional<uint64_t> parse_number(std::string_view text, int base) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  if (base == 0) {
    base = 10;
    if (text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
      base = 16;
      text.remove_prefix(2);
    } else if (text.size() > 1 && text[0] == '0') {
      base = 8;
    }
  }
  uint64_t v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v, base);
  if (error != std::errc() || end != text.data() + text.size() || v > UINT32_MAX) return std::nullopt;
  return v;
}

std::optional<int64_t> parse_time_ns(std::string_view text) {
  const size_t dot = text.find('.');
  const std::string_view whole = text.substr(0, dot);
  int64_t seconds = 0;
  const auto [end, error] = std::from_chars(whole.data(), whole.data() + whole.size(), seconds);
  if (error != std::errc() || end != whole.data() + whole.size()) return std::nullopt;
  constexpr int64_t kMaxS = INT64_MAX / kNsPerS - 1;
  if (seconds > kMaxS || seconds < -kMaxS) return std::nullopt;
  int64_t ns = 0;
  if (dot != std::string_view::npos) {
    int64_t unit = kNsPerS / 10;
    for (const char c : text.substr(dot + 1)) {
      if (c < '0' || c > '9') return std::nullopt;
      ns += (c - '0') * unit;
      unit /= 10;
    }
  }
  return seconds * kNsPerS + ns;
}

Kind kind_of_mode(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return Kind::kDirectory;
    case S_IFLNK:
      return Kind::kSymlink;
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK:
      return Kind::kSpecial;
    default:
      return Kind::kFile;
  }
}

Change apply_listed(Inode& inode, const s3::ListedObject& object) {
  if (inode.source == AttrSource::kLocal) return Change::kNone;
  const Change change = take_identity(inode, clip_etag(object.etag), object.size, object.last_modified);
  if (change == Change::kNone) return change;
  forget_attributes(inode);
  // A marker that became something else is a file until HEAD says more; a symlink stays one for the listing
  // only.
  if (change == Change::kContent) inode.kind = Kind::kFile;
  inode.kind_known = inode.size > kMaxSymlink;
  if (inode.kind_known) inode.kind = Kind::kFile;
  return change;
}

Change apply_head(Inode& inode, const s3::ObjectInfo& info, std::string_view key,
                  const NamespaceOptions& options) {
  if (inode.source == AttrSource::kLocal) return Change::kNone;
  const Kind old_kind = inode.kind;
  const std::string before = inode.encode();
  Change change = take_identity(inode, clip_etag(info.etag), info.size, info.last_modified);
  take_mode(inode, info, key);
  take_owner(inode, info, options);
  take_times(inode, info);
  const bool settled = info.server_date != 0 && info.server_date >= info.last_modified + kSettledS;
  inode.source = settled ? AttrSource::kHead : AttrSource::kHeadYoung;
  inode.implicit_dir = false;
  if (inode.kind == Kind::kSymlink && old_kind != Kind::kSymlink) inode.base_len = inode.size;
  if (change == Change::kNone && inode.encode() != before) change = Change::kAttributes;
  return change;
}

void apply_refused(Inode& inode) {
  if (inode.source == AttrSource::kLocal) return;
  const bool directory = inode.kind == Kind::kDirectory;
  forget_attributes(inode);
  if (!directory) inode.kind = Kind::kFile;
  inode.kind_known = true;
  inode.mode = directory ? S_IFDIR | 0500 : S_IFREG | 0400;
  inode.source = AttrSource::kHeadYoung;
}

Change apply_marker(Inode& directory, const s3::ListedObject* marker) {
  if (directory.source == AttrSource::kLocal) return Change::kNone;
  const std::string before = directory.encode();
  bool another = false;
  if (marker == nullptr) {
    another = !directory.implicit_dir || !directory.kind_known;
    if (another) {
      directory.size = directory.last_modified_s = 0;
      directory.etag.clear();
    }
    directory.implicit_dir = true;
  } else {
    const auto now = take_identity(directory, clip_etag(marker->etag), marker->size, marker->last_modified);
    another = now != Change::kNone || directory.implicit_dir;
    directory.implicit_dir = false;
  }
  if (another) forget_attributes(directory);
  directory.kind = Kind::kDirectory;
  directory.kind_known = true;
  if (directory.encode() == before) return Change::kNone;
  return another ? Change::kAttributes : Change::kIdentity;
}

meta::Ext ext_of(const s3::ObjectInfo& info) {
  meta::Ext ext;
  const std::string* mode = info.header("x-amz-meta-mode");
  const auto bits = static_cast<uint32_t>(mode == nullptr ? 0 : parse_number(*mode, 10).value_or(0));
  const bool special = kind_of_mode(bits) == Kind::kSpecial;
  for (const auto& [name, value] : info.headers) {
    static constexpr std::string_view kInRecord[] = {"x-amz-meta-mode",  "x-amz-meta-uid",
                                                     "x-amz-meta-gid",   "x-amz-meta-mtime",
                                                     "x-amz-meta-ctime", "x-amz-meta-atime"};
    bool in_record = false;
    for (const std::string_view known : kInRecord) in_record |= name == known;
    if (in_record || (special && name == kRdevHeader)) continue;
    if (name == "x-amz-meta-xattr") {
      ext.xattrs = value;
    } else {
      ext.headers.emplace_back(name, value);
    }
  }
  return ext;
}

bool empty(const meta::Ext& ext) { return ext.symlink.empty() && ext.xattrs.empty() && ext.headers.empty(); }

Inode new_file(uint64_t parent, std::string_view name, const s3::ListedObject& object) {
  Inode inode;
  inode.parent = parent;
  inode.name = std::string(name);
  inode.size = inode.base_len = object.size;
  inode.etag = std::string(clip_etag(object.etag));
  inode.last_modified_s = object.last_modified;
  inode.kind_known = object.size > kMaxSymlink;
  forget_attributes(inode);
  return inode;
}

Inode new_directory(uint64_t parent, std::string_view name) {
  Inode inode;
  inode.parent = parent;
  inode.name = std::string(name);
  inode.kind = Kind::kDirectory;
  inode.implicit_dir = true;
  return inode;
}

bool needs_head(const Inode& inode, AttrMode mode, bool head_past_ttl) {
  if (mode == AttrMode::kList) return false;
  switch (inode.source) {
    case AttrSource::kListing:
      return inode.kind != Kind::kDirectory || !inode.kind_known || !inode.implicit_dir;
    case AttrSource::kHeadYoung:
      return head_past_ttl;
    case AttrSource::kHead:
    case AttrSource::kLocal:
      break;
  }
  return false;
}

uint32_t d_type_of(const Inode& inode, AttrMode mode) {
  if (inode.kind == Kind::kDirectory) return DT_DIR;
  if (inode.size > kMaxSymlink) return DT_REG;
  if (inode.kind_known) {
    if (inode.kind == Kind::kSymlink) return DT_LNK;
    return inode.kind == Kind::kSpecial ? static_cast<uint32_t>(IFTODT(inode.mode)) : uint32_t{DT_REG};
  }
  return mode == AttrMode::kList ? DT_REG : DT_UNKNOWN;
}

Entry entry_of(uint64_t ino, const Inode& inode, const NamespaceOptions& options) {
  const bool directory = inode.kind == Kind::kDirectory;
  Entry entry;
  Attr& attr = entry.attr;
  attr.ino = ino;
  uint32_t permissions = inode.mode & 07777;
  if (inode.mode == 0) permissions = directory ? options.default_dir_mode : options.default_file_mode;
  if (inode.mode == 0 && ino == meta::kRootIno) permissions = options.root_mode;
  if (options.force_umask) permissions = 0777 & ~options.umask;
  attr.mode = type_bits(inode.kind, inode.mode) | permissions;
  attr.uid = inode.has_owner && !options.force_uid ? inode.uid : options.default_uid;
  attr.gid = inode.has_owner && !options.force_gid ? inode.gid : options.default_gid;
  attr.rdev = inode.rdev;
  if ((inode.flags & meta::kUnlinked) != 0) attr.nlink = 0;
  attr.size = directory ? 4096 : inode.kind == Kind::kSymlink ? inode.base_len : inode.size;
  attr.mtime_ns = inode.mtime_ns;
  attr.ctime_ns = inode.ctime_ns;
  attr.atime_ns = inode.atime_ns;
  entry.version = inode.kind == Kind::kFile ? version_of(inode) : 0;
  return entry;
}

uint64_t version_of(const Inode& inode) {
  if (inode.lineage != 0) return inode.lineage;
  VersionHash hash;
  hash.text(inode.etag);
  hash.number(static_cast<uint64_t>(inode.size));
  if (inode.etag.empty()) hash.number(static_cast<uint64_t>(inode.last_modified_s));
  return hash.result();
}

}  // namespace s3cache::core
