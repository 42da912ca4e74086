// HeadPool: attributes that only the object's own headers tell, asked once for everybody who waits.
//
// One question per inode is in flight: a HEAD, or the GET of a small object (ObjectProber) whose headers
// count as one. Answers are written by DirRecords::update; an answer that a younger one overtook is asked
// again (at most twice). A sweep asks the siblings in a directory by background HEADs, from a name forward in
// listing order and round to it again. It is fed from the store by pages of 256 names and keeps at most
// max_parallel_heads in flight. Each lookup in the directory grants it a few more names, so that a walk keeps
// the pipe full and one that was abandoned stops soon. Threads: any; callbacks run on network threads, or on
// the caller's when the key cannot be built. No lock is held over a request or a callback. Errors: kNotFound
// (a file's object is gone) and what S3Client reports; 403 and 400 are answers (an unreadable file), a
// directory without an object of its own is one too.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/dir_records.h"

namespace s3cache::core {

class HeadPool {
 public:
  HeadPool(NsContext& context, DirRecords& records) : c_(context), records_(records) {}

  enum class How : uint8_t {
    kProbe,       // the attributes, by a GET if the prober takes it
    kHead,        // the attributes, by a HEAD; neither asks if an answer came since `inode` was read
    kRevalidate,  // the server's word of now
  };
  void ask(uint64_t ino, const meta::Inode& inode, How how, s3::Priority priority,
           Callback<meta::Inode> done);

  // Begins a sweep of the directory behind the dirent key tail `behind`, if none runs.
  void sweep(uint64_t dir, std::string_view behind);
  // The walk in this directory went on.
  void grant(uint64_t dir);
  void stop(uint64_t dir);

 private:
  // Started with four full pipes, then sixteen names ahead per name looked up: enough for 20 ms round trips
  // at the speed of a stat loop, and at most 256 HEADs nobody wanted when it ends early.
  static constexpr int kFirstCredit = 256, kCreditPerLookup = 16, kMaxCredit = 4096;
  static constexpr size_t kFeedPage = 256;
  static constexpr int kMaxRetries = 2;

  struct Flight {
    std::vector<Callback<meta::Inode>> waiters;
    s3::RequestId request = 0;
    bool background = false;
  };
  struct Candidate {
    uint64_t ino;
    meta::Inode inode;
  };
  struct Sweep {
    uint64_t dir = 0;
    std::string origin, position;
    bool wrapped = false, fed = false;  // fed: no more names to read
    int credit = kFirstCredit;
    std::deque<Candidate> queue;
  };
  struct Question {
    uint64_t ino;
    std::string key;
    s3::Priority priority;
    int tries;
  };

  void send_head(const Question& question);
  std::string current_key(const Question& question);
  void answer(const Question& question, int64_t asked_at_ns, Result<s3::ObjectInfo> info);
  void complete(uint64_t ino, const Result<meta::Inode>& result);
  void pump();
  void feed(Sweep& sweep);

  NsContext& c_;
  DirRecords& records_;
  Mutex mu_;
  std::unordered_map<uint64_t, Flight> flights_ GUARDED_BY(mu_);
  std::unordered_map<uint64_t, std::shared_ptr<Sweep>> sweeps_ GUARDED_BY(mu_);
  int background_ GUARDED_BY(mu_) = 0;
  bool pumping_ GUARDED_BY(mu_) = false;  // one thread feeds; the others leave it their news
  bool pump_again_ GUARDED_BY(mu_) = false;
};

}  // namespace s3cache::core
