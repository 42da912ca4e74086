#include "core/object_headers.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/encoding.h"
#include "core/attributes.h"
#include "core/mime_types.h"

namespace s3cache::core {

using meta::Ext;
using meta::Inode;
using meta::Kind;

namespace {

constexpr std::string_view kMetaPrefix = "x-amz-meta-";
constexpr int64_t kNsPerS = 1'000'000'000;

std::string time_text(int64_t ns) {
  int64_t seconds = ns / kNsPerS;
  if (ns % kNsPerS < 0) seconds--;
  return fmt::format("{}.{:09}", seconds, ns - seconds * kNsPerS);
}

const std::string* kept(const Ext& ext, std::string_view name) {
  for (const auto& [key, value] : ext.headers) {
    if (key == name) return &value;
  }
  return nullptr;
}

void put_attributes(s3::SentHeaders& out, const Inode& inode) {
  if (inode.mode != 0) out.emplace_back("x-amz-meta-mode", std::to_string(inode.mode));
  if (inode.has_owner) {
    out.emplace_back("x-amz-meta-uid", std::to_string(inode.uid));
    out.emplace_back("x-amz-meta-gid", std::to_string(inode.gid));
  }
  out.emplace_back(kMtimeHeader, time_text(inode.mtime_ns));
  out.emplace_back(kCtimeHeader, time_text(inode.ctime_ns));
  out.emplace_back("x-amz-meta-atime", time_text(inode.atime_ns));
  if (inode.kind == Kind::kSpecial && inode.rdev != 0) {
    out.emplace_back("x-amz-meta-rdev", std::to_string(inode.rdev));
  }
}

// Storage class, ACL, encryption: the mount's, else (the class only) the object's own.
void put_options(s3::SentHeaders& out, const Ext& ext, const UploadOptions& options) {
  if (!options.default_acl.empty() && options.default_acl != "private") {
    out.emplace_back("x-amz-acl", options.default_acl);
  }
  const std::string* own = kept(ext, "x-amz-storage-class");
  if (!options.storage_class.empty()) {
    out.emplace_back("x-amz-storage-class", options.storage_class);
  } else if (own != nullptr && *own != "STANDARD") {
    out.emplace_back("x-amz-storage-class", *own);
  }
  if (options.sse.starts_with("kms:")) {
    out.emplace_back("x-amz-server-side-encryption", "aws:kms");
    out.emplace_back("x-amz-server-side-encryption-aws-kms-key-id", options.sse.substr(4));
  } else if (!options.sse.empty()) {
    out.emplace_back("x-amz-server-side-encryption", options.sse);
  }
}

std::string json_text(std::string_view s) {
  std::string out = "\"";
  for (const char c : s) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace

std::string content_type_of(std::string_view key, const std::string& mime_file) {
  if (key.ends_with('/')) return std::string(kDirectoryContentType);
  return content_type_by_name(key, mime_file);
}

s3::SentHeaders object_headers(const Inode& inode, const Ext& ext, std::string_view key,
                               const UploadOptions& options) {
  s3::SentHeaders out;
  const std::string* type = kept(ext, "content-type");
  const bool directory = key.ends_with('/');
  out.emplace_back("content-type",
                   type == nullptr || directory ? content_type_of(key, options.mime_file) : *type);
  put_attributes(out, inode);
  if (!ext.xattrs.empty()) out.emplace_back("x-amz-meta-xattr", ext.xattrs);
  const auto written = [&out](const std::string& name) {
    return std::any_of(out.begin(), out.end(), [&name](const auto& header) { return header.first == name; });
  };
  for (const auto& [name, value] : ext.headers) {
    if (name != "x-amz-storage-class" && !written(name)) out.emplace_back(name, value);
  }
  put_options(out, ext, options);
  if (options.rules) options.rules->apply(key, out);
  return out;
}

s3::SentHeaders mount_headers(const Ext& ext, const UploadOptions& options) {
  s3::SentHeaders out;
  put_options(out, ext, options);
  return out;
}

Status check_user_metadata(const s3::SentHeaders& headers) {
  size_t bytes = 0;
  for (const auto& [name, value] : headers) {
    if (name.starts_with(kMetaPrefix)) bytes += name.size() - kMetaPrefix.size() + value.size();
  }
  if (bytes <= kMaxUserMetadata) return {};
  return Error{Code::kNoSpace,
               fmt::format("{} bytes of attributes, an object takes {}", bytes, kMaxUserMetadata)};
}

void rename_headers(Ext& ext, std::string_view key, const UploadOptions& options) {
  const std::string* type = kept(ext, "content-type");
  if (type == nullptr) return;
  const bool derived = *type == content_type_of(key, options.mime_file) || *type == kDefaultContentType ||
                       *type == "binary/octet-stream";
  if (!derived) return;
  std::erase_if(ext.headers, [](const auto& header) { return header.first == "content-type"; });
}

std::string encode_xattrs(std::vector<std::pair<std::string, std::string>> xattrs) {
  if (xattrs.empty()) return "";
  std::sort(xattrs.begin(), xattrs.end());
  std::string json = "{";
  for (const auto& [name, value] : xattrs) {
    if (json.size() > 1) json += ',';
    json += json_text(name) + ":\"" + base64_encode(value) + '"';
  }
  return percent_encode(json + '}', true);
}

}  // namespace s3cache::core
