// NamespaceImpl: the parts of the Namespace put together: what is known, who is to be asked, what to answer.
//
// A question goes through two stages. The name: is it there, by the store inside the TTL or by NameResolver.
// The attributes: are they exact, or does HeadPool (a file) or the directory's first page (has it an object
// of its own?) have to tell. Either stage is single-flight on its own. Threads, errors: as in namespace.h.
// REQUIRES: no request is in flight when it is destroyed (S3Client::shutdown() comes first), as requests call
// back into it.
#pragma once

#include <atomic>
#include <string>
#include <string_view>

#include "core/cold_names.h"
#include "core/dir_activity.h"
#include "core/dir_reader.h"
#include "core/lookup_names.h"
#include "core/namespace_links.h"

namespace s3cache::core {

class NamespaceImpl : public Namespace {
 public:
  NamespaceImpl(Inodes& inodes, s3::S3Client& s3, ObjectProber* prober, ChangeListener* listener,
                Clock& clock, const NamespaceOptions& options);

  void lookup(Caller caller, uint64_t parent, std::string_view name, Callback<LookupReply> done) override;
  void locate(uint64_t parent, std::string_view name, Callback<LookupReply> done) override;
  void getattr(Caller caller, uint64_t ino, Callback<Entry> done) override;
  void revalidate(uint64_t ino, Callback<Entry> done) override;
  void expire(uint64_t ino) override;
  Result<std::shared_ptr<DirHandle>> opendir(uint64_t ino) override;
  void readdir(std::shared_ptr<DirHandle> dir, uint64_t cookie, bool plus, std::shared_ptr<DirSink> sink,
               Callback<bool> done) override;
  void readlink(uint64_t ino, Callback<std::string> done) override;
  void ext(uint64_t ino, Callback<meta::Ext> done) override;
  void removing(uint64_t parent, std::string_view name) override { activity_.removed(parent, name); }
  void opened(Caller caller, uint64_t ino) override;
  int64_t tend() override;
  NamespaceStats stats() const override;

 private:
  // Who asks for attributes, and how: a walk is only guessed from callers that have a place in a directory.
  struct Question {
    Caller caller;
    bool walking = false;
    bool counts = true;  // for walk detection; false for the data path's own questions
    bool retried = false;
    bool walked = false;  // a flat listing was waited for
  };
  struct Verdict {
    enum class What : uint8_t { kFound, kAbsent, kAsk } what;
    Resolved resolved;
  };

  void lookup_name(Caller caller, uint64_t parent, std::string_view name, Callback<LookupReply> done);
  bool await_listing(const std::shared_ptr<Listing>& listing, uint64_t generation, Caller caller,
                     uint64_t parent, std::string_view name, const Callback<LookupReply>& done);
  bool name_will_do(Caller caller, const meta::Inode& directory, const Verdict& verdict) const;
  Verdict judge(uint64_t parent, std::string_view name, const NameState& state);
  Question arrive(Caller caller, uint64_t parent, std::string_view name);
  void resolve_cold(const Question& question, uint64_t parent, const std::string& name,
                    Callback<Resolved> done);
  // Stage two: answers with exact attributes.
  void with_attributes(const Question& question, Resolved resolved, Callback<Resolved> done);
  void ask_attributes(const Question& question, Resolved resolved, Callback<Resolved> done);
  void ask_directory(const Question& question, Resolved resolved, Callback<Resolved> done);
  void on_head(const Question& question, const Resolved& resolved, Result<meta::Inode> inode,
               Callback<Resolved> done);
  bool exact(const Resolved& resolved) const;
  void keep_alive(const Resolved& resolved);

  void entry_by_ino(const Question& question, uint64_t ino, bool force, Callback<Resolved> done);
  LookupReply reply_of(const Resolved& resolved) const;
  Entry entry_of_resolved(const Resolved& resolved) const;

  NsContext c_;
  DirRecords records_;
  HeadPool heads_;
  NameResolver resolver_;
  Listings listings_;
  LinkReader links_;
  DirActivity activity_;
  ColdNames cold_;
  std::atomic<bool> root_tried_ = false;
};

}  // namespace s3cache::core
