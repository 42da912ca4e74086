#include "s3/fake_bucket.h"

#include <algorithm>

#include "base/crc32c.h"
#include "s3/digests.h"
#include "s3/response_headers.h"

namespace s3cache::s3 {

namespace {

constexpr int64_t kMaxPut = 5LL << 30;
constexpr size_t kMaxKey = 1024;
constexpr size_t kMaxMetadata = 2048;

Error error(Code code, const RequestInfo& r, const char* s3_code) { return {code, r.key + ": " + s3_code}; }

// What HEAD will show of the headers of a write.
SentHeaders kept(const SentHeaders& sent) {
  SentHeaders out;
  bool has_type = false;
  for (const auto& [name, value] : sent) {
    if (!is_kept_header(name)) continue;
    has_type = has_type || name == "content-type";
    out.emplace_back(name, value);
  }
  if (!has_type) out.emplace_back("content-type", "binary/octet-stream");
  return out;
}

size_t metadata_bytes(const SentHeaders& headers) {
  constexpr std::string_view kPrefix = "x-amz-meta-";
  size_t n = 0;
  for (const auto& [name, value] : headers)
    if (name.compare(0, kPrefix.size(), kPrefix) == 0) n += name.size() - kPrefix.size() + value.size();
  return n;
}

Status check_crc(const RequestInfo& r, const std::string& data, std::optional<uint32_t> expected) {
  if (!expected || crc32c(0, data.data(), data.size()) == *expected) return {};
  return error(Code::kCorrupt, r, "BadDigest");
}

}  // namespace

std::byte FakeBucket::pattern_byte(int64_t offset) {
  // Differs between pages and inside each page, so that shifted or repeated pages are seen.
  const auto o = static_cast<uint64_t>(offset);
  return static_cast<std::byte>((o * 0x9E3779B97F4A7C15u >> 56) ^ o >> 12);
}

std::string FakeBucket::Object::bytes(int64_t offset, int64_t length) const {
  if (!data.empty()) return data.substr(static_cast<size_t>(offset), static_cast<size_t>(length));
  std::string out(static_cast<size_t>(length), '\0');
  for (int64_t i = 0; i < length; ++i)
    out[static_cast<size_t>(i)] = static_cast<char>(pattern_byte(offset + i));
  return out;
}

Status FakeBucket::check_key(const RequestInfo& r) const {
  if (r.key.empty()) return error(Code::kInvalid, r, "InvalidArgument");
  if (r.key.size() > kMaxKey) return error(Code::kNameTooLong, r, "KeyTooLongError");
  if (metadata_bytes(r.headers) > kMaxMetadata) return error(Code::kNoSpace, r, "MetadataTooLarge");
  return {};
}

Status FakeBucket::check_conditions(const RequestInfo& r) {
  if (!r.if_none_match && r.if_match.empty()) return {};
  if (r.if_none_match && !r.if_match.empty()) return error(Code::kInvalid, r, "InvalidArgument");
  if (!conditions) {
    conditions_refused = true;
    return error(Code::kUnsupported, r, "NotImplemented");
  }
  const auto it = objects.find(r.key);
  if (r.if_none_match) return it == objects.end() ? Status() : error(Code::kExists, r, "PreconditionFailed");
  if (it == objects.end()) return error(Code::kNotFound, r, "NoSuchKey");
  return it->second.etag == r.if_match ? Status() : error(Code::kStale, r, "PreconditionFailed");
}

Result<Written> FakeBucket::put(const RequestInfo& r, std::string data, std::optional<uint32_t> crc32c,
                                int64_t now_s) {
  if (Status s = check_key(r); !s.ok()) return s.error();
  if (r.length > kMaxPut) return error(Code::kTooBig, r, "EntityTooLarge");
  if (Status s = check_crc(r, data, crc32c); !s.ok()) return s.error();
  if (Status s = check_conditions(r); !s.ok()) return s.error();
  Object o;
  o.size = static_cast<int64_t>(data.size());
  o.etag = md5_hex(data);
  o.data = std::move(data);
  o.last_modified = now_s;
  o.headers = kept(r.headers);
  Written w{.etag = o.etag};
  objects[r.key] = std::move(o);
  return w;
}

Result<const FakeBucket::Object*> FakeBucket::source_of(const RequestInfo& r) const {
  const auto it = objects.find(r.source_key);
  if (it == objects.end()) return Error{Code::kNotFound, r.source_key + ": NoSuchKey"};
  if (!r.source_if_match.empty() && r.source_if_match != it->second.etag)
    return Error{Code::kStale, r.source_key + ": PreconditionFailed"};
  return &it->second;
}

Result<Written> FakeBucket::copy(const RequestInfo& r, int64_t now_s) {
  if (Status s = check_key(r); !s.ok()) return s.error();
  const auto source = source_of(r);
  if (!source.ok()) return source.error();
  if (r.source_key == r.key && !r.replace_headers) return error(Code::kInvalid, r, "InvalidRequest");
  if ((*source)->size > kMaxPut) return error(Code::kTooBig, r, "InvalidRequest");
  if (Status s = check_conditions(r); !s.ok()) return s.error();
  Object o = **source;
  o.last_modified = now_s;
  // The ETag of a copy is that of one piece, whatever the source was.
  if (!o.data.empty() || o.size == 0) o.etag = md5_hex(o.data);
  if (r.replace_headers) o.headers = kept(r.headers);
  const Written w{.etag = o.etag, .last_modified = now_s};
  objects[r.key] = std::move(o);
  return w;
}

Result<std::string> FakeBucket::create_upload(const RequestInfo& r, int64_t now_s) {
  if (Status s = check_key(r); !s.ok()) return s.error();
  std::string id = "upload-" + std::to_string(++last_upload_);
  uploads[id] = {.key = r.key, .headers = kept(r.headers), .initiated = now_s, .parts = {}};
  return id;
}

Result<FakeBucket::Upload*> FakeBucket::upload_of(const RequestInfo& r) {
  const auto it = uploads.find(r.upload_id);
  if (it == uploads.end() || it->second.key != r.key) return error(Code::kNotFound, r, "NoSuchUpload");
  return &it->second;
}

Result<Written> FakeBucket::upload_part(const RequestInfo& r, std::string data,
                                        std::optional<uint32_t> crc32c) {
  const auto upload = upload_of(r);
  if (!upload.ok()) return upload.error();
  if (r.part_number < 1 || r.part_number > 10'000) return error(Code::kInvalid, r, "InvalidArgument");
  if (r.length > kMaxPut) return error(Code::kTooBig, r, "EntityTooLarge");
  if (Status s = check_crc(r, data, crc32c); !s.ok()) return s.error();
  Written w{.etag = md5_hex(data)};
  (*upload)->parts[r.part_number] = {std::move(data), w.etag, crc32c};
  return w;
}

Result<Written> FakeBucket::copy_part(const RequestInfo& r, int64_t now_s) {
  const auto source = source_of(r);
  if (!source.ok()) return source.error();
  if (r.offset < 0 || r.length < 1 || r.offset + r.length > (*source)->size)
    return error(Code::kInvalid, r, "InvalidRange");
  std::string data = (*source)->bytes(r.offset, r.length);
  std::optional<uint32_t> crc;
  if (copies_have_checksums) crc = crc32c(0, data.data(), data.size());
  auto w = upload_part(r, std::move(data), crc);
  if (w.ok()) w->last_modified = now_s;
  if (w.ok()) w->crc32c = crc;
  return w;
}

Result<std::string> FakeBucket::assemble(const RequestInfo& r, const Upload& upload,
                                         std::vector<std::string>& etags) const {
  std::string data;
  int last = 0;
  for (const CompletedPart& p : r.parts) {
    if (p.number <= last) return error(Code::kInvalid, r, "InvalidPartOrder");
    last = p.number;
    // "It was missing for part 2 in the request."
    if (p.crc32c.has_value() != r.parts.front().crc32c.has_value())
      return error(Code::kInvalid, r, "InvalidRequest");
    const auto it = upload.parts.find(p.number);
    if (it == upload.parts.end() || (!p.etag.empty() && p.etag != it->second.etag) ||
        (p.crc32c && it->second.crc32c && *p.crc32c != *it->second.crc32c))
      return error(Code::kInvalid, r, "InvalidPart");
    if (&p != &r.parts.back() && static_cast<int64_t>(it->second.data.size()) < min_part)
      return error(Code::kInvalid, r, "EntityTooSmall");
    data += it->second.data;
    etags.push_back(it->second.etag);
  }
  if (etags.empty()) return error(Code::kInvalid, r, "MalformedXML");
  return data;
}

Result<Written> FakeBucket::complete(const RequestInfo& r, int64_t now_s) {
  const auto upload = upload_of(r);
  if (!upload.ok()) return upload.error();
  std::vector<std::string> etags;
  auto data = assemble(r, **upload, etags);
  if (!data.ok()) return data.error();
  if (Status s = check_conditions(r); !s.ok()) return s.error();
  Object o;
  o.size = static_cast<int64_t>(data->size());
  o.data = std::move(*data);
  o.etag = *multipart_etag(etags);
  o.last_modified = now_s;
  o.headers = (*upload)->headers;
  const Written w{.etag = o.etag};
  objects[r.key] = std::move(o);
  uploads.erase(r.upload_id);
  return w;
}

Status FakeBucket::abort(const RequestInfo& r) {
  const auto it = uploads.find(r.upload_id);
  if (it != uploads.end() && it->second.key == r.key) uploads.erase(it);
  return {};
}

Status FakeBucket::remove(const DeleteItem& item) {
  const auto it = objects.find(item.key);
  if (it == objects.end()) return {};
  if (!item.if_match.empty() && item.if_match != it->second.etag)
    return Error{Code::kStale, item.key + ": PreconditionFailed"};
  objects.erase(it);
  return {};
}

std::vector<ListedUpload> FakeBucket::list_uploads(const std::string& prefix) const {
  std::vector<ListedUpload> out;
  for (const auto& [id, u] : uploads)
    if (u.key.compare(0, prefix.size(), prefix) == 0) out.push_back({u.key, id, u.initiated});
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
  return out;
}

}  // namespace s3cache::s3
