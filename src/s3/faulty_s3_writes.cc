// The writing verbs of FaultyS3.
#include "s3/faulty_s3.h"

namespace s3cache::s3 {

RequestId FaultyS3::put(PutRequest request, WrittenCallback done) {
  return pass<Written>(describe(request), std::move(done),
                       [this, request](WrittenCallback d) { return inner_.put(request, d); });
}

RequestId FaultyS3::copy(CopyRequest request, WrittenCallback done) {
  return pass<Written>(describe(request), std::move(done),
                       [this, request](WrittenCallback d) { return inner_.copy(request, d); });
}

RequestId FaultyS3::upload_part(PartRequest request, WrittenCallback done) {
  return pass<Written>(describe(request), std::move(done),
                       [this, request](WrittenCallback d) { return inner_.upload_part(request, d); });
}

RequestId FaultyS3::copy_part(PartCopyRequest request, WrittenCallback done) {
  return pass<Written>(describe(request), std::move(done),
                       [this, request](WrittenCallback d) { return inner_.copy_part(request, d); });
}

RequestId FaultyS3::complete_upload(CompleteRequest request, WrittenCallback done) {
  return pass<Written>(describe(request), std::move(done),
                       [this, request](WrittenCallback d) { return inner_.complete_upload(request, d); });
}

RequestId FaultyS3::create_upload(UploadRequest request, UploadIdCallback done) {
  return pass<std::string>(describe(request), std::move(done),
                           [this, request](UploadIdCallback d) { return inner_.create_upload(request, d); });
}

RequestId FaultyS3::abort_upload(std::string key, std::string upload_id, StatusCallback done) {
  return pass<void>(
      describe_abort(key, upload_id), std::move(done),
      [this, key, upload_id](StatusCallback d) { return inner_.abort_upload(key, upload_id, d); });
}

RequestId FaultyS3::remove(DeleteItem item, StatusCallback done) {
  return pass<void>(describe(item), std::move(done),
                    [this, item](StatusCallback d) { return inner_.remove(item, d); });
}

RequestId FaultyS3::remove_many(std::vector<DeleteItem> items, DeletedCallback done) {
  return pass<std::vector<DeleteFailure>>(describe(items), std::move(done), [this, items](DeletedCallback d) {
    return inner_.remove_many(items, d);
  });
}

RequestId FaultyS3::list_uploads(std::string prefix, UploadsCallback done) {
  return pass<std::vector<ListedUpload>>(
      describe_uploads(prefix), std::move(done),
      [this, prefix](UploadsCallback d) { return inner_.list_uploads(prefix, d); });
}

}  // namespace s3cache::s3
