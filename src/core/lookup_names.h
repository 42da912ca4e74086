// NameResolver: one name in one directory, from the server, once for everybody who waits.
//
// A known object costs a HEAD (a LIST with attr=list), a known directory a LIST of a few keys, which also
// shows a file that came beside it (a second one where siblings like name-x are many), anything else
// one LIST(prefix=name, delimiter=/) that answers file, directory or absent; if a page of siblings (name-*,
// name.*) sorts before "name/", one more LIST(prefix=name/). What a HEAD or small LIST finds gone is resolved
// as if nothing were known. Threads: any; callbacks on network threads, or on the caller's on a store error.
// No lock over request or callback. Errors: kStale (the parent is gone) and what S3Client and MetaStore
// report; "absent" is an answer.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/lookup_heads.h"

namespace s3cache::core {

class NameResolver {
 public:
  NameResolver(NsContext& context, DirRecords& records, HeadPool& heads)
      : c_(context), records_(records), heads_(heads) {}

  enum class How : uint8_t {
    kJoin,   // a question in flight will do
    kAfter,  // only a question asked from now on
    kCold,   // as kAfter, and whatever is known of the name counts for nothing
  };
  void resolve(uint64_t parent, std::string_view name, How how, Callback<Resolved> done);

 private:
  struct Flight {
    uint64_t parent = 0;
    std::string name, key;
    bool cold = false;
    std::vector<Callback<Resolved>> waiters;
    std::vector<Callback<Resolved>> after;  // for the question that follows this one
    bool after_cold = false;
  };
  using FlightPtr = std::shared_ptr<Flight>;

  void start(const FlightPtr& flight);
  void ask_file(const FlightPtr& flight, const NameState& state);
  void ask_dir(const FlightPtr& flight, uint64_t ino);
  void ask_dir_alone(const FlightPtr& flight, uint64_t ino);
  // The directory is there, with or without an object of its own; `silent`: that is not known.
  void confirm_dir(const FlightPtr& flight, uint64_t ino, const s3::ListedObject* marker, int64_t asked_at_ns,
                   bool silent = false);
  void ask_cold(const FlightPtr& flight);
  void on_cold_page(const FlightPtr& flight, int64_t asked_at_ns, s3::ListPage page);
  // Is there any key that starts with `prefix`?
  void ask_prefix(const FlightPtr& flight, const std::string& prefix, bool folder, ServerWord word,
                  int64_t asked_at_ns);
  void ask_unlisted_file(const FlightPtr& flight, ServerWord word, int64_t asked_at_ns);
  void settle(const FlightPtr& flight, const ServerWord& word, int64_t asked_at_ns);
  void finish(const FlightPtr& flight, const Result<Resolved>& result);

  NsContext& c_;
  DirRecords& records_;
  HeadPool& heads_;
  Mutex mu_;
  std::map<std::pair<uint64_t, std::string>, FlightPtr> flights_ GUARDED_BY(mu_);
};

}  // namespace s3cache::core
