#include "core/dir_reader.h"

#include <dirent.h>

#include <algorithm>
#include <utility>

#include "base/bytes.h"

namespace s3cache::core {

using meta::Dirent;
using meta::Inode;
using meta::Table;

Status DirReader::begin() {
  auto inode = c_.inodes.get(dir_);
  if (!inode.ok()) return Error{Code::kStale, inode.error().message};
  if (inode->kind != meta::Kind::kDirectory)
    return Error{Code::kNotDirectory, inode->name + " is not a directory"};
  parent_ = dir_ == meta::kRootIno ? dir_ : inode->parent;
  leave();
  c_.dir_use.touch(dir_, c_.now());
  auto dir = load_record<meta::Dir>(c_.store(), Table::kDir, meta::id_key(dir_));
  if (!dir.ok()) return dir.error();
  begun_ = true;
  if (*dir && (*dir)->complete && c_.fresh((*dir)->listed_at_ns)) {
    listed_at_ns_ = (*dir)->listed_at_ns;
    if (c_.options.ttl_since_access && c_.left_ms(listed_at_ns_) < c_.options.ttl_ms / 2) {
      (*dir)->listed_at_ns = c_.now();
      meta::Batch batch;
      batch.put(Table::kDir, meta::id_key(dir_), (*dir)->encode());
      c_.store().apply(std::move(batch));
    }
    listings_.walks().read(dir_);
    return {};
  }
  awaiting_ = !std::exchange(walked_, true) && await_walk();
  if (awaiting_) return {};
  auto listing = listings_.join(dir_);
  if (!listing.ok()) return listing.error();
  listing_ = std::move(*listing);
  listed_at_ns_ = listing_->started_at_ns();
  listing_->add_reader();
  return {};
}

bool DirReader::await_walk() {
  {
    MutexLock lock(mu_);
    walking_ = true;  // before it can be over
  }
  if (listings_.walks().await(dir_, [self = shared_from_this()] { self->walk_over(); })) return true;
  MutexLock lock(mu_);
  walking_ = false;
  return false;
}

void DirReader::walk_over() {
  std::shared_ptr<Call> call;
  {
    MutexLock lock(mu_);
    walking_ = false;
    call.swap(parked_);
  }
  if (call) serve(call);
}

bool DirReader::walking() {
  MutexLock lock(mu_);
  return walking_;
}

bool DirReader::park(const std::shared_ptr<Call>& call) {
  MutexLock lock(mu_);
  if (walking_) parked_ = call;
  return walking_;
}

void DirReader::leave() {
  if (listing_) listing_->drop_reader();
  listing_.reset();
  late_noted_ = 0;
  begun_ = awaiting_ = false;
}

void DirReader::seek(uint64_t cookie) {
  buffer_.clear();
  missed_.clear();
  last_cookie_ = cookie;
  dots_ = static_cast<int>(std::min<uint64_t>(cookie, 2));
  if (cookie < kCookieBase) {
    position_.clear();
    return;
  }
  const auto known =
      std::find_if(given_.begin(), given_.end(), [cookie](const auto& g) { return g.first == cookie; });
  if (known != given_.end()) {
    position_ = known->second;
    return;
  }
  const auto inode = c_.inodes.get(cookie - kCookieBase);
  if (!inode.ok() || inode->parent != dir_) return;
  position_ = inode->name;
  if (inode->kind == meta::Kind::kDirectory) position_ += '/';
}

void DirReader::read(uint64_t cookie, bool plus, std::shared_ptr<DirSink> sink, Callback<bool> done) {
  {
    MutexLock lock(mu_);
    while (ahead_) cv_.wait(mu_);
    calling_ = true;
  }
  if (cookie != last_cookie_) {
    seek(cookie);
    if (cookie == 0) begun_ = walked_ = false;  // rewinddir: what changed since shall be seen
  }
  auto call = std::make_shared<Call>();
  call->plus = plus;
  call->sink = std::move(sink);
  call->done = std::move(done);
  serve(call);
}

void DirReader::serve(const std::shared_ptr<Call>& call) {
  const auto answer = advance(call);
  if (!answer) return;
  const bool more = answer->ok() && **answer && !listing_ && !awaiting_;
  {
    MutexLock lock(mu_);
    calling_ = false;
  }
  call->done(*answer);
  if (more) read_ahead();
}

void DirReader::read_ahead() {
  {
    MutexLock lock(mu_);
    if (calling_ || ahead_) return;
    ahead_ = true;
  }
  // An error is met again by the call that needs the names.
  if (begun_ && !listing_ && buffer_.size() < kFirst) (void)fill({"", true, {}, 0}, kPage);
  MutexLock lock(mu_);
  ahead_ = false;
  cv_.notify_all();
}

std::optional<Result<bool>> DirReader::advance(const std::shared_ptr<Call>& call) {
  if (!begun_) {
    if (Status s = begin(); !s.ok()) return s.error();
  }
  for (;;) {
    if (!give_dots(*call) || !give_items(*call)) return true;
    if (awaiting_) {
      if (call->gave && walking()) return true;
      if (park(call)) return std::nullopt;
      awaiting_ = false;
      if (Status s = begin(); !s.ok()) return s.error();
    }
    const Listing::View view = listing_ ? listing_->view() : Listing::View{"", true, {}, 0};
    const auto filled = fill(view, kFirst);
    if (!filled.ok()) return filled.error();
    if (*filled == Filled::kSome) continue;
    if (*filled == Filled::kEnd) return false;
    if (call->gave) return true;
    if (view.error) {
      const bool moved = view.error->code == Code::kCancelled;
      leave();
      if (!moved) return *view.error;
      if (Status s = begin(); !s.ok()) return s.error();
      // At shutdown everything is cancelled, the new listing too.
      if (++call->moves > kMaxMoves) return *view.error;
      continue;
    }
    auto self = shared_from_this();
    if (listing_->wait(view.generation, [self, call] { self->serve(call); })) return std::nullopt;
  }
}

bool DirReader::give(Call& call, const Item& item) {
  DirItem out;
  const bool directory = item.tail.back() == '/';
  out.name = std::string_view(item.tail).substr(0, item.tail.size() - (directory ? 1 : 0));
  out.ino = item.ino;
  out.cookie = item.ino + kCookieBase;
  out.d_type = item.d_type;
  out.entry = call.plus && item.has_entry ? &item.entry : nullptr;
  if (!call.sink->add(out)) return false;
  call.gave = true;
  last_cookie_ = out.cookie;
  return true;
}

bool DirReader::give_dots(Call& call) {
  for (; dots_ < 2; dots_++) {
    DirItem out;
    out.name = dots_ == 0 ? "." : "..";
    out.ino = dots_ == 0 ? dir_ : parent_;
    out.cookie = dots_ == 0 ? kCookieDot : kCookieDotDot;
    out.d_type = DT_DIR;
    if (!call.sink->add(out)) return false;
    call.gave = true;
    last_cookie_ = out.cookie;
  }
  return true;
}

bool DirReader::give_items(Call& call) {
  for (; !buffer_.empty(); buffer_.pop_front()) {
    Item& item = buffer_.front();
    if (!give(call, item)) return false;
    given_.emplace_back(last_cookie_, std::move(item.tail));
    if (given_.size() > kRemembered) given_.pop_front();
  }
  return true;
}

Result<DirReader::Filled> DirReader::fill(const Listing::View& view, size_t limit) {
  const std::string prefix = be64(dir_);
  std::string from = prefix;
  if (!position_.empty()) from += position_ + '\0';
  std::vector<Name> names;
  bool at_frontier = false;
  const auto gather = [&](std::string_view key, std::string_view value) {
    key.remove_prefix(prefix.size());
    if (!view.done && key > view.frontier) {
      at_frontier = true;
      return false;
    }
    names.push_back({std::string(key), Dirent::decode(value).value_or(Dirent())});
    return true;
  };
  note_late();
  if (!view.done && position_ >= view.frontier) return Filled::kNothing;
  const auto snapshot = c_.store().snapshot();
  if (Status s = snapshot->scan(Table::kDirent, from, prefix, limit, gather); !s.ok()) return s.error();
  if (Status s = load_items(*snapshot, names); !s.ok()) return s.error();
  if (!names.empty()) position_ = names.back().tail;
  if (names.size() == limit || !buffer_.empty()) return Filled::kSome;
  if (!view.done) {
    if (!at_frontier) position_ = view.frontier;
    return Filled::kNothing;
  }
  return fill_missed();
}

void DirReader::note_late() {
  if (!listing_) return;
  const auto late = listing_->late_names(late_noted_);
  late_noted_ += late.size();
  for (const std::string& tail : late) {
    if (tail <= position_) missed_.push_back(tail);
  }
}

Result<DirReader::Filled> DirReader::fill_missed() {
  if (missed_.empty()) return Filled::kEnd;
  std::vector<Name> names;
  const auto snapshot = c_.store().snapshot();
  for (const std::string& tail : missed_) {
    auto dirent = load_record<Dirent>(*snapshot, Table::kDirent, be64(dir_) + tail);
    if (!dirent.ok()) return dirent.error();
    // The directory beside a late file was given in its place: one name is enough.
    if (tail.back() != '/' && std::find(missed_.begin(), missed_.end(), tail + '/') == missed_.end()) {
      auto directory = load_record<Dirent>(*snapshot, Table::kDirent, be64(dir_) + tail + '/');
      if (!directory.ok()) return directory.error();
      if (*directory && (*directory)->ino != 0) continue;
    }
    if (*dirent) names.push_back({tail, **dirent});
  }
  missed_.clear();
  if (Status s = load_items(*snapshot, names); !s.ok()) return s.error();
  // A name is in the store a moment before it is told to be late, and may have been given in its place then.
  std::erase_if(buffer_, [this](const Item& item) {
    const auto same = [&item](const auto& g) { return g.first == item.ino + kCookieBase; };
    return std::any_of(given_.begin(), given_.end(), same);
  });
  return Filled::kSome;
}

Status DirReader::load_items(meta::MetaStore::Snapshot& snapshot, const std::vector<Name>& names) {
  for (const Name& name : names) {
    if (name.dirent.ino == 0 || (listing_ && listing_->hides(name.tail))) continue;
    auto inode = load_record<Inode>(snapshot, Table::kInode, meta::id_key(name.dirent.ino));
    if (!inode.ok()) return inode.error();
    if (!*inode) continue;
    const bool directory = name.tail.back() == '/';
    if (directory) {
      auto hidden = shadowed(snapshot, name.tail);
      if (!hidden.ok()) return hidden.error();
      if (*hidden) continue;
    } else if ((*inode)->kind == meta::Kind::kDirectory) {
      continue;  // a marker: its directory has a dirent of its own
    }
    Item item;
    item.tail = name.tail;
    item.ino = name.dirent.ino;
    item.d_type = d_type_of(**inode, c_.options.attr);
    const int64_t checked = name.dirent.checked_at_ns;
    const int64_t ttl_ms = checked < 0 ? 0 : c_.left_ms(std::max(checked, listed_at_ns_));
    item.has_entry = ttl_ms > 0 && !needs_head(**inode, c_.options.attr, !c_.fresh(checked));
    if (item.has_entry) {
      item.entry = entry_of(item.ino, **inode, c_.options);
      item.entry.ttl_ms = ttl_ms;
    }
    buffer_.push_back(std::move(item));
  }
  return {};
}

Result<bool> DirReader::shadowed(meta::MetaStore::Snapshot& snapshot, const std::string& tail) {
  const std::string file_key = be64(dir_) + tail.substr(0, tail.size() - 1);
  auto file = load_record<Dirent>(snapshot, Table::kDirent, file_key);
  if (!file.ok()) return file.error();
  if (!*file || (*file)->ino == 0 || (listing_ && listing_->hides(file_key.substr(8)))) return false;
  auto inode = load_record<Inode>(snapshot, Table::kInode, meta::id_key((*file)->ino));
  if (!inode.ok()) return inode.error();
  return *inode && (*inode)->kind != meta::Kind::kDirectory;
}

}  // namespace s3cache::core
