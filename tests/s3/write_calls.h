// Synchronous forms of S3Client's writing verbs for tests: they wait for the callback (30 s at most).
#pragma once

#include "collect.h"

namespace s3cache::s3 {

template <class T, class Call>
Result<T> await(Call call) {
  auto p = std::make_shared<std::promise<Result<T>>>();
  auto f = p->get_future();
  call([p](Result<T> r) { p->set_value(std::move(r)); });
  return wait_for(std::move(f));
}

inline Result<Written> put(S3Client& s3, PutRequest r) {
  return await<Written>([&](WrittenCallback d) { s3.put(std::move(r), std::move(d)); });
}
inline Result<Written> copy(S3Client& s3, CopyRequest r) {
  return await<Written>([&](WrittenCallback d) { s3.copy(std::move(r), std::move(d)); });
}
inline Result<std::string> create_upload(S3Client& s3, UploadRequest r) {
  return await<std::string>([&](UploadIdCallback d) { s3.create_upload(std::move(r), std::move(d)); });
}
inline Result<Written> upload_part(S3Client& s3, PartRequest r) {
  return await<Written>([&](WrittenCallback d) { s3.upload_part(std::move(r), std::move(d)); });
}
inline Result<Written> copy_part(S3Client& s3, PartCopyRequest r) {
  return await<Written>([&](WrittenCallback d) { s3.copy_part(std::move(r), std::move(d)); });
}
inline Result<Written> complete_upload(S3Client& s3, CompleteRequest r) {
  return await<Written>([&](WrittenCallback d) { s3.complete_upload(std::move(r), std::move(d)); });
}
inline Status abort_upload(S3Client& s3, std::string key, std::string id) {
  return await<void>([&](StatusCallback d) { s3.abort_upload(std::move(key), std::move(id), std::move(d)); });
}
inline Status remove(S3Client& s3, DeleteItem item) {
  return await<void>([&](StatusCallback d) { s3.remove(std::move(item), std::move(d)); });
}
inline Result<std::vector<DeleteFailure>> remove_many(S3Client& s3, std::vector<DeleteItem> items) {
  return await<std::vector<DeleteFailure>>(
      [&](DeletedCallback d) { s3.remove_many(std::move(items), std::move(d)); });
}
inline Result<std::vector<ListedUpload>> list_uploads(S3Client& s3, std::string prefix) {
  return await<std::vector<ListedUpload>>(
      [&](UploadsCallback d) { s3.list_uploads(std::move(prefix), std::move(d)); });
}

}  // namespace s3cache::s3
