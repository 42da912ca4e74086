#include "core/object_copy.h"

#include <algorithm>
#include <utility>

#include "base/sync.h"
#include "core/attributes.h"

namespace s3cache::core {

namespace {
constexpr int64_t kMaxParts = 10'000;
}  // namespace

struct ObjectCopier::Parts {
  Copy copy;
  s3::WrittenCallback done;
  std::string upload_id;
  int64_t part_size = 0;
  int count = 0;
  Mutex mu;
  int next GUARDED_BY(mu) = 1;
  int left GUARDED_BY(mu) = 0;
  bool over GUARDED_BY(mu) = false;
  std::vector<s3::CompletedPart> completed GUARDED_BY(mu);
};

namespace {

s3::CopyRequest request_of(const ObjectCopier::Copy& copy) {
  s3::CopyRequest request;
  request.source_key = copy.source_key;
  request.key = copy.key;
  request.source_if_match = copy.etag;
  request.replace_headers = copy.replace;
  request.headers = copy.headers;
  request.if_none_match = copy.if_none_match;
  request.priority = copy.priority;
  return request;
}

}  // namespace

void ObjectCopier::copy(Copy copy, s3::WrittenCallback done) {
  if (copy.size == 0 && copy.key.ends_with('/')) return copy_directory(std::move(copy), std::move(done));
  if (copy.size > options_.single_copy_limit || copy.strict)
    return copy_parts(std::move(copy), std::move(done));
  s3_.copy(request_of(copy), std::move(done));
}

void ObjectCopier::copy_directory(Copy copy, s3::WrittenCallback done) {
  auto request = request_of(copy);
  s3_.copy(std::move(request),
           [this, copy = std::move(copy), done = std::move(done)](const Result<s3::Written>& written) {
             if (!written.is(Code::kInvalid)) return done(written);
             if (copy.replace) return put_directory(copy, done);
             ask_headers(copy, [this, copy, done](Result<s3::SentHeaders> headers) {
               if (!headers.ok()) return done(headers.error());
               Copy known = copy;
               known.headers = std::move(*headers);
               put_directory(std::move(known), done);
             });
           });
}

void ObjectCopier::put_directory(Copy copy, s3::WrittenCallback done) {
  s3::PutRequest request;
  request.key = std::move(copy.key);
  request.headers = std::move(copy.headers);
  request.if_none_match = copy.if_none_match;
  s3_.put(std::move(request), std::move(done));
}

void ObjectCopier::ask_headers(const Copy& copy, std::function<void(Result<s3::SentHeaders>)> done) {
  s3_.head(copy.source_key, copy.priority,
           [this, etag = copy.etag, done = std::move(done)](const Result<s3::ObjectInfo>& info) {
             if (!info.ok()) return done(info.error());
             if (!etag.empty() && info->etag != etag) return done(Error{Code::kStale, "another version"});
             s3::SentHeaders headers = info->headers;
             std::erase_if(headers, [](const auto& header) { return header.first == "x-amz-storage-class"; });
             for (auto& header : mount_headers(ext_of(*info), options_)) headers.push_back(std::move(header));
             done(std::move(headers));
           });
}

void ObjectCopier::copy_parts(Copy copy, s3::WrittenCallback done) {
  auto parts = std::make_shared<Parts>();
  parts->part_size = std::max(options_.copy_size, (copy.size + kMaxParts - 1) / kMaxParts);
  parts->count = static_cast<int>((copy.size + parts->part_size - 1) / parts->part_size);
  {
    MutexLock lock(parts->mu);
    parts->left = parts->count;
  }
  parts->copy = std::move(copy);
  parts->done = std::move(done);
  if (parts->copy.replace) return create(parts);
  ask_headers(parts->copy, [this, parts](Result<s3::SentHeaders> headers) {
    if (!headers.ok()) return parts->done(headers.error());
    parts->copy.headers = std::move(*headers);
    create(parts);
  });
}

void ObjectCopier::create(const PartsPtr& parts) {
  s3::UploadRequest request;
  request.key = parts->copy.key;
  request.headers = parts->copy.headers;
  request.priority = parts->copy.priority;
  s3_.create_upload(std::move(request), [this, parts](Result<std::string> id) {
    if (!id.ok()) return parts->done(id.error());
    parts->upload_id = std::move(*id);
    const int lanes = std::min(std::max(options_.parallel, 1), parts->count);
    for (int i = 0; i < lanes; i++) next_part(parts);
  });
}

void ObjectCopier::next_part(const PartsPtr& parts) {
  s3::PartCopyRequest request;
  {
    MutexLock lock(parts->mu);
    if (parts->over || parts->next > parts->count) return;
    request.number = parts->next++;
  }
  request.key = parts->copy.key;
  request.upload_id = parts->upload_id;
  request.source_key = parts->copy.source_key;
  request.source_if_match = parts->copy.etag;
  request.offset = (request.number - 1) * parts->part_size;
  request.length = std::min(parts->part_size, parts->copy.size - request.offset);
  request.priority = parts->copy.priority;
  const int number = request.number;
  s3_.copy_part(std::move(request), [this, parts, number](const Result<s3::Written>& written) {
    if (!written.ok()) return fail(parts, written.error());
    bool last = false;
    {
      MutexLock lock(parts->mu);
      parts->completed.push_back({number, written->etag, std::nullopt});
      last = --parts->left == 0;
    }
    if (last) return complete(parts);
    next_part(parts);
  });
}

void ObjectCopier::complete(const PartsPtr& parts) {
  s3::CompleteRequest request;
  request.key = parts->copy.key;
  request.upload_id = parts->upload_id;
  request.if_none_match = parts->copy.if_none_match;
  request.priority = parts->copy.priority;
  {
    MutexLock lock(parts->mu);
    request.parts = parts->completed;
  }
  std::sort(request.parts.begin(), request.parts.end(),
            [](const auto& a, const auto& b) { return a.number < b.number; });
  s3_.complete_upload(std::move(request), [this, parts](const Result<s3::Written>& written) {
    if (!written.ok()) return fail(parts, written.error());
    parts->done(written);
  });
}

void ObjectCopier::fail(const PartsPtr& parts, const Error& error) {
  {
    MutexLock lock(parts->mu);
    if (std::exchange(parts->over, true)) return;
  }
  s3_.abort_upload(parts->copy.key, parts->upload_id, [](const Status&) {});
  parts->done(error);
}

}  // namespace s3cache::core
