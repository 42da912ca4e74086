// The read side of Draft: bytes of the work file, and of the base version where they are not there.
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "cache/file_io.h"
#include "core/draft.h"
#include "core/scratch.h"

namespace s3cache::core {

namespace {

// A READ of Content takes this much at most.
constexpr int64_t kMaxRead = 1 << 20;

// Several base reads of one question; the last answer completes it.
struct Gathering {
  std::vector<std::byte> bytes;
  std::atomic<size_t> left{1};
  Mutex mu;
  Status status GUARDED_BY(mu);

  void failed(const Error& error) {
    MutexLock lock(mu);
    if (status.ok()) status = error;
  }
  // True for the last one.
  bool arrived() { return left.fetch_sub(1) == 1; }
  Status outcome() {
    MutexLock lock(mu);
    return status;
  }
};

std::vector<Range> in_pieces(const std::vector<Range>& runs) {
  std::vector<Range> out;
  for (const Range& r : runs)
    for (int64_t at = 0; at < r.length; at += kMaxRead)
      out.push_back({r.offset + at, std::min(kMaxRead, r.length - at)});
  return out;
}

size_t copy_out(ReadReply reply, std::span<std::byte> to) {
  size_t at = 0;
  for (const iovec& io : reply) {
    const size_t n = std::min(io.iov_len, to.size() - at);
    std::memcpy(to.data() + at, io.iov_base, n);
    at += n;
  }
  return at;
}

}  // namespace

std::vector<Range> Draft::missing(int64_t offset, int64_t length) const {
  const int64_t end = std::min(offset + length, base_len_);
  return end > offset && base_ ? local_.outside(offset, end - offset) : std::vector<Range>();
}

void Draft::read(int64_t offset, size_t length, Callback<ReadReply> done) {
  std::shared_ptr<UniqueFd> file;
  std::shared_ptr<Content> base;
  std::vector<Range> gaps;
  uint64_t drops = 0;
  const size_t asked = length;
  {
    MutexLock lock(mu_);
    if (offset >= size_ || length == 0) {
      lock.unlock();
      return done(ReadReply{});
    }
    length = static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(length), size_ - offset));
    gaps = missing(offset, static_cast<int64_t>(length));
    file = file_;
    base = base_;
    drops = drops_;
  }
  if (!gaps.empty()) {
    // Our own upload replaces the object that the base is read from: whoever meets that asks again after it.
    const auto composed = [self = shared_from_this(), base, done = std::move(done)](Result<ReadReply> reply) {
      if (!reply.ok()) {
        const auto again = [done, why = reply.error()] { done(Error{Code::kBusy, why.message}); };
        if (self->after_upload(again)) return;
        if (!self->builds_on(base)) return again();
      }
      done(std::move(reply));
    };
    return compose(offset, length, std::move(gaps), base, drops, composed);
  }
  const auto buffer = scratch(length);
  const ssize_t n = cache::read_fully(file->get(), offset, buffer);
  if (n < 0) return done(errno_error(errno, "read the work file"));
  if (dropped_since(drops)) return read(offset, asked, std::move(done));
  const iovec io{buffer.data(), static_cast<size_t>(n)};
  done(ReadReply(&io, 1));
}

bool Draft::after_upload(std::function<void()> done) {
  MutexLock lock(mu_);
  if (!sending_now_) return false;
  after_upload_.push_back(std::move(done));
  return true;
}

bool Draft::builds_on(const std::shared_ptr<Content>& base) const {
  MutexLock lock(mu_);
  return begun_ && base_ == base;
}

void Draft::compose(int64_t offset, size_t length, std::vector<Range> gaps, std::shared_ptr<Content> base,
                    uint64_t drops, Callback<ReadReply> done) {
  auto all = std::make_shared<Gathering>();
  all->bytes.resize(length);
  if (cache::read_fully(file()->get(), offset, all->bytes) < 0)
    return done(errno_error(errno, "read the work file"));
  if (dropped_since(drops)) return read(offset, length, std::move(done));
  auto finish = [all, done] {
    if (!all->arrived()) return;
    if (const Status s = all->outcome(); !s.ok()) return done(s.error());
    const iovec io{all->bytes.data(), all->bytes.size()};
    done(ReadReply(&io, 1));
  };
  for (const Range& gap : in_pieces(gaps)) {
    ++all->left;
    base->read(gap.offset, static_cast<size_t>(gap.length),
               [all, gap, offset, finish](Result<ReadReply> reply) {
                 const auto to = std::span(all->bytes).subspan(static_cast<size_t>(gap.offset - offset));
                 if (!reply.ok()) {
                   all->failed(reply.error());
                 } else if (copy_out(*reply, to.first(static_cast<size_t>(gap.length))) <
                            static_cast<size_t>(gap.length)) {
                   all->failed({Code::kIo, "the base version ends early"});
                 }
                 finish();
               });
  }
  finish();
}

// Bytes of the work file that were there when a reader looked went before it had read them.
bool Draft::dropped_since(uint64_t drops) const {
  MutexLock lock(mu_);
  return drops_ != drops;
}

int64_t Draft::drop_clean(Range range) {
  MutexLock io(io_mu_);
  // Whole pages only: nothing else is room.
  const int64_t begin = (range.offset + cache::kPage - 1) / cache::kPage * cache::kPage;
  const int64_t end = (range.offset + range.length) / cache::kPage * cache::kPage;
  std::vector<Range> clean;
  std::shared_ptr<UniqueFd> file;
  uint64_t fid = 0;
  {
    MutexLock lock(mu_);
    if (!begun_ || whole_ || !base_) return 0;
    for (const Range& r : local_.inside(begin, std::min(end, base_len_) - begin)) {
      for (const Range& c : dirty_.outside(r.offset, r.length))
        for (const Range& both : sending_.outside(c.offset, c.length)) {
          const int64_t from = (both.offset + cache::kPage - 1) / cache::kPage * cache::kPage;
          const int64_t to = (both.offset + both.length) / cache::kPage * cache::kPage;
          if (to > from) clean.push_back({from, to - from});
        }
    }
    if (clean.empty()) return 0;
    for (const Range& r : clean) local_.remove(r.offset, r.length);
    ++drops_;
    file = file_;
    fid = fid_;
  }
  int64_t freed = 0;
  for (const Range& r : clean) {
    if (::fallocate(file->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, r.offset, r.length) != 0)
      continue;
    for (const Range& c : charged_.inside(r.offset, r.length)) freed += c.length;
    charged_.remove(r.offset, r.length);
  }
  if (freed > 0) room_.freed(fid, freed);
  return freed;
}

// Base bytes go where nothing was written since: under the lock that writers hold.
Status Draft::merge(int64_t offset, ReadReply bytes) {
  MutexLock io(io_mu_);
  for (const iovec& piece : bytes) {
    const auto length = static_cast<int64_t>(piece.iov_len);
    std::vector<Range> gaps;
    std::shared_ptr<UniqueFd> file;
    {
      MutexLock lock(mu_);
      gaps = missing(offset, length);
      file = file_;
    }
    for (const Range& gap : gaps) {
      if (Status s = charge(gap.offset, gap.length, true); !s.ok()) return s;
      const auto* from = static_cast<const std::byte*>(piece.iov_base) + (gap.offset - offset);
      if (Status s =
              cache::write_all(file->get(), gap.offset, {from, static_cast<size_t>(gap.length)}, "work file");
          !s.ok())
        return s;
      MutexLock lock(mu_);
      local_.add(gap.offset, gap.length);
    }
    offset += length;
  }
  return {};
}

Result<std::shared_ptr<UniqueFd>> Draft::still_copy(const UniqueFd& file, Range range) {
  auto copy = room_.scratch_file(range.length);
  if (!copy.ok()) return copy;
  for (off_t from = range.offset, to = 0; to < range.length;) {
    const ssize_t n =
        ::copy_file_range(file.get(), &from, (*copy)->get(), &to, static_cast<size_t>(range.length - to), 0);
    if (n < 0 && errno != EINTR) return errno_error(errno, "copy a part of the work file");
    if (n > 0) continue;
    // Cut since the snapshot: what went reads as zeros. The cut itself goes up with the next one.
    if (::ftruncate((*copy)->get(), range.length) != 0) return errno_error(errno, "resize a copy");
    break;
  }
  return copy;
}

void Draft::materialize(Range range, std::function<void(Status)> done) {
  std::shared_ptr<Content> base;
  std::vector<Range> gaps;
  {
    MutexLock lock(mu_);
    gaps = missing(range.offset, range.length);
    base = base_;
  }
  auto all = std::make_shared<Gathering>();
  auto finish = [all, done = std::move(done)] {
    if (all->arrived()) done(all->outcome());
  };
  for (const Range& gap : in_pieces(gaps)) {
    ++all->left;
    base->read(gap.offset, static_cast<size_t>(gap.length),
               [self = shared_from_this(), all, gap, finish](Result<ReadReply> reply) {
                 Status merged = reply.ok() ? self->merge(gap.offset, *reply) : Status(reply.error());
                 if (!merged.ok()) all->failed(merged.error());
                 finish();
               });
  }
  finish();
}

}  // namespace s3cache::core
