#include "meta/records.h"

#include <algorithm>

#include "test_util.h"

namespace s3cache::meta {
namespace {

using Rng = std::mt19937_64;

std::string random_bytes(Rng& rng, size_t max) {
  std::string s(rng() % (max + 1), '\0');
  for (char& c : s) c = static_cast<char>(rng());
  return s;
}
// Edge values are as likely as ordinary ones.
template <class T>
T random_int(Rng& rng) {
  const T edges[] = {0, 1, std::numeric_limits<T>::max(), std::numeric_limits<T>::min()};
  return rng() % 3 == 0 ? edges[rng() % 4] : static_cast<T>(rng());
}

Inode random_inode(Rng& rng) {
  Inode i;
  i.parent = random_int<uint64_t>(rng);
  i.kind = static_cast<Kind>(rng() % 4);
  i.source = static_cast<AttrSource>(rng() % 4);
  i.kind_known = rng() % 2;
  i.implicit_dir = rng() % 2;
  i.mode = random_int<uint32_t>(rng);
  i.uid = random_int<uint32_t>(rng);
  i.gid = random_int<uint32_t>(rng);
  i.has_owner = rng() % 2;
  i.rdev = random_int<uint32_t>(rng);
  i.size = random_int<int64_t>(rng);
  i.mtime_ns = random_int<int64_t>(rng);
  i.ctime_ns = random_int<int64_t>(rng);
  i.atime_ns = random_int<int64_t>(rng);
  i.last_modified_s = random_int<int64_t>(rng);
  i.fid = random_int<uint64_t>(rng);
  i.base_len = random_int<int64_t>(rng);
  i.flags = random_int<uint32_t>(rng);
  i.etag = random_bytes(rng, 255);
  i.name = random_bytes(rng, 255);
  return i;
}

auto tied(const Inode& i) {
  return std::tie(i.parent, i.kind, i.source, i.kind_known, i.implicit_dir, i.mode, i.uid, i.gid, i.has_owner,
                  i.rdev, i.size, i.mtime_ns, i.ctime_ns, i.atime_ns, i.last_modified_s, i.fid, i.base_len,
                  i.flags, i.etag, i.name);
}
auto tied(const Dirent& d) { return std::tie(d.ino, d.checked_at_ns); }
auto tied(const Dir& d) { return std::tie(d.listed_at_ns, d.complete); }
auto tied(const Ext& e) { return std::tie(e.symlink, e.xattrs, e.headers); }
auto tied(const Intent& i) {
  return std::tie(i.op, i.stage, i.promised, i.is_dir, i.ino, i.parent, i.new_parent, i.name, i.new_name,
                  i.key, i.new_key, i.etag, i.last_modified_s, i.made_at_ns);
}
auto tied(const CrcChunk& c) { return std::tie(c.crc, c.known); }
auto tied(const File& f) {
  return std::tie(f.state, f.synced, f.registered, f.ino, f.size, f.valid_bytes, f.last_used_s, f.key_hash,
                  f.etag);
}

Dirent random_dirent(Rng& rng) { return {random_int<uint64_t>(rng), random_int<int64_t>(rng)}; }
Dir random_dir(Rng& rng) { return {random_int<int64_t>(rng), rng() % 2 == 0}; }

Ext random_ext(Rng& rng) {
  Ext e;
  e.symlink = random_bytes(rng, 400);
  e.xattrs = random_bytes(rng, 400);
  for (size_t n = rng() % 4; n > 0; --n)
    e.headers.emplace_back(random_bytes(rng, 40), random_bytes(rng, 200));
  return e;
}

Intent random_intent(Rng& rng) {
  Intent i;
  i.op = static_cast<Intent::Op>(rng() % 6);
  i.stage = static_cast<uint8_t>(rng() % 3);
  i.promised = rng() % 2;
  i.is_dir = rng() % 2;
  i.ino = random_int<uint64_t>(rng);
  i.parent = random_int<uint64_t>(rng);
  i.new_parent = random_int<uint64_t>(rng);
  i.name = random_bytes(rng, 255);
  i.new_name = random_bytes(rng, 255);
  i.key = random_bytes(rng, 400);
  i.new_key = random_bytes(rng, 400);
  i.etag = random_bytes(rng, 255);
  i.last_modified_s = random_int<int64_t>(rng);
  i.made_at_ns = random_int<int64_t>(rng);
  return i;
}

File random_file(Rng& rng) {
  File f;
  f.state = static_cast<FileState>(rng() % 3);
  f.synced = rng() % 2;
  f.registered = rng() % 2;
  f.ino = random_int<uint64_t>(rng);
  f.size = random_int<int64_t>(rng);
  f.valid_bytes = random_int<int64_t>(rng);
  f.last_used_s = random_int<int64_t>(rng);
  f.key_hash = random_int<uint64_t>(rng);
  f.etag = random_bytes(rng, 255);
  return f;
}

CrcChunk random_crc(Rng& rng) {
  CrcChunk c;
  const uint64_t density = rng() % 9;
  for (size_t i = 0; i < c.known.size(); ++i) {
    c.known[i] = rng() % 8 < density;
    if (c.known[i]) c.crc[i] = static_cast<uint32_t>(rng());
  }
  return c;
}

// What survives decoding must be stable; nothing may crash.
template <class T>
void check_total(Rng& rng, const std::string& good) {
  for (size_t cut = 0; cut < good.size(); cut += 1 + good.size() / 64) {
    REQUIRE_FALSE(T::decode(std::string_view(good).substr(0, cut)));
  }
  // The view must end at an allocation's end for ASan to see a read past it.
  const std::string longer = good + std::string(1, static_cast<char>(rng()));
  if (auto d = T::decode(longer)) REQUIRE(d->encode() == longer);
  for (int i = 0; i < 16; ++i) {
    std::string bad = good;
    bad[rng() % bad.size()] ^= static_cast<char>(1 << rng() % 8);
    if (auto d = T::decode(bad)) {
      auto again = T::decode(d->encode());
      REQUIRE(again);
      REQUIRE(tied(*again) == tied(*d));
    }
  }
}

template <class T, class Make>
void round_trips(Make make) {
  const uint64_t seed = test_seed();
  CAPTURE(seed);
  Rng rng(seed);
  for (int i = 0; i < 300; ++i) {
    const T in = make(rng);
    const std::string v = in.encode();
    REQUIRE(v.size() <= kMaxValue);
    const auto out = T::decode(v);
    REQUIRE(out);
    REQUIRE(tied(*out) == tied(in));
    if constexpr (!std::is_same_v<T, Ext>) check_total<T>(rng, v);
  }
}

}  // namespace

TEST_CASE("records survive encoding and refuse damage") {
  SECTION("dirent") { round_trips<Dirent>(random_dirent); }
  SECTION("inode") { round_trips<Inode>(random_inode); }
  SECTION("dir") { round_trips<Dir>(random_dir); }
  SECTION("ext") { round_trips<Ext>(random_ext); }
  SECTION("file") { round_trips<File>(random_file); }
  SECTION("intent") { round_trips<Intent>(random_intent); }
  SECTION("crc") { round_trips<CrcChunk>(random_crc); }
}

TEST_CASE("an ext cut anywhere is refused or shorter") {
  Rng rng(7);
  const std::string v = random_ext(rng).encode();
  for (size_t cut = 0; cut < v.size(); ++cut) {
    if (auto d = Ext::decode(std::string(v.substr(0, cut)))) REQUIRE(d->encode() == v.substr(0, cut));
  }
}

TEST_CASE("another version of a record is no record") {
  Inode i;
  std::string v = i.encode();
  v[0] = 2;
  REQUIRE_FALSE(Inode::decode(v));
  REQUIRE_FALSE(Inode::decode(""));
}

TEST_CASE("the largest records stay on the page") {
  Inode i;
  i.etag = std::string(255, 'e');
  i.name = std::string(255, 'n');
  REQUIRE(i.encode().size() <= kMaxValue);
  CrcChunk c;
  c.known.fill(true);
  REQUIRE(c.encode().size() == 1 + 32 + 4 * 256);
  Ext e;
  e.xattrs = std::string(1000, 'x');
  for (int n = 0; n < 100; ++n) e.headers.emplace_back("h" + std::to_string(n), std::string(100, 'v'));
  // All the headers a client hands out are kept: a copy has to repeat them.
  REQUIRE(Ext::decode(e.encode())->headers == e.headers);
  for (int n = 0; n < 300; ++n) e.headers.emplace_back("i" + std::to_string(n), std::string(100, 'v'));
  const std::string v = e.encode();
  REQUIRE(v.size() <= kMaxExt);
  const auto out = Ext::decode(v);
  REQUIRE(out);
  REQUIRE(out->xattrs == e.xattrs);
  REQUIRE(out->headers.size() >= 100);
  REQUIRE(std::equal(out->headers.begin(), out->headers.end(), e.headers.begin()));
}

TEST_CASE("an intent keeps its names and keys whole") {
  Intent i;
  i.name = i.new_name = std::string(255, 'n');
  i.key = i.new_key = std::string(1024, 'k');
  i.etag = std::string(255, 'e');
  const auto out = Intent::decode(i.encode());
  REQUIRE(out);
  REQUIRE(tied(*out) == tied(i));
}

TEST_CASE("a long symlink is kept whole") {
  Ext e;
  e.symlink = std::string(4095, 's');
  const auto out = Ext::decode(e.encode());
  REQUIRE(out);
  REQUIRE(out->symlink == e.symlink);
}

TEST_CASE("an ETag over 255 bytes counts as none, a longer name is refused") {
  Inode i;
  i.etag = std::string(256, 'e');
  REQUIRE(Inode::decode(i.encode())->etag.empty());
  i.name = std::string(300, 'n');
  REQUIRE_FALSE(Inode::decode(i.encode()));
}

TEST_CASE("page bitmaps") {
  const uint64_t seed = test_seed();
  CAPTURE(seed);
  Rng rng(seed);
  REQUIRE(encode_bitmap(std::string(1024, '\xff')).size() == 1);
  REQUIRE(decode_bitmap(encode_bitmap(std::string(1024, '\xff'))) == std::string(1024, '\xff'));
  for (int i = 0; i < 50; ++i) {
    std::string bits(1024, '\0');
    for (char& c : bits) c = static_cast<char>(rng());
    const std::string v = encode_bitmap(bits);
    REQUIRE(v.size() == 1025);
    REQUIRE(decode_bitmap(v) == bits);
    // Cut short it must not read as "full": pages nobody has would be served.
    for (size_t cut = 0; cut < v.size(); ++cut)
      REQUIRE_FALSE(decode_bitmap(std::string_view(v).substr(0, cut)));
  }
}

TEST_CASE("dirent keys sort as S3 lists") {
  std::vector<std::string> keys = {dirent_key(5, "a0", false),    dirent_key(5, "a", true),
                                   dirent_key(5, "a.txt", false), dirent_key(5, "a-b", false),
                                   dirent_key(4, "z", false),     dirent_key(256, "0", false),
                                   dirent_key(5, "a", false),     dirent_key(5, "\xc3\xa4", false)};
  std::sort(keys.begin(), keys.end());
  std::vector<std::string> names;
  for (const auto& k : keys) {
    const auto d = parse_dirent_key(k);
    REQUIRE(d);
    names.push_back(std::to_string(d->parent) + ":" + std::string(d->name) + (d->directory ? "/" : ""));
  }
  REQUIRE(names ==
          std::vector<std::string>{"4:z", "5:a", "5:a-b", "5:a.txt", "5:a/", "5:a0", "5:\xc3\xa4", "256:0"});
}

TEST_CASE("malformed dirent keys") {
  REQUIRE_FALSE(parse_dirent_key(""));
  REQUIRE_FALSE(parse_dirent_key(be64(5)));
  REQUIRE_FALSE(parse_dirent_key(be64(5) + "/"));
  REQUIRE_FALSE(parse_dirent_key(be64(5) + "a/b"));
  REQUIRE_FALSE(parse_dirent_key(be64(5) + "a//"));
  REQUIRE_FALSE(parse_dirent_key(be64(5) + std::string(256, 'x')));
  REQUIRE(parse_dirent_key(be64(5) + std::string(255, 'x')));
}

TEST_CASE("id and chunk keys sort by number") {
  REQUIRE(id_key(255) < id_key(256));
  REQUIRE(chunk_key(1, 0xffffffff) < chunk_key(2, 0));
  REQUIRE(chunk_key(7, 255) < chunk_key(7, 256));
  REQUIRE(chunk_key(7, 0).starts_with(id_key(7)));
}

}  // namespace s3cache::meta
