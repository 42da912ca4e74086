// FakeFilesystem's changes of names.
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "fuse/fake_file.h"

namespace s3cache::fuse {
namespace {
Error read_only() { return {Code::kReadOnly, "read-only"}; }
}  // namespace

uint64_t FakeFilesystem::ino_of(uint64_t parent, const std::string& name) {
  MutexLock lock(mu_);
  auto& children = nodes_[parent].children;
  auto it = children.find(name);
  return it == children.end() ? 0 : it->second;
}

Result<uint64_t> FakeFilesystem::make(uint64_t parent, const std::string& name, core::NewNode node,
                                      const std::string& target) {
  if (ino_of(parent, name) != 0) return Error{Code::kExists, name};
  Node n;
  n.attr.mode = node.mode;
  n.attr.uid = node.uid;
  n.attr.gid = node.gid;
  n.attr.rdev = node.rdev;
  n.attr.nlink = S_ISDIR(node.mode) ? 2 : 1;
  n.attr.size = static_cast<int64_t>(target.size());
  n.target = target;
  if (S_ISREG(node.mode)) n.content = make_content("", true);
  return add(parent, name, std::move(n));
}

void FakeFilesystem::made(uint64_t parent, std::string name, core::NewNode node, std::string target,
                          core::Callback<core::Entry> done) {
  if (!writable_) return done(read_only());
  answer(kNames, parent, [=, this, done = std::move(done)] {
    auto ino = make(parent, name, node, target);
    if (!ino) return done(ino.error());
    core::Entry e;
    {
      MutexLock lock(mu_);
      e = entry_of(nodes_[*ino]);
    }
    done(e);
  });
}

void FakeFilesystem::mkdir(uint64_t parent, std::string name, core::NewNode node,
                           core::Callback<core::Entry> done) {
  made(parent, std::move(name), node, "", std::move(done));
}
void FakeFilesystem::mknod(uint64_t parent, std::string name, core::NewNode node,
                           core::Callback<core::Entry> done) {
  made(parent, std::move(name), node, "", std::move(done));
}
void FakeFilesystem::symlink(uint64_t parent, std::string name, std::string target, core::NewNode node,
                             core::Callback<core::Entry> done) {
  made(parent, std::move(name), node, std::move(target), std::move(done));
}

void FakeFilesystem::create(core::Caller, uint64_t parent, std::string name, core::NewNode node,
                            bool exclusive, OpenFlags how, core::Callback<core::Created> done) {
  if (!writable_) return done(read_only());
  answer(kNames, parent, [=, this, done = std::move(done)] {
    uint64_t ino = ino_of(parent, name);
    if (ino != 0 && exclusive) return done(Error{Code::kExists, name});
    if (ino == 0) ino = *make(parent, name, node, "");
    core::Created c;
    {
      MutexLock lock(mu_);
      Node& n = nodes_[ino];
      if (n.content) {
        if (how.truncate) resize(*n.content, &n, 0);
        write_fd(*n.content);
        c.entry = entry_of(n);
        c.file = std::make_shared<FakeOpenFile>(*this, n.attr, n.content, true, fail_backing_);
      }
    }
    if (c.file) {
      done(std::move(c));
    } else {
      done(Error{Code::kExists, name});
    }
  });
}

Status FakeFilesystem::take_away(uint64_t parent, const std::string& name, bool directory) {
  auto& children = nodes_[parent].children;
  auto it = children.find(name);
  if (it == children.end()) return Error{Code::kNotFound, name};
  Node& n = nodes_[it->second];
  if (directory != S_ISDIR(n.attr.mode))
    return Error{directory ? Code::kNotDirectory : Code::kIsDirectory, name};
  if (!n.children.empty()) return Error{Code::kNotEmpty, name};
  nodes_.erase(it->second);
  children.erase(it);
  return {};
}

void FakeFilesystem::unlink(uint64_t parent, std::string name, core::Callback<void> done) {
  if (!writable_) return done(read_only());
  answer(kNames, parent, [=, this, done = std::move(done)] {
    Status s;
    {
      MutexLock lock(mu_);
      s = take_away(parent, name, false);
    }
    done(s);
  });
}

void FakeFilesystem::rmdir(uint64_t parent, std::string name, core::Callback<void> done) {
  if (!writable_) return done(read_only());
  answer(kNames, parent, [=, this, done = std::move(done)] {
    Status s;
    {
      MutexLock lock(mu_);
      s = take_away(parent, name, true);
    }
    done(s);
  });
}

Status FakeFilesystem::move(uint64_t parent, const std::string& name, uint64_t new_parent,
                            const std::string& new_name, unsigned flags) {
  MutexLock lock(mu_);
  auto &from = nodes_[parent].children, &to = nodes_[new_parent].children;
  if (!from.contains(name)) return Error{Code::kNotFound, name};
  const bool there = to.contains(new_name);
  if (there && flags == RENAME_NOREPLACE) return Error{Code::kExists, new_name};
  if (flags == RENAME_EXCHANGE) {
    if (!there) return Error{Code::kNotFound, new_name};
    std::swap(from[name], to[new_name]);
    nodes_[from[name]].parent = parent;
  } else {
    if (there) {
      if (auto s = take_away(new_parent, new_name, S_ISDIR(nodes_[from[name]].attr.mode)); !s) return s;
    }
    to[new_name] = from[name];
    from.erase(name);
  }
  nodes_[to[new_name]].parent = new_parent;
  return {};
}

void FakeFilesystem::rename(uint64_t parent, std::string name, uint64_t new_parent, std::string new_name,
                            unsigned flags, core::Callback<void> done) {
  if (!writable_) return done(read_only());
  answer(kNames, parent,
         [=, this, done = std::move(done)] { done(move(parent, name, new_parent, new_name, flags)); });
}

void FakeFilesystem::setxattr(uint64_t ino, std::string name, std::string value, int flags,
                              core::Callback<void> done) {
  if (!writable_) return done(read_only());
  if (value.size() > 2000) return done(Error{Code::kTooBig, name});
  Status s;
  {
    MutexLock lock(mu_);
    auto& all = nodes_[ino].xattrs;
    const bool there = all.contains(name);
    if (there && flags == XATTR_CREATE) {
      s = Error{Code::kExists, name};
    } else if (!there && flags == XATTR_REPLACE) {
      s = Error{Code::kNotFound, name};
    } else {
      all[name] = value;
    }
  }
  done(s);
}

void FakeFilesystem::removexattr(uint64_t ino, std::string name, core::Callback<void> done) {
  if (!writable_) return done(read_only());
  Status s;
  {
    MutexLock lock(mu_);
    if (nodes_[ino].xattrs.erase(name) == 0) s = Error{Code::kNotFound, name};
  }
  done(s);
}

}  // namespace s3cache::fuse
