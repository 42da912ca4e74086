#include "core/node_maker.h"

#include <sys/stat.h>

#include <utility>

#include "base/crash_point.h"
#include "base/log.h"
#include "core/attributes.h"

namespace s3cache::core {

using meta::Ext;
using meta::Inode;
using meta::Intent;
using meta::Kind;

struct NodeMaker::Making {
  NameRecords::Made made;
  Intent intent;
  uint64_t change = 0;
  int tries = 0;
  Callback<Entry> done;  // null: answered
  InodeQueue::Turn turn;

  void answer(Result<Entry> result) {
    if (auto call = std::exchange(done, nullptr)) call(std::move(result));
  }
};

namespace {

// mkdir writes the permission bits only, as s3fs does; a later chmod the type too.
void permissions_only(s3::SentHeaders& headers, const Inode& inode) {
  for (auto& [name, value] : headers) {
    if (name == "x-amz-meta-mode") value = std::to_string(inode.mode & 07777);
  }
}

const std::string* header(const s3::SentHeaders& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (key == name) return &value;
  }
  return nullptr;
}

}  // namespace

void NodeMaker::make(uint64_t parent, std::string name, NewNode node, std::string target,
                     Callback<Entry> done) {
  Inode inode;
  inode.parent = parent;
  inode.name = name;
  inode.kind = kind_of_mode(node.mode);
  inode.kind_known = inode.has_owner = true;
  inode.source = meta::AttrSource::kLocal;
  inode.mode = (node.mode & S_IFMT) == 0 ? node.mode | S_IFREG : node.mode;
  inode.uid = node.uid;
  inode.gid = node.gid;
  if (S_ISCHR(node.mode) || S_ISBLK(node.mode)) inode.rdev = node.rdev;
  inode.mtime_ns = inode.ctime_ns = inode.atime_ns = c_.ns.now();
  Ext ext;
  if (inode.kind == Kind::kSymlink) {
    if (target.empty()) return done(Error{Code::kInvalid, "a symlink to nothing"});
    if (target.size() > static_cast<size_t>(kMaxSymlink)) {
      return done(Error{Code::kNameTooLong, "a symlink's target of over 4,095 bytes"});
    }
    inode.size = inode.base_len = static_cast<int64_t>(target.size());
    ext.symlink = std::move(target);
  }
  auto key = c_.key_for(parent, name, inode.kind == Kind::kDirectory);
  if (!key.ok()) return done(key.error());
  auto making = std::make_shared<Making>();
  making->done = std::move(done);
  making->intent.op = Intent::Op::kMake;
  making->intent.promised = c_.options.writeback;
  making->intent.key = std::move(*key);
  making->intent.made_at_ns = c_.ns.now();
  making->intent.is_dir = inode.kind == Kind::kDirectory;
  making->intent.parent = parent;
  making->intent.name = name;
  c_.locate(parent, name, [this, making, inode, ext](const Result<ChangeContext::Place>& place) {
    if (!place.ok()) return making->answer(place.error());
    if (place->found) return making->answer(Error{Code::kExists, inode.name + " exists"});
    write_records(making, inode, ext);
  });
}

void NodeMaker::write_records(const MakingPtr& making, const Inode& inode, const Ext& ext) {
  making->change = c_.ledger.begin();
  NameRecords::Durable durable;
  if (making->intent.promised) {
    durable = c_.outstanding.wrap([this, making, inode](const Status& s) {
      if (s.ok()) {
        making->answer(c_.entry(making->made.ino, inode));
        return enlist(making);
      }
      c_.edits.lost(making->made.seq, making->intent);
      c_.ledger.end(making->change);
      making->answer(s.error());
    });
  }
  if (Status s = c_.edits.make(inode, ext, making->intent, &making->made, durable); !s.ok()) {
    c_.ledger.end(making->change);
    return making->answer(s.error());
  }
  crash_point("make-recorded");
  if (!making->intent.promised) enlist(making);
}

void NodeMaker::resume(uint64_t seq, const Intent& intent) {
  auto making = std::make_shared<Making>();
  making->made = {intent.ino, seq};
  making->intent = intent;
  making->change = c_.ledger.begin();
  enlist(making);
}

void NodeMaker::enlist(const MakingPtr& making) {
  const std::string& key = making->intent.key;
  const uint64_t place = InodeQueue::key_place(key);
  c_.queue.run_all({making->made.ino, place}, {}, [this, making](InodeQueue::Turn turn) {
    making->turn = std::move(turn);
    put(making);
  });
  if (c_.queue.busy_behind(place)) removals_.hurry(key);
}

void NodeMaker::put(const MakingPtr& making) {
  const uint64_t ino = making->made.ino;
  const auto inode = c_.ns.inodes.get(ino);
  auto key = c_.ns.inodes.key_of(ino);
  if (!inode.ok() || !key.ok())
    return failed(making, Error{Code::kNotFound, making->intent.name + " was removed"});
  if ((inode->flags & meta::kUnlinked) != 0 && making->tries == 0) return removed(making, *inode);
  const Ext ext = c_.ext_of_ino(ino);
  s3::PutRequest request;
  request.key = *key;
  request.headers = c_.headers(*inode, ext, *key);
  if (making->intent.is_dir) permissions_only(request.headers, *inode);
  if (!ext.symlink.empty()) request.body = s3::string_body(ext.symlink);
  request.if_none_match = c_.ns.s3.conditions_supported();
  const s3::SentHeaders headers = request.headers;
  c_.ns.s3.put(std::move(request), [this, making, key = *key, headers](const Result<s3::Written>& written) {
    on_put(making, key, headers, written);
  });
}

// Before its turn came: the removal ends it, and finds what an earlier mount may have sent.
void NodeMaker::removed(const MakingPtr& making, const Inode& inode) {
  c_.edits.confirm(making->made.seq, making->made.ino, [](Inode&) {});
  making->turn.reset();
  making->answer(c_.entry(making->made.ino, inode));
  c_.ledger.end(making->change);
}

void NodeMaker::on_put(const MakingPtr& making, const std::string& key, const s3::SentHeaders& headers,
                       const Result<s3::Written>& written) {
  crash_point("make-answered");
  if (written.ok()) return confirm(making, written->etag, written->last_modified);
  // conditions_supported() is false from now on.
  if (written.is(Code::kUnsupported) && making->tries++ == 0) return put(making);
  if (written.is(Code::kExists)) return look(making, key, headers, written.error());
  failed(making, written.error());
}

// Is what is there ours?
void NodeMaker::look(const MakingPtr& making, const std::string& key, const s3::SentHeaders& headers,
                     const Error& error) {
  c_.ns.s3.head(key, s3::Priority::kForeground,
                [this, making, headers, error](const Result<s3::ObjectInfo>& info) {
                  if (!info.ok()) return failed(making, error);
                  const std::string* sent = header(headers, kCtimeHeader);
                  const std::string* found = info->header(kCtimeHeader);
                  if (sent == nullptr || found == nullptr || *sent != *found) return failed(making, error);
                  confirm(making, info->etag, info->last_modified);
                });
}

void NodeMaker::confirm(const MakingPtr& making, const std::string& etag, int64_t last_modified) {
  const uint64_t ino = making->made.ino;
  c_.edits.confirm(making->made.seq, ino, [&](Inode& inode) {
    inode.etag = etag;
    inode.last_modified_s = last_modified;
    inode.source = meta::AttrSource::kHead;
  });
  crash_point("make-confirmed");
  making->turn.reset();
  const auto inode = c_.ns.inodes.get(ino);
  making->answer(inode.ok() ? Result<Entry>(c_.entry(ino, *inode)) : Result<Entry>(inode.error()));
  c_.ledger.end(making->change);
}

void NodeMaker::failed(const MakingPtr& making, const Error& error) {
  const bool promised = making->intent.promised;
  if (error.code == Code::kCancelled && promised) {  // at the next mount
    making->turn.reset();
    return;
  }
  if (promised && worth_repeating(error.code)) {
    if (making->tries == 0)
      log::warn("{} cannot be made now, trying on: {}", making->intent.key, error.message);
    c_.try_later(making->change, making->intent.key, error, ++making->tries, [this, making] { put(making); });
    return;
  }
  // kNotFound: it was removed again before its turn came.
  if (promised && error.code != Code::kNotFound)
    log::error("{} was promised and cannot be made: {}", making->intent.key, error.message);
  // It may be there all the same, by this request or by somebody else's: the next question finds out.
  const bool unsure =
      worth_repeating(error.code) || error.code == Code::kExists || error.code == Code::kCancelled;
  if (unsure) {
    c_.edits.doubt(making->made.seq, making->made.ino);
  } else {
    c_.edits.retract(making->made.seq, making->made.ino);
  }
  if (promised && c_.ns.listener != nullptr) {
    c_.ns.listener->entry_removed(making->intent.parent, making->intent.name);
  }
  making->turn.reset();
  making->answer(error);
  c_.ledger.end(making->change);
}

}  // namespace s3cache::core
