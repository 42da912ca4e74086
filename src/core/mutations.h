// Mutations: every change of names and attributes, on S3, in the journal and in the records of the namespace.
//
// File contents are the Drafts' business (core/draft_table.h): a mutation that meets a file with unsaved
// bytes asks it through DraftHost. Changes of one inode (upload, metadata copy, rename, delete) run one after
// another through InodeQueue, so that the bucket sees them in the order in which they were made.
//
// A name with a change under way is pinned: its dirent's checked_at is kPinned, which no answer of the server
// is newer than. When the change has reached S3 the dirent gets the time of that moment.
//
// Threads: every method from any thread; nothing blocks on the network. Callbacks as in namespace.h. Errors:
// kNotFound, kExists, kNotEmpty, kIsDirectory, kNotDirectory, kNameTooLong, kBusy, and what S3Client reports.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/filesystem.h"
#include "core/inode_queue.h"
#include "core/namespace.h"
#include "core/object_headers.h"
#include "s3/s3_client.h"

namespace s3cache::core {

// What mutations ask of file contents. Implemented by DraftTable.
class DraftHost {
 public:
  virtual ~DraftHost() = default;
  // The inode has bytes or attributes that S3 lacks, or is open for writing.
  virtual bool has_draft(uint64_t ino) = 0;
  // The inode's attributes changed in its record: they go up with the draft's next upload. False: there is no
  // draft, the caller copies the object onto itself. `done`: at once while somebody has it open for writing,
  // else as for a close.
  virtual bool attributes_changed(uint64_t ino, Callback<void> done) = 0;
  // Brings everything of the draft to S3 (for a rename); done at once if there is none.
  virtual void save(uint64_t ino, Callback<void> done) = 0;
  // A file that S3 never had has another name: O_EXCL held for its first one. exclusive: for the new one,
  // too.
  virtual void renamed(uint64_t ino, bool exclusive) { (void)ino, (void)exclusive; }
  // The name is gone for good: nothing of it is uploaded any more, open handles keep their bytes until they
  // close.
  virtual void unlinked(uint64_t ino) = 0;
  // Somebody has it open: its record is needed, though its name is gone.
  virtual bool in_use(uint64_t ino) = 0;
  // Open, and not every byte of it is here: the object is still needed. `gone` runs when that is over.
  virtual bool needs_object(uint64_t ino, std::function<void()> gone) = 0;
  // The object was copied (onto itself, or to its new name): the same bytes have another ETag now.
  virtual void object_copied(uint64_t ino, const std::string& from_etag, const std::string& to_etag) {
    (void)ino, (void)from_etag, (void)to_etag;
  }
  // A file without an ETag whose upload was begun and ended nobody knows how: there may be an object of it.
  virtual bool may_be_on_s3(uint64_t ino) = 0;
};

class Mutations {
 public:
  static std::unique_ptr<Mutations> make(Inodes& inodes, Namespace& names, s3::S3Client& s3,
                                         DraftHost& drafts, InodeQueue& queue, ChangeListener* listener,
                                         Clock& clock, const NamespaceOptions& names_options,
                                         const UploadOptions& options);
  virtual ~Mutations() = default;

  // A name for a new regular file: the records only (inode kLocal, dirent pinned). Nothing is sent; the
  // draft's upload calls uploaded(). kExists with a file there: `existing` gets its ino when not exclusive.
  struct NewFile {
    uint64_t ino = 0;
    bool existed = false;
    Entry entry;
  };
  virtual void create(uint64_t parent, std::string name, NewNode node, bool exclusive,
                      Callback<NewFile> done) = 0;
  // The draft of `ino` became the object `key`: takes the dirent's pin off.
  virtual void uploaded(uint64_t ino) = 0;

  virtual void setattr(uint64_t ino, SetAttr what, Callback<Entry> done) = 0;  // all but size
  virtual void mkdir(uint64_t parent, std::string name, NewNode node, Callback<Entry> done) = 0;
  virtual void mknod(uint64_t parent, std::string name, NewNode node, Callback<Entry> done) = 0;
  virtual void symlink(uint64_t parent, std::string name, std::string target, NewNode node,
                       Callback<Entry> done) = 0;
  virtual void unlink(uint64_t parent, std::string name, Callback<void> done) = 0;
  virtual void rmdir(uint64_t parent, std::string name, Callback<void> done) = 0;
  virtual void rename(uint64_t parent, std::string name, uint64_t new_parent, std::string new_name,
                      unsigned flags, Callback<void> done) = 0;
  virtual void setxattr(uint64_t ino, std::string name, std::string value, int flags,
                        Callback<void> done) = 0;
  virtual void removexattr(uint64_t ino, std::string name, Callback<void> done) = 0;

  // Every change made before is on S3 (deletes that were batched, background copies).
  virtual void settle(Callback<void> done) = 0;
  // Changes that wait for their next try are tried now.
  virtual void retry_now() = 0;
  // Adds what is not on S3 yet.
  virtual void report(Stats& stats) = 0;
  // At mount: carries out what the journal of an earlier mount holds.
  virtual void replay() = 0;
};

}  // namespace s3cache::core
