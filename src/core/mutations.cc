#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <utility>

#include "base/crash_point.h"
#include "base/log.h"
#include "core/mutations_impl.h"
#include "core/xattrs.h"

namespace s3cache::core {

using meta::Ext;
using meta::Inode;
using meta::Intent;
using meta::Kind;

std::unique_ptr<Mutations> Mutations::make(Inodes& inodes, Namespace& names, s3::S3Client& s3,
                                           DraftHost& drafts, InodeQueue& queue, ChangeListener* listener,
                                           Clock& clock, const NamespaceOptions& names_options,
                                           const UploadOptions& options) {
  return std::make_unique<MutationsImpl>(inodes, names, s3, drafts, queue, listener, clock, names_options,
                                         options);
}

MutationsImpl::MutationsImpl(Inodes& inodes, Namespace& names, s3::S3Client& s3, DraftHost& drafts,
                             InodeQueue& queue, ChangeListener* listener, Clock& clock,
                             const NamespaceOptions& names_options, const UploadOptions& options)
    : c_(inodes, names, s3, drafts, queue, listener, clock, names_options, options,
         [this](const std::vector<uint64_t>& dirs) { removals_.keep_directories(dirs); }),
      removals_(c_),
      maker_(c_, removals_),
      attributes_(c_, removals_),
      renames_(c_, removals_) {}

// --- new names

template <class T>
Callback<T> MutationsImpl::touching(uint64_t parent, Callback<T> done) {
  if (!c_.options.update_parent_dir_stat) return done;
  return [this, parent, done = std::move(done)](Result<T> result) {
    if (!result.ok()) return done(std::move(result));
    const int64_t now = c_.ns.now();
    const auto edit = [now](Inode& inode, Ext&) {
      inode.mtime_ns = inode.ctime_ns = now;
      return Status();
    };
    // What was asked for is done; the directory's time is no reason to say otherwise.
    attributes_.change(parent, edit,
                       [done, result = std::move(result)](const Result<Entry>&) { done(result); });
  };
}

void MutationsImpl::existing(const ChangeContext::Place& place, bool exclusive,
                             const Callback<NewFile>& done) {
  if (exclusive || place.inode.kind != Kind::kFile)
    return done(Error{Code::kExists, place.inode.name + " exists"});
  c_.names.getattr({}, place.ino, [ino = place.ino, done](const Result<Entry>& entry) {
    if (!entry.ok()) return done(entry.error());
    done(NewFile{ino, true, *entry});
  });
}

void MutationsImpl::create(uint64_t parent, std::string name, NewNode node, bool exclusive,
                           Callback<NewFile> done) {
  auto key = c_.key_for(parent, name, false);
  if (!key.ok()) return done(key.error());
  done = touching(parent, std::move(done));
  c_.locate(parent, name, [=, this, key = *key](const Result<ChangeContext::Place>& place) {
    if (!place.ok()) return done(place.error());
    if (place->found) return existing(*place, exclusive, done);
    Inode inode;
    inode.parent = parent;
    inode.name = name;
    inode.kind_known = inode.has_owner = true;
    inode.source = meta::AttrSource::kLocal;
    inode.mode = S_IFREG | (node.mode & 07777);
    inode.uid = node.uid;
    inode.gid = node.gid;
    inode.mtime_ns = inode.ctime_ns = inode.atime_ns = c_.ns.now();
    Intent intent;
    intent.op = Intent::Op::kCreate;
    intent.key = key;
    intent.made_at_ns = c_.ns.now();
    NameRecords::Made made;
    if (Status s = c_.edits.make(inode, {}, intent, &made, nullptr); !s.ok()) return done(s.error());
    // Its first upload comes after a deletion of the same key that was asked for before.
    crash_point("create-recorded");
    const uint64_t key_place = InodeQueue::key_place(key);
    c_.queue.run_all({made.ino, key_place}, {}, [](const InodeQueue::Turn&) {});
    if (c_.queue.busy_behind(key_place)) removals_.hurry(key);
    inode.lineage = made.ino;
    done(NewFile{made.ino, false, c_.entry(made.ino, inode)});
  });
}

void MutationsImpl::mkdir(uint64_t parent, std::string name, NewNode node, Callback<Entry> done) {
  node.mode = S_IFDIR | (node.mode & 07777);
  maker_.make(parent, std::move(name), node, "", touching(parent, std::move(done)));
}

void MutationsImpl::mknod(uint64_t parent, std::string name, NewNode node, Callback<Entry> done) {
  if (S_ISDIR(node.mode) || S_ISLNK(node.mode)) return done(Error{Code::kInvalid, "mknod of another kind"});
  maker_.make(parent, std::move(name), node, "", touching(parent, std::move(done)));
}

void MutationsImpl::symlink(uint64_t parent, std::string name, std::string target, NewNode node,
                            Callback<Entry> done) {
  node.mode = S_IFLNK | 0777;
  maker_.make(parent, std::move(name), node, std::move(target), touching(parent, std::move(done)));
}

// --- names that go

void MutationsImpl::unlink(uint64_t parent, std::string name, Callback<void> done) {
  removals_.unlink(parent, std::move(name), touching(parent, std::move(done)));
}

void MutationsImpl::rmdir(uint64_t parent, std::string name, Callback<void> done) {
  removals_.rmdir(parent, std::move(name), touching(parent, std::move(done)));
}

void MutationsImpl::rename(uint64_t parent, std::string name, uint64_t new_parent, std::string new_name,
                           unsigned flags, Callback<void> done) {
  done = touching(parent, std::move(done));
  if (parent != new_parent) done = touching(new_parent, std::move(done));
  renames_.rename(parent, std::move(name), new_parent, std::move(new_name), flags, std::move(done));
}

// --- attributes

void MutationsImpl::setattr(uint64_t ino, SetAttr what, Callback<Entry> done) {
  const int64_t now = c_.ns.now();
  const auto edit = [what, now, this](Inode& inode, Ext&) {
    if (what.mode) {
      // A directory's and a file's type is in its kind; a device's only here.
      const uint32_t type = inode.kind == Kind::kDirectory ? uint32_t{S_IFDIR}
                            : inode.kind == Kind::kFile    ? uint32_t{S_IFREG}
                                                           : inode.mode & S_IFMT;
      inode.mode = type | (*what.mode & 07777);
    }
    if (what.uid || what.gid) {
      // The one that is not set stays what is shown.
      if (!inode.has_owner) {
        inode.uid = c_.ns.options.default_uid;
        inode.gid = c_.ns.options.default_gid;
      }
      inode.has_owner = true;
      inode.uid = what.uid.value_or(inode.uid);
      inode.gid = what.gid.value_or(inode.gid);
    }
    inode.atime_ns = what.atime_ns.value_or(inode.atime_ns);
    inode.mtime_ns = what.mtime_ns.value_or(inode.mtime_ns);
    inode.ctime_ns = what.ctime_ns.value_or(now);
    return Status();
  };
  attributes_.change(ino, edit, std::move(done));
}

namespace {

Status check_xattr_name(std::string_view name) {
  if (is_own_xattr(name) || name.starts_with("user.s3cache.")) {
    return Error{Code::kUnsupported, std::string(name) + " is the mount's own"};
  }
  static constexpr std::string_view kSpaces[] = {"user.", "security.", "trusted."};
  for (const std::string_view space : kSpaces) {
    if (name.starts_with(space) && name.size() > space.size()) return {};
  }
  if (name == "system.posix_acl_access" || name == "system.posix_acl_default") return {};
  return Error{Code::kUnsupported, std::string(name) + " is of a kind that is not stored"};
}

}  // namespace

void MutationsImpl::setxattr(uint64_t ino, std::string name, std::string value, int flags,
                             Callback<void> done) {
  if (Status s = check_xattr_name(name); !s.ok()) return done(s);
  const int64_t now = c_.ns.now();
  const auto edit = [name, value = std::move(value), flags, now](Inode& inode, Ext& ext) -> Status {
    auto all = decode_xattrs(ext.xattrs);
    const auto it =
        std::find_if(all.begin(), all.end(), [&name](const auto& xattr) { return xattr.first == name; });
    if (it != all.end() && (flags & XATTR_CREATE) != 0) return Error{Code::kExists, name + " exists"};
    if (it == all.end() && (flags & XATTR_REPLACE) != 0)
      return Error{Code::kNotFound, "no attribute " + name};
    if (it != all.end()) {
      it->second = value;
    } else {
      all.emplace_back(name, value);
    }
    ext.xattrs = encode_xattrs(std::move(all));
    // Not every name can be written so that it can be read again.
    if (decode_xattrs(ext.xattrs).empty())
      return Error{Code::kInvalid, "an attribute's name that is no UTF-8"};
    inode.ctime_ns = now;
    return {};
  };
  attributes_.change(ino, edit, [done = std::move(done)](const Result<Entry>& entry) {
    done(entry.ok() ? Status() : Status(entry.error()));
  });
}

void MutationsImpl::removexattr(uint64_t ino, std::string name, Callback<void> done) {
  if (Status s = check_xattr_name(name); !s.ok()) return done(s);
  const int64_t now = c_.ns.now();
  const auto edit = [name, now](Inode& inode, Ext& ext) -> Status {
    auto all = decode_xattrs(ext.xattrs);
    if (std::erase_if(all, [&name](const auto& xattr) { return xattr.first == name; }) == 0) {
      return Error{Code::kNotFound, "no attribute " + name};
    }
    ext.xattrs = encode_xattrs(std::move(all));
    inode.ctime_ns = now;
    return {};
  };
  attributes_.change(ino, edit, [done = std::move(done)](const Result<Entry>& entry) {
    done(entry.ok() ? Status() : Status(entry.error()));
  });
}

// --- all of them

void MutationsImpl::settle(Callback<void> done) {
  c_.deletes.flush();
  c_.ledger.when_settled([done = std::move(done)] { done(Status()); });
}

}  // namespace s3cache::core
