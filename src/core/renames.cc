#include "core/renames.h"

#include <linux/fs.h>

#include <utility>

#include "base/crash_point.h"
#include "base/log.h"
#include "core/attributes.h"
#include "core/tree_rename.h"

namespace s3cache::core {

using meta::AttrSource;
using meta::Ext;
using meta::Inode;
using meta::Intent;
using meta::Kind;

namespace {
constexpr int kMaxTries = 4;
}  // namespace

struct Renames::Job {
  Intent intent;
  uint64_t target = 0;  // the inode that loses its name
  bool no_replace = false;
  bool unconditional = false;  // the server does not know If-None-Match
  uint64_t change = 0, seq = 0;
  int tries = 0;
  Inode inode;
  Ext ext;
  bool known = false;  // the record says all that the object's headers do
  Callback<void> done;
  InodeQueue::Turn turn;
};

Renames::Renames(ChangeContext& context, Removals& removals)
    : c_(context),
      removals_(removals),
      copier_(context.ns.s3, context.options),
      trees_(std::make_unique<TreeRename>(context, removals, copier_)) {}

Renames::~Renames() = default;

void Renames::rename(uint64_t parent, std::string name, uint64_t new_parent, std::string new_name,
                     unsigned flags, Callback<void> done) {
  if ((flags & ~static_cast<unsigned>(RENAME_NOREPLACE)) != 0) {
    return done(Error{Code::kUnsupported, "rename with flags " + std::to_string(flags)});
  }
  if (auto key = c_.key_for(new_parent, new_name, false); !key.ok()) return done(key.error());
  auto job = std::make_shared<Job>();
  job->intent.op = Intent::Op::kRename;
  job->intent.parent = parent;
  job->intent.new_parent = new_parent;
  job->intent.name = std::move(name);
  job->intent.new_name = std::move(new_name);
  job->intent.made_at_ns = c_.ns.now();
  job->no_replace = (flags & RENAME_NOREPLACE) != 0;
  job->done = std::move(done);
  c_.locate(parent, job->intent.name, [this, job](const Result<ChangeContext::Place>& source) {
    if (!source.ok()) return job->done(source.error());
    if (!source->found) return job->done(Error{Code::kNotFound, job->intent.name});
    c_.locate(job->intent.new_parent, job->intent.new_name,
              [this, job, source = *source](const Result<ChangeContext::Place>& target) {
                if (!target.ok()) return job->done(target.error());
                judge(job, source, *target);
              });
  });
}

void Renames::judge(const JobPtr& job, const ChangeContext::Place& source,
                    const ChangeContext::Place& target) {
  Intent& intent = job->intent;
  intent.ino = source.ino;
  intent.is_dir = source.is_dir();
  if (target.found && target.ino == source.ino) return job->done(Status());
  if (target.found && job->no_replace) return job->done(Error{Code::kExists, intent.new_name + " exists"});
  if (target.found && source.is_dir() && !target.is_dir())
    return job->done(Error{Code::kNotDirectory, intent.new_name});
  if (target.found && !source.is_dir() && target.is_dir())
    return job->done(Error{Code::kIsDirectory, intent.new_name});
  job->target = target.found ? target.ino : 0;
  if (!source.is_dir()) return save(job);
  if (c_.ns.inodes.is_below(intent.new_parent, source.ino)) {
    return job->done(Error{Code::kInvalid, intent.name + " cannot move into itself"});
  }
  auto go = [this, job](const Status& empty) {
    if (!empty.ok()) return job->done(empty);
    trees_->rename(job->intent, job->target, job->done);
  };
  if (!target.found) return go(Status());
  removals_.check_empty(target.ino, std::move(go));
}

// --- one file

// What a writer has written so far belongs to the file that moves.
void Renames::save(const JobPtr& job) {
  const uint64_t ino = job->intent.ino;
  const auto inode = c_.ns.inodes.get(ino);
  if (!inode.ok()) return job->done(Error{Code::kNotFound, job->intent.name});
  if (moves_locally(*job, *inode) || inode->kind != Kind::kFile || !c_.drafts.has_draft(ino))
    return enlist(job);
  c_.drafts.save(ino, [this, job](const Status& saved) {
    if (!saved.ok()) return job->done(saved);
    enlist(job);
  });
}

bool Renames::on_s3(uint64_t ino, const Inode& inode) {
  return !inode.etag.empty() || inode.source != AttrSource::kLocal || inode.kind != Kind::kFile ||
         c_.drafts.may_be_on_s3(ino);
}

// S3 has neither the file nor one at its new place. An object there would come back if the file went without
// ever being sent, and until it is sent a crash would bring back what was replaced.
bool Renames::moves_locally(const Job& job, const Inode& inode) {
  if (on_s3(job.intent.ino, inode)) return false;
  if (job.target == 0) return true;
  const auto target = c_.ns.inodes.get(job.target);
  return !target.ok() || !on_s3(job.target, *target);
}

void Renames::enlist(const JobPtr& job) {
  const Intent& intent = job->intent;
  auto key = c_.ns.inodes.key_of(intent.ino);
  auto new_key = c_.ns.inodes.child_key(intent.new_parent, intent.new_name);
  if (!key.ok() || !new_key.ok()) return job->done(Error{Code::kNotFound, intent.name});
  job->change = c_.ledger.begin();
  const uint64_t place = InodeQueue::key_place(*new_key);
  std::vector<uint64_t> places{intent.ino, InodeQueue::key_place(*key), place};
  if (job->target != 0) places.push_back(job->target);
  c_.queue.run_all(std::move(places), {intent.parent, intent.new_parent}, [this, job](InodeQueue::Turn turn) {
    job->turn = std::move(turn);
    begin(job);
  });
  if (c_.queue.busy_behind(place)) removals_.hurry(*new_key);
}

void Renames::begin(const JobPtr& job) {
  Intent& intent = job->intent;
  auto inode = c_.ns.inodes.get(intent.ino);
  auto key = c_.ns.inodes.key_of(intent.ino);
  auto new_key = c_.ns.inodes.child_key(intent.new_parent, intent.new_name);
  if (!inode.ok() || !key.ok() || !new_key.ok()) return end(job, Error{Code::kNotFound, intent.name});
  if (!moves_locally(*job, *inode) && !on_s3(intent.ino, *inode) &&
      job->tries++ < kMaxTries) {  // what lies there was sent since
    job->turn.reset();
    c_.ledger.end(std::exchange(job->change, 0));
    return save(job);
  }
  intent.key = std::move(*key);
  intent.new_key = std::move(*new_key);
  intent.etag = inode->etag;
  intent.last_modified_s = inode->last_modified_s;
  job->inode = std::move(*inode);
  job->ext = c_.ext_of_ino(intent.ino);
  job->known = job->inode.source != AttrSource::kListing;
  if (on_s3(intent.ino, job->inode)) return hold(job);
  move_local(job);
}

void Renames::move_local(const JobPtr& job) {
  const auto durable = [this, job](const Status& s) {
    if (!s.ok()) return end(job, s);
    crash_point("rename-local-promised");
    c_.drafts.renamed(job->intent.ino, job->no_replace);
    removals_.discard(job->target, false);
    removals_.keep_directories({job->intent.parent});
    end(job, Status());
  };
  if (Status s = c_.edits.move_local(job->intent, c_.outstanding.wrap(durable)); !s.ok()) end(job, s);
}

void Renames::hold(const JobPtr& job) {
  // On record before the copy: after a crash nobody else would know it for half a rename.
  const auto durable = c_.outstanding.wrap([this, job](const Status& s) {
    if (!s.ok()) return fail(job, s.error());
    crash_point("rename-held");
    copy(job);
  });
  if (Status s = c_.edits.hold(job->intent, &job->seq, durable); !s.ok()) end(job, s);
}

void Renames::copy(const JobPtr& job) {
  const Intent& intent = job->intent;
  ObjectCopier::Copy copy;
  copy.source_key = intent.key;
  copy.key = intent.new_key;
  copy.etag = intent.etag;
  copy.size = job->inode.size;
  if (job->known) {
    Ext ext = job->ext;
    rename_headers(ext, intent.key, c_.options);
    job->inode.ctime_ns = intent.made_at_ns;  // by which replay knows the copy for ours
    copy.replace = true;
    copy.headers = c_.headers(job->inode, ext, intent.new_key);
  } else {
    copy.headers = mount_headers({}, c_.options);
  }
  copy.if_none_match = job->no_replace && !job->unconditional && c_.ns.s3.conditions_supported();
  copier_.copy(std::move(copy), [this, job](const Result<s3::Written>& written) { copied(job, written); });
}

void Renames::copied(const JobPtr& job, const Result<s3::Written>& written) {
  crash_point("rename-copied");
  if (written.ok()) return move(job, written->etag, written->last_modified);
  if (written.is(Code::kUnsupported) && job->no_replace && !std::exchange(job->unconditional, true))
    return copy(job);
  if (written.is(Code::kStale) && ++job->tries < kMaxTries) return again(job);
  fail(job, written.error());
}

// Another version lies there now: that one moves.
void Renames::again(const JobPtr& job) {
  c_.edits.release(job->seq, job->intent);
  c_.names.revalidate(job->intent.ino, [this, job](const Result<Entry>& now) {
    if (!now.ok()) return end(job, now.error());
    begin(job);
  });
}

void Renames::move(const JobPtr& job, const std::string& etag, int64_t last_modified) {
  const Intent& intent = job->intent;
  Intent removal;
  removal.op = Intent::Op::kRemove;
  removal.promised = true;
  removal.parent = intent.parent;
  removal.name = intent.name;
  removal.key = intent.key;
  removal.etag = intent.etag;
  removal.last_modified_s = intent.last_modified_s;
  removal.made_at_ns = c_.ns.now();
  const auto edit = [&](Inode& inode) {
    if (inode.kind == Kind::kFile && inode.lineage == 0) inode.lineage = version_of(inode);
    inode.etag = etag;
    inode.last_modified_s = last_modified;
    if (job->known) inode.ctime_ns = job->inode.ctime_ns;
    if (job->known && inode.source == AttrSource::kHeadYoung) inode.source = AttrSource::kHead;
  };
  auto next = std::make_shared<uint64_t>(0);
  const auto durable = [this, job, removal, next, etag](const Status& s) {
    if (!s.ok()) {
      c_.edits.lost(*next, removal);
      return end(job, s);
    }
    crash_point("rename-promised");
    // By now its record has the new key; its next upload waits for this turn.
    c_.drafts.object_copied(job->intent.ino, job->intent.etag, etag);
    removals_.discard(job->target, false);
    removals_.start(*next, removal, false, std::exchange(job->change, 0));
    end(job, Status());
  };
  const Status s =
      c_.edits.move(job->seq, intent, removal, edit, {}, next.get(), c_.outstanding.wrap(durable));
  if (!s.ok()) fail(job, s.error());
}

void Renames::fail(const JobPtr& job, const Error& error) {
  if (error.code == Code::kCancelled) {  // the next mount looks what became of it
    job->turn.reset();
    return job->done(error);
  }
  c_.edits.release(job->seq, job->intent);
  end(job, error);
}

void Renames::end(const JobPtr& job, const Status& status) {
  job->turn.reset();
  job->done(status);
  if (job->change != 0) c_.ledger.end(job->change);
}

// --- after a crash

void Renames::resume(uint64_t seq, const Intent& intent) {
  if (intent.op == Intent::Op::kRenameTree) return trees_->resume(seq, intent);
  auto job = std::make_shared<Job>();
  job->intent = intent;
  job->seq = seq;
  job->done = [](const Status&) {};
  job->change = c_.ledger.begin();
  auto inode = c_.ns.inodes.get(intent.ino);
  if (inode.ok()) job->inode = std::move(*inode);
  c_.queue.run_all({intent.ino, InodeQueue::key_place(intent.key), InodeQueue::key_place(intent.new_key)}, {},
                   [this, job](InodeQueue::Turn turn) {
                     job->turn = std::move(turn);
                     look(job);
                   });
}

// The copy is there, as good as the source: the rename is finished. Else nothing of it happened.
void Renames::look(const JobPtr& job) {
  crash_point("replay-rename");
  c_.ns.s3.head(
      job->intent.new_key, s3::Priority::kBackground, [this, job](const Result<s3::ObjectInfo>& info) {
        if (info.is(Code::kCancelled)) return job->turn.reset();
        const std::string* ctime = info.ok() ? info->header(kCtimeHeader) : nullptr;
        const bool stamped = ctime != nullptr && parse_time_ns(*ctime) == job->intent.made_at_ns;
        const bool equal = info.ok() && !job->intent.etag.empty() && info->etag == job->intent.etag &&
                           info->last_modified >= job->intent.made_at_ns / 1'000'000'000 - 1;
        const bool same = info.ok() && (stamped || equal) && info->size == job->inode.size;
        if (!same) {
          c_.edits.release(job->seq, job->intent);
          return end(job, Status());
        }
        c_.ns.s3.head(job->intent.key, s3::Priority::kBackground,
                      [this, job, copy = *info](const Result<s3::ObjectInfo>& source) {
                        if (source.ok() && source->etag == job->intent.etag) {
                          return move(job, copy.etag, copy.last_modified);
                        }
                        c_.edits.release(job->seq, job->intent);
                        end(job, Status());
                      });
      });
}

}  // namespace s3cache::core
