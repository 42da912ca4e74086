// ChangeContext: what the parts of Mutations share.
//
// Threads: any. Owns the journal, the records of names, the batch of deletions and the count of what is under
// way; borrows the rest. stop() first: nothing delayed runs after it. Lock order: as in namespace_context.h.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/delayed.h"
#include "core/delete_batcher.h"
#include "core/mutations.h"
#include "core/name_records.h"

namespace s3cache::core {

// Ledger: the changes under way, and who waits for those of now. Threads: any; callbacks on the thread that
// ends the last of them, or the caller's.
class Ledger {
 public:
  uint64_t begin() EXCLUDES(mu_);
  void end(uint64_t change) EXCLUDES(mu_);
  void when_settled(std::function<void()> done) EXCLUDES(mu_);
  // It was tried, and will be tried again.
  void failed(uint64_t change, Trouble trouble) EXCLUDES(mu_);
  void report(Stats& stats) EXCLUDES(mu_);

 private:
  Mutex mu_;
  uint64_t last_ GUARDED_BY(mu_) = 0;
  std::set<uint64_t> under_way_ GUARDED_BY(mu_);
  std::map<uint64_t, Trouble> troubles_ GUARDED_BY(mu_);                    // of those under way
  std::multimap<uint64_t, std::function<void()>> waiting_ GUARDED_BY(mu_);  // by the last change waited for
};

// Outstanding: callbacks of the store that have not run yet; whoever ends waits for them. Threads: any.
class Outstanding {
 public:
  // `job` for MetaStore::apply(); counted until it is gone.
  meta::MetaStore::Durable wrap(meta::MetaStore::Durable job) EXCLUDES(mu_);
  void wait() EXCLUDES(mu_);

 private:
  Mutex mu_;
  CondVar none_;
  int count_ GUARDED_BY(mu_) = 0;
};

struct ChangeContext {
  ChangeContext(Inodes& inodes, Namespace& the_names, s3::S3Client& s3, DraftHost& the_drafts,
                InodeQueue& the_queue, ChangeListener* listener, Clock& clock,
                const NamespaceOptions& names_options, const UploadOptions& upload_options,
                DeleteBatcher::Sent sent)
      : ns{inodes, s3, nullptr, listener, clock, names_options},
        names(the_names),
        drafts(the_drafts),
        queue(the_queue),
        options(upload_options),
        records(ns),
        journal(inodes.store()),
        edits(ns, records, journal),
        deletes(s3, delayed, upload_options.gather_ms, std::move(sent)) {}

  NsContext ns;
  Namespace& names;
  DraftHost& drafts;
  InodeQueue& queue;
  const UploadOptions options;
  DirRecords records;
  Journal journal;
  NameRecords edits;
  Ledger ledger;
  Delayed delayed;
  Outstanding outstanding;
  DeleteBatcher deletes;

  // Before anything of this goes: no callback of the store, no delayed job comes after it. REQUIRES: the
  // client was shut down.
  void stop();

  // Where a change's name is: kNotFound, or its inode.
  struct Place {
    bool found = false;
    uint64_t ino = 0;
    meta::Inode inode;
    bool is_dir() const { return inode.kind == meta::Kind::kDirectory; }
  };
  void locate(uint64_t parent, const std::string& name, Callback<Place> done);
  // The key of a name that may be made: kNameTooLong, kInvalid ("", ".", ".."), kNotFound (no such
  // directory).
  Result<std::string> key_for(uint64_t parent, const std::string& name, bool is_dir);
  Result<Entry> entry(uint64_t ino) const;  // as the record has it
  Entry entry(uint64_t ino, const meta::Inode& inode) const;
  s3::SentHeaders headers(const meta::Inode& inode, const meta::Ext& ext, std::string_view key) const {
    return object_headers(inode, ext, key, options);
  }
  meta::Ext ext_of_ino(uint64_t ino);
  // A change that failed for the `tries`-th time goes on by `job` after the back-off.
  void try_later(uint64_t change, const std::string& key, const Error& why, int tries,
                 std::function<void()> job);
};

// The server may answer otherwise in a while: what was promised is tried again.
bool worth_repeating(Code code);
// How long to wait before try number `tries` (from 1); ms.
int64_t back_off_ms(int tries);

}  // namespace s3cache::core
