// Uploader: brings a snapshot of a draft to S3 in as few requests as it takes.
//
// Up to one part: one PUT. More: a multipart upload whose parts are sent from the work file, or copied on the
// server where the base version has them; parts of a file that is still being written go up early (stream()).
// Bodies are read from the work file while they are sent, so an upload costs no memory; one that is written
// again under way fails its checksum on the server and is sent again, from a copy that nobody writes to. A
// snapshot whose file was cut meanwhile is kBusy: the caller takes a new one. Where only headers changed (a
// chmod right after the close) the server copies the object onto itself.
//
// An upload in parts gets its headers when it begins; if attributes were set since, the finished object is
// copied onto itself with the new ones before the upload counts as done.
//
// Threads: any; work on bytes (checksums) runs on the worker pool. Owns nothing but what is on its way, which
// its callbacks keep alive. Borrows what its constructor gets; the client is shut down first. Errors: those
// of S3Client; kStale: the base version moved (its bytes were needed); kCancelled: unlinked meanwhile. Units:
// bytes.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "core/draft.h"
#include "core/object_copy.h"
#include "core/upload_plan.h"
#include "core/worker_pool.h"
#include "meta/meta_store.h"
#include "s3/s3_client.h"

namespace s3cache::core {

// In kState: upload id -> key, of uploads that a later mount has to abort; be64(ino) -> be64(UNIX s) key, of
// those whose id is not known yet.
inline constexpr std::string_view kUploads = "upload/", kAnnounced = "announced/";

class Uploader {
 public:
  Uploader(s3::S3Client& s3, meta::MetaStore& store, WorkerPool& workers, Clock& clock,
           const UploadOptions& options);

  struct Target {
    std::string key;
    s3::SentHeaders headers;
    bool exclusive = false;     // lose to an object that is there already (kExists)
    std::string ctime() const;  // the header that tells this object from any other
  };
  void send(const std::shared_ptr<Draft>& draft, const Draft::Snapshot& snapshot, Target target,
            s3::WrittenCallback done);
  // After a write: sends what is complete. `target` is asked once, when the upload begins.
  void stream(const std::shared_ptr<Draft>& draft, int64_t written_to,
              const std::function<Result<Target>()>& target);
  // Gives up parts that went up early.
  void abandon(Draft& draft);
  // At mount: aborts what an earlier process left.
  void abort_left_over();

 private:
  friend class MultipartUpload;
  void send_bytes(const std::shared_ptr<Draft>& draft, const Draft::Snapshot& snapshot, Target target,
                  s3::WrittenCallback done);
  void put(const std::shared_ptr<Draft>& draft, const Draft::Snapshot& snapshot, Target target, int attempt,
           s3::WrittenCallback done);
  void open_session(const std::shared_ptr<Draft>& draft, const Target& target,
                    std::function<void(Status)> done);
  void create(const std::shared_ptr<Draft>& draft, const Target& target, std::function<void(Status)> done);
  void abort_announced(const std::string& record, const std::string& key, int64_t announced_s);
  // A body, and the digests that its request needs. `still`: of a copy.
  struct Parcel {
    std::shared_ptr<s3::Body> body;
    std::optional<uint32_t> crc32c;
    std::string sha256_hex;
  };
  Result<Parcel> pack(const std::shared_ptr<Draft>& draft, std::shared_ptr<UniqueFd> file, Range range,
                      bool still, bool checksum);
  void send_part(const std::shared_ptr<Draft>& draft, std::shared_ptr<UniqueFd> file, Range range, int number,
                 bool still, s3::WrittenCallback done);
  void abort(const std::string& key, const std::string& id);
  void completed(const std::string& id);

  s3::S3Client& s3_;
  meta::MetaStore& store_;
  WorkerPool& workers_;
  Clock& clock_;
  const UploadOptions options_;
  ObjectCopier copier_;
  const PartGrid grid_;
  // The server's answer to a copied part has no checksum that Complete could name: such uploads do without.
  std::atomic<bool> copies_lose_checksums_{false};
};

}  // namespace s3cache::core
