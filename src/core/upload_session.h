// UploadSession: the multipart upload of one draft, from its first part to Complete or Abort.
//
// Parts may go up while the file is still being written; one that is written again afterwards is sent again
// under the same number, which S3 takes as a replacement. Threads: any, one mutex inside. Owns: the list of
// parts. Errors: none of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/sync.h"
#include "core/extent_set.h"
#include "s3/s3_client.h"

namespace s3cache::core {

class UploadSession {
 public:
  struct Part {
    int64_t offset = 0, length = 0;
    bool sent = false;    // S3 has it
    bool flying = false;  // on its way
    bool stale = false;   // written again since it was read for sending
    bool old = false;     // was so when the latest snapshot was taken, which thus needs it again
    std::string etag;
    std::optional<uint32_t> crc32c;
  };

  bool open() const;
  std::string id() const;
  std::string key() const;
  bool checksums() const;
  // True for the one caller that may create the upload.
  bool claim();
  // `headers`: what the finished object will have, whatever becomes of the file's attributes meanwhile.
  // checksums: each of its parts has a CRC32C.
  void opened(std::string key, std::string id, s3::SentHeaders headers, bool checksums);
  void open_failed();

  // True: the caller sends it. False: it is there already, or on its way.
  bool begin_part(int number, int64_t offset, int64_t length);
  void end_part(int number, const Result<s3::Written>& written, std::optional<uint32_t> crc32c);
  int flying() const;
  // Runs `done` when no part is on its way and the upload is not just being opened: now, or on the thread
  // that ends the last of it.
  void when_idle(std::function<void()> done);
  // The range was written: parts that hold it have to go again.
  void touched(int64_t offset, int64_t length);
  // Attributes were set: the object needs other headers than the upload was begun with.
  void attributes_changed();
  bool headers_outdated() const;
  // Of the headers it was begun with; empty: no such header, or not open.
  std::string header(std::string_view name) const;
  // What S3 has in parts that are still good.
  std::vector<Range> sent() const;
  // An upload begins, of the bytes as they are now: what is written later is the next one's.
  void snapshot();
  // S3 has exactly this range as it is now / with all that the snapshot has.
  bool has(int number, int64_t offset, int64_t length) const;
  bool has_for_snapshot(int number, int64_t offset, int64_t length) const;
  std::vector<s3::CompletedPart> parts(const std::vector<int>& numbers) const;
  // Forgets everything; gives the key and id of an upload that is to be aborted.
  std::optional<std::pair<std::string, std::string>> close();

 private:
  const Part* sent_locked(int number, int64_t offset, int64_t length) const REQUIRES(mu_);
  int flying_locked() const REQUIRES(mu_);
  bool idle_locked() const REQUIRES(mu_);
  void tell_idle() EXCLUDES(mu_);

  mutable Mutex mu_;
  bool claimed_ GUARDED_BY(mu_) = false;
  std::function<void()> idle_ GUARDED_BY(mu_);
  bool outdated_ GUARDED_BY(mu_) = false;
  bool checksums_ GUARDED_BY(mu_) = false;
  std::string key_ GUARDED_BY(mu_), id_ GUARDED_BY(mu_);
  s3::SentHeaders headers_ GUARDED_BY(mu_);
  std::map<int, Part> parts_ GUARDED_BY(mu_);
};

}  // namespace s3cache::core
