#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "core/namespace_impl.h"
#include "core/namespace_names.h"

namespace s3cache::core {

using meta::Inode;
using meta::Kind;

namespace {
// A directory that is walked by names is listed this many pages at a time; a huge one goes on as long as cold
// names keep coming.
constexpr int kWalkPages = 20;
}  // namespace

std::unique_ptr<Namespace> Namespace::make(Inodes& inodes, s3::S3Client& s3, ObjectProber* prober,
                                           ChangeListener* listener, Clock& clock,
                                           const NamespaceOptions& options) {
  return std::make_unique<NamespaceImpl>(inodes, s3, prober, listener, clock, options);
}

NamespaceImpl::NamespaceImpl(Inodes& inodes, s3::S3Client& s3, ObjectProber* prober, ChangeListener* listener,
                             Clock& clock, const NamespaceOptions& options)
    : c_{inodes, s3, prober, listener, clock, options},
      records_(c_),
      heads_(c_, records_),
      resolver_(c_, records_, heads_),
      listings_(c_, records_),
      links_(c_),
      cold_(c_) {
  const auto unordered = c_.store().get(meta::Table::kState, kUnorderedKey);
  c_.unordered = unordered.ok() && unordered->has_value();
}

// --- stage one: the name

NamespaceImpl::Verdict NamespaceImpl::judge(uint64_t parent, std::string_view name, const NameState& state) {
  Resolved resolved = DirRecords::pick(state);
  if (resolved.found) {
    const auto listing = listings_.find(parent);
    if (listing && resolved.checked_at_ns != kExpired) {
      const std::string tail = std::string(name) + (resolved.inode.kind == Kind::kDirectory ? "/" : "");
      resolved.checked_at_ns = std::max(resolved.checked_at_ns, listing->covered_at(tail));
    }
    return {c_.fresh(resolved.checked_at_ns) ? Verdict::What::kFound : Verdict::What::kAsk,
            std::move(resolved)};
  }
  const bool absent = resolved.pinned || (c_.options.negative_cache && c_.fresh(resolved.checked_at_ns));
  return {absent ? Verdict::What::kAbsent : Verdict::What::kAsk, std::move(resolved)};
}

NamespaceImpl::Question NamespaceImpl::arrive(Caller caller, uint64_t parent, std::string_view name) {
  Question question{caller, activity_.arrive(parent, caller.tid, name), true, false};
  if (question.walking) heads_.grant(parent);
  return question;
}

void NamespaceImpl::resolve_cold(const Question& question, uint64_t parent, const std::string& name,
                                 Callback<Resolved> done) {
  if (activity_.cold(parent)) {
    if (const auto listing = listings_.join(parent); listing.ok()) (*listing)->grant_more(kWalkPages);
  }
  resolver_.resolve(parent, name, NameResolver::How::kJoin,
                    [this, question, done = std::move(done)](Result<Resolved> resolved) mutable {
                      if (!resolved.ok()) return done(std::move(resolved));
                      with_attributes(question, std::move(*resolved), std::move(done));
                    });
}

// `rm -rf` of what others have made needs no headers: they were a HEAD for each file that was to go. In a
// sticky directory the kernel judges by the file's owner.
bool NamespaceImpl::name_will_do(Caller caller, const Inode& directory, const Verdict& verdict) const {
  if (verdict.what != Verdict::What::kFound || !activity_.removing(caller.tid)) return false;
  const Inode& inode = verdict.resolved.inode;
  return inode.kind == Kind::kFile && inode.kind_known && (directory.mode & S_ISVTX) == 0 &&
         !exact(verdict.resolved);
}

void NamespaceImpl::lookup(Caller caller, uint64_t parent, std::string_view name,
                           Callback<LookupReply> done) {
  c_.lookups++;
  lookup_name(caller, parent, name, std::move(done));
}

// A directory that is walked by names is being listed: its next pages answer sooner, and for less, than a
// LIST for each name. Only the first pages are waited for, so that a huge directory does not hold its lookups
// up.
bool NamespaceImpl::await_listing(const std::shared_ptr<Listing>& listing, uint64_t generation, Caller caller,
                                  uint64_t parent, std::string_view name, const Callback<LookupReply>& done) {
  return listing && listing->wait_for_name(generation, kWalkPages, [=, this, again = std::string(name)] {
    lookup_name(caller, parent, again, done);
  });
}

void NamespaceImpl::lookup_name(Caller caller, uint64_t parent, std::string_view name,
                                Callback<LookupReply> done) {
  if (name.size() > kMaxName) return done(Error{Code::kNameTooLong, "a name of over 255 bytes"});
  if (!nameable(name)) return done(LookupReply{false, {}, 0});
  const auto directory = c_.inodes.get(parent);
  if (!directory.ok()) return done(Error{Code::kStale, directory.error().message});
  if (directory->kind != Kind::kDirectory) return done(Error{Code::kNotDirectory, directory->name});
  auto listing = listings_.find(parent);
  uint64_t generation = listing ? listing->view().generation : 0;
  c_.dir_use.touch(parent, c_.now());
  const auto state = records_.load(parent, name);
  if (!state.ok()) return done(state.error());

  Verdict verdict = judge(parent, name, *state);
  const bool unknown = verdict.what == Verdict::What::kAsk && !verdict.resolved.found;
  // As other directories, whose first page is read for their own attributes, the root begins with a page:
  // where it is the whole root nobody asks for a name of it any more. (50 x `echo > new` were 9 LISTs.)
  if (unknown && !listing && parent == meta::kRootIno && c_.options.negative_cache &&
      !root_tried_.exchange(true)) {
    if (auto begun = listings_.join(parent); begun.ok()) {
      listing = std::move(*begun);
      generation = listing->view().generation;
      listing->grant(1);
    }
  }
  if (unknown && await_listing(listing, generation, caller, parent, name, done)) return;
  if (name_will_do(caller, *directory, verdict)) {
    LookupReply named = reply_of(verdict.resolved);
    named.entry.guessed = true;
    return done(std::move(named));
  }
  const Question question = arrive(caller, parent, name);
  auto reply = [this, done = std::move(done)](const Result<Resolved>& resolved) {
    if (!resolved.ok()) return done(resolved.error());
    done(reply_of(*resolved));
  };
  if (verdict.what == Verdict::What::kAbsent ||
      (verdict.what == Verdict::What::kFound && exact(verdict.resolved))) {
    c_.lookup_hits++;
    keep_alive(verdict.resolved);
    return reply(std::move(verdict.resolved));
  }
  if (verdict.what == Verdict::What::kFound) {
    return with_attributes(question, std::move(verdict.resolved), std::move(reply));
  }
  if (const auto key = c_.inodes.child_key(parent, name); key.ok() && key->size() > kMaxKey) {
    return reply(Error{Code::kNameTooLong, "a key of over 1,024 bytes"});
  }
  resolve_cold(question, parent, std::string(name), std::move(reply));
}

void NamespaceImpl::locate(uint64_t parent, std::string_view name, Callback<LookupReply> done) {
  if (name.size() > kMaxName) return done(Error{Code::kNameTooLong, "a name of over 255 bytes"});
  if (!nameable(name)) return done(LookupReply{false, {}, 0});
  const auto state = records_.load(parent, name);
  if (!state.ok()) return done(state.error());
  Verdict verdict = judge(parent, name, *state);
  if (verdict.what != Verdict::What::kAsk) return done(reply_of(verdict.resolved));
  resolver_.resolve(parent, name, NameResolver::How::kJoin,
                    [this, done = std::move(done)](const Result<Resolved>& resolved) {
                      if (!resolved.ok()) return done(resolved.error());
                      done(reply_of(*resolved));
                    });
}

void NamespaceImpl::keep_alive(const Resolved& resolved) {
  // stat_cache_interval_expire counts from the last use; one write per quarter of the TTL is exact enough.
  if (!c_.options.ttl_since_access || !resolved.found) return;
  if (c_.left_ms(resolved.checked_at_ns) > c_.options.ttl_ms * 3 / 4) return;
  records_.touch(resolved.ino, c_.now());
}

// --- stage two: the attributes

bool NamespaceImpl::exact(const Resolved& resolved) const {
  return !resolved.found ||
         !needs_head(resolved.inode, c_.options.attr, !c_.fresh(resolved.dirent_checked_at_ns));
}

void NamespaceImpl::with_attributes(const Question& question, Resolved resolved, Callback<Resolved> done) {
  if (exact(resolved)) return done(std::move(resolved));
  const Inode& inode = resolved.inode;
  if (inode.kind == Kind::kDirectory && !inode.kind_known && !question.walking && !c_.unordered) {
    return ask_directory(question, std::move(resolved), std::move(done));
  }
  ask_attributes(question, std::move(resolved), std::move(done));
}

void NamespaceImpl::ask_directory(const Question& question, Resolved resolved, Callback<Resolved> done) {
  // Whether the directory has an object, and so a mode of its own, is what the first page of its listing
  // begins with. That page also holds the names that are asked for next, so it beats a HEAD that mostly
  // answers 404.
  if (!question.walked) {
    Question walked = question;
    walked.walked = true;
    const auto after_walk = [this, walked, resolved, done] {
      auto inode = c_.inodes.get(resolved.ino);
      if (!inode.ok()) return done(Error{Code::kStale, inode.error().message});
      Resolved now = resolved;
      now.inode = std::move(*inode);
      with_attributes(walked, std::move(now), done);
    };
    if (listings_.walks().await(resolved.ino, after_walk)) return;
  }
  const auto listing = listings_.join(resolved.ino);
  if (!listing.ok()) return done(listing.error());
  (*listing)->grant(1);
  auto again = [this, question, resolved, done, listing = *listing] {
    const auto view = listing->view();
    if (view.error && view.error->code != Code::kCancelled) return done(*view.error);
    auto inode = c_.inodes.get(resolved.ino);
    if (!inode.ok()) return done(Error{Code::kStale, inode.error().message});
    Resolved now = resolved;
    now.inode = std::move(*inode);
    if (exact(now)) return done(std::move(now));
    ask_attributes(question, std::move(now), done);
  };
  if (!(*listing)->wait(0, again)) again();
}

void NamespaceImpl::ask_attributes(const Question& question, Resolved resolved, Callback<Resolved> done) {
  const Inode& inode = resolved.inode;
  const bool file = inode.kind != Kind::kDirectory;
  auto how = HeadPool::How::kHead;
  if (question.counts && file && !question.walking) {
    how = HeadPool::How::kProbe;
    activity_.asked(inode.parent, question.caller.tid, inode.name);
  }
  const uint64_t parent = inode.parent;
  const std::string tail = inode.name + (file ? "" : "/");
  heads_.ask(resolved.ino, resolved.inode, how, s3::Priority::kForeground,
             [this, question, resolved, done = std::move(done)](Result<Inode> answer) {
               on_head(question, resolved, std::move(answer), done);
             });
  if (question.walking) heads_.sweep(parent, tail);
}

void NamespaceImpl::on_head(const Question& question, const Resolved& resolved, Result<Inode> inode,
                            Callback<Resolved> done) {
  if (inode.is(Code::kNotFound) && !question.retried) {
    // Listed, but gone since: the name is resolved as if nothing were known of it.
    Question again = question;
    again.retried = true;
    return resolver_.resolve(resolved.inode.parent, resolved.inode.name, NameResolver::How::kCold,
                             [this, again, done = std::move(done)](Result<Resolved> now) mutable {
                               if (!now.ok()) return done(std::move(now));
                               with_attributes(again, std::move(*now), std::move(done));
                             });
  }
  if (!inode.ok()) return done(inode.error());
  if (inode->kind == Kind::kDirectory && resolved.inode.kind != Kind::kDirectory) {
    return done(records_.directory_of_marker(resolved.ino));
  }
  Resolved out = resolved;
  out.inode = std::move(*inode);
  done(std::move(out));
}

// --- by inode

void NamespaceImpl::entry_by_ino(const Question& question, uint64_t ino, bool force,
                                 Callback<Resolved> done) {
  const auto inode = c_.inodes.get(ino);
  if (!inode.ok()) return done(Error{Code::kStale, inode.error().message});
  if (ino == meta::kRootIno) {
    const int64_t now = c_.now();
    return with_attributes(question, Resolved{true, false, ino, *inode, now, now}, std::move(done));
  }
  if ((inode->flags & meta::kUnlinked) != 0) return done(Resolved{true, true, ino, *inode, kPinned, kPinned});
  c_.dir_use.touch(inode->parent, c_.now());
  const auto state = records_.load(inode->parent, inode->name);
  if (!state.ok()) return done(state.error());
  Question asked = question;
  if (question.counts && inode->kind == Kind::kFile) activity_.wants_attributes(question.caller.tid);
  if (question.counts) asked = arrive(question.caller, inode->parent, inode->name);
  Verdict verdict = judge(inode->parent, inode->name, *state);
  if (verdict.resolved.pinned && !verdict.resolved.found) {
    return done(Error{Code::kNotFound, "inode " + std::to_string(ino) + " was removed"});
  }
  const bool asks = force && !verdict.resolved.pinned;
  if (!asks && verdict.what == Verdict::What::kFound && verdict.resolved.ino == ino) {
    keep_alive(verdict.resolved);
    return with_attributes(asked, std::move(verdict.resolved), std::move(done));
  }
  auto same = [ino, done = std::move(done)](Result<Resolved> now) {
    if (now.ok() && !now->found)
      return done(Error{Code::kNotFound, "inode " + std::to_string(ino) + " is gone"});
    if (now.ok() && now->ino != ino)
      return done(Error{Code::kStale, "inode " + std::to_string(ino) + " was replaced"});
    done(std::move(now));
  };
  if (!force) return resolve_cold(asked, inode->parent, inode->name, std::move(same));
  resolver_.resolve(inode->parent, inode->name, NameResolver::How::kAfter,
                    [this, asked, same = std::move(same)](Result<Resolved> now) {
                      if (!now.ok()) return same(std::move(now));
                      with_attributes(asked, std::move(*now), same);
                    });
}

void NamespaceImpl::getattr(Caller caller, uint64_t ino, Callback<Entry> done) {
  entry_by_ino(Question{caller}, ino, false,
               [this, done = std::move(done)](const Result<Resolved>& resolved) {
                 if (!resolved.ok()) return done(resolved.error());
                 done(entry_of_resolved(*resolved));
               });
}

void NamespaceImpl::revalidate(uint64_t ino, Callback<Entry> done) {
  entry_by_ino(Question{{}, false, false, false}, ino, true,
               [this, done = std::move(done)](const Result<Resolved>& resolved) {
                 if (!resolved.ok()) return done(resolved.error());
                 done(entry_of_resolved(*resolved));
               });
}

void NamespaceImpl::expire(uint64_t ino) { records_.touch(ino, kExpired); }

void NamespaceImpl::ext(uint64_t ino, Callback<meta::Ext> done) {
  entry_by_ino(Question{{}, false, false, false}, ino, false,
               [this, done = std::move(done)](const Result<Resolved>& resolved) {
                 if (!resolved.ok()) return done(resolved.error());
                 auto ext =
                     load_record<meta::Ext>(c_.store(), meta::Table::kExt, meta::id_key(resolved->ino));
                 if (!ext.ok()) return done(ext.error());
                 done(ext->value_or(meta::Ext()));
               });
}

void NamespaceImpl::readlink(uint64_t ino, Callback<std::string> done) { links_.read(ino, std::move(done)); }

void NamespaceImpl::opened(Caller caller, uint64_t ino) {
  if (activity_.idle()) return;
  const auto inode = c_.inodes.get(ino);
  if (inode.ok() && activity_.opened(inode->parent, caller.tid)) heads_.stop(inode->parent);
}

// --- directories

Result<std::shared_ptr<DirHandle>> NamespaceImpl::opendir(uint64_t ino) {
  auto reader = std::make_shared<DirReader>(c_, listings_, ino);
  if (Status s = reader->begin(); !s.ok()) return s.error();
  return std::shared_ptr<DirHandle>(std::move(reader));
}

void NamespaceImpl::readdir(std::shared_ptr<DirHandle> dir, uint64_t cookie, bool plus,
                            std::shared_ptr<DirSink> sink, Callback<bool> done) {
  static_cast<DirReader&>(*dir).read(cookie, plus, std::move(sink), std::move(done));
}

// --- answers

Entry NamespaceImpl::entry_of_resolved(const Resolved& resolved) const {
  Entry entry = entry_of(resolved.ino, resolved.inode, c_.options);
  entry.ttl_ms = c_.left_ms(resolved.checked_at_ns);
  return entry;
}

LookupReply NamespaceImpl::reply_of(const Resolved& resolved) const {
  LookupReply reply;
  reply.found = resolved.found;
  if (resolved.found) {
    reply.entry = entry_of_resolved(resolved);
  } else if (c_.options.negative_cache) {
    reply.ttl_ms = c_.left_ms(resolved.checked_at_ns);
  }
  return reply;
}

int64_t NamespaceImpl::tend() {
  const bool more = listings_.collector().step();
  const int64_t wait = cold_.tend();
  return more ? std::min<int64_t>(wait, 10) : wait;
}

NamespaceStats NamespaceImpl::stats() const {
  NamespaceStats out;
  out.lookups = c_.lookups;
  out.lookup_hits = c_.lookup_hits;
  out.listings = c_.listings;
  out.heads = c_.heads;
  out.probes = c_.probes;
  out.unnameable_keys = c_.unnameable;
  return out;
}

}  // namespace s3cache::core
