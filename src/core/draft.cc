#include "core/draft.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/crash_point.h"
#include "cache/file_io.h"

namespace s3cache::core {

namespace {
// The largest object S3 takes.
constexpr int64_t kMaxObject = int64_t{5} << 40;

Error too_big(int64_t size) {
  return {Code::kTooBig, "a file of " + std::to_string(size) + " bytes: S3 takes 5 TiB at most"};
}

Range pages_of(int64_t offset, int64_t length) {
  const int64_t begin = offset / cache::kPage * cache::kPage;
  const int64_t end = (offset + length + cache::kPage - 1) / cache::kPage * cache::kPage;
  return {begin, end - begin};
}
}  // namespace

void Draft::begin(Start start) {
  std::shared_ptr<Content> gone;  // a Content's end calls out: never under a lock
  MutexLock io(io_mu_);
  charged_.clear();
  if (start.whole) {
    const Range all = pages_of(0, start.size);
    charged_.add(all.offset, all.length);
  }
  MutexLock lock(mu_);
  begun_ = true;
  whole_ = start.whole;
  fid_ = start.fid;
  file_ = std::move(start.file);
  size_ = start.size;
  base_len_ = start.base_len >= 0 ? start.base_len : start.base_etag.empty() ? 0 : start.size;
  gone = std::exchange(base_, std::move(start.base));
  base_etag_ = std::move(start.base_etag);
  base_size_ = start.base_size;
  readers_ = std::move(start.readers);
  local_.clear();
  if (start.whole) local_.add(0, size_);
  local_.add(start.dirty);
  dirty_ = std::move(start.dirty);
}

Result<std::shared_ptr<UniqueFd>> Draft::work_file() const {
  MutexLock lock(mu_);
  if (!begun_) return Error{Code::kBusy, "the draft has ended"};
  return file_;
}

bool Draft::begun() const {
  MutexLock lock(mu_);
  return begun_;
}

Status Draft::charge(int64_t offset, int64_t length, bool for_upload) {
  const Range pages = pages_of(offset, length);
  int64_t missing = 0;
  for (const Range& r : charged_.outside(pages.offset, pages.length)) missing += r.length;
  if (missing == 0) return {};
  uint64_t fid = 0;
  {
    MutexLock lock(mu_);
    fid = fid_;
  }
  if (!room_.take(fid, missing, for_upload))
    return Error{Code::kNoSpace, "the cache is full of data that is not on S3 yet, or its disk is"};
  charged_.add(pages.offset, pages.length);
  return {};
}

void Draft::touched(int64_t offset, int64_t length) {
  local_.add(offset, length);
  dirty_.add(offset, length);
  ++generation_;
  session_.touched(offset, length);
}

Result<int64_t> Draft::write_locked(int64_t offset, std::span<const std::byte> data) {
  const auto length = static_cast<int64_t>(data.size());
  if (offset > kMaxObject - length) return too_big(offset);
  auto file = work_file();
  if (!file.ok()) return file.error();
  if (Status s = charge(offset, length, false); !s.ok()) return s.error();
  const Status written = cache::write_all((*file)->get(), offset, data, "work file");
  crash_point("write-bytes");
  MutexLock lock(mu_);
  if (!written.ok()) return written.error();
  // What lies between the old end and this write is a hole of the work file: zeros, here and on S3.
  if (offset > size_) touched(size_, offset - size_);
  touched(offset, length);
  size_ = std::max(size_, offset + length);
  crash_point("write-bits");
  return size_;
}

Result<int64_t> Draft::write(int64_t offset, std::span<const std::byte> data) {
  MutexLock io(io_mu_);
  return write_locked(offset, data);
}

Result<int64_t> Draft::append(std::span<const std::byte> data) {
  MutexLock io(io_mu_);
  return write_locked(size(), data);
}

Result<int64_t> Draft::truncate(int64_t size) {
  if (size > kMaxObject) return too_big(size);
  std::shared_ptr<Content> gone;  // as in begin()
  MutexLock io(io_mu_);
  const auto file = work_file();
  if (!file.ok()) return file.error();
  {
    MutexLock lock(mu_);
    if (size == size_) {  // its mtime moves all the same
      attributes_ = true;
      ++generation_;
      return size_;
    }
    ++generation_;  // before the bytes go: an upload that misses them asks whether somebody cut the file
    // Bits before bytes where bytes go away: nobody may be told of a range that reads as zeros by then.
    if (size < size_) {
      local_.remove(size, size_ - size);
      dirty_.remove(size, size_ - size);
      base_len_ = std::min(base_len_, size);
      cut_ = std::min(cut_, size);
      session_.touched(size, size_ - size);
      if (base_len_ == 0) gone.swap(base_);
    }
  }
  if (::ftruncate((*file)->get(), size) != 0) return errno_error(errno, "resize the work file");
  crash_point("truncate-bytes");
  int64_t old = 0;
  uint64_t fid = 0;
  {
    MutexLock lock(mu_);
    old = std::exchange(size_, size);
    fid = fid_;
    if (size > old) {
      local_.add(old, size - old);
      session_.touched(old, size - old);
    }
    resized_ = true;
    ++generation_;  // an upload whose snapshot fell between the two has the old size
  }
  const int64_t kept = pages_of(0, size).length;
  int64_t freed = 0;
  for (const Range& r : charged_.inside(kept, INT64_MAX / 2)) freed += r.length;
  charged_.remove(kept, INT64_MAX / 2);
  if (freed > 0) room_.freed(fid, freed);
  return size;
}

Result<int64_t> Draft::zero(int64_t offset, int64_t length, bool may_grow) {
  if (offset > kMaxObject - length) return too_big(offset);
  if (may_grow && offset + length > size()) {
    if (auto grown = truncate(offset + length); !grown.ok()) return grown;
  }
  MutexLock io(io_mu_);
  const int64_t end = std::min(offset + length, size());
  if (end <= offset) return size();
  const auto file = work_file();
  if (!file.ok()) return file.error();
  if (::fallocate((*file)->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, end - offset) != 0)
    return errno_error(errno, "punch the work file");
  MutexLock lock(mu_);
  touched(offset, end - offset);
  return size_;
}

bool Draft::attributes_changed() {
  session_.attributes_changed();
  MutexLock io(io_mu_);  // not in the middle of end()
  MutexLock lock(mu_);
  if (!begun_ && !fresh) return false;
  attributes_ = true;
  ++generation_;
  return true;
}

bool Draft::take_idle_attributes() {
  MutexLock lock(mu_);
  return !begun_ && std::exchange(attributes_, false);
}

Draft::Snapshot Draft::take_snapshot() {
  MutexLock lock(mu_);
  sending_.add(dirty_);
  dirty_.clear();
  attributes_ = resized_ = false;
  cut_ = INT64_MAX;
  sending_now_ = true;
  session_.snapshot();
  Snapshot out;
  out.size = size_;
  out.base_len = base_len_;
  out.changed = sending_;
  out.base_etag = base_etag_;
  out.file = file_;
  out.generation = generation_;
  out.only_headers = !base_etag_.empty() && sending_.empty() && size_ == base_size_ && size_ == base_len_;
  return out;
}

void Draft::saved(const Snapshot& snapshot, const std::string& etag, std::shared_ptr<Content> base) {
  std::shared_ptr<Content> gone;  // as in begin()
  MutexLock lock(mu_);
  sending_.clear();
  sending_now_ = false;
  base_etag_ = etag;
  base_size_ = snapshot.size;
  // Cut meanwhile: what lies behind stays nobody's, also when the file has grown again since.
  base_len_ = cut_ < snapshot.size ? std::min(cut_, size_) : snapshot.size;
  gone = std::exchange(base_, whole_ ? nullptr : std::move(base));
  const auto waiting = std::exchange(after_upload_, {});
  lock.unlock();
  for (const auto& done : waiting) done();
}

void Draft::set_sent(std::string ctime, int64_t size) {
  MutexLock lock(mu_);
  sent_ctime_ = std::move(ctime);
  sent_size_ = size;
}

void Draft::rebase(const std::string& etag, int64_t size, std::shared_ptr<Content> base) {
  std::shared_ptr<Content> gone;  // as in begin()
  MutexLock lock(mu_);
  base_etag_ = etag;
  base_size_ = size;
  base_len_ = std::min(base_len_, size);
  if (base_) gone = std::exchange(base_, std::move(base));
}

void Draft::not_saved() {
  MutexLock lock(mu_);
  for (const Range& r : sending_.inside(0, size_)) dirty_.add(r.offset, r.length);
  sending_.clear();
  sending_now_ = false;
  attributes_ = true;
  const auto waiting = std::exchange(after_upload_, {});
  lock.unlock();
  for (const auto& done : waiting) done();
}

bool Draft::copied(const Snapshot& snapshot, const std::string& etag, int64_t size,
                   std::shared_ptr<Content> base) {
  std::shared_ptr<Content> gone;  // as in begin()
  const bool read_in_place = this->read_in_place();
  MutexLock io(io_mu_);
  MutexLock lock(mu_);
  const bool as_it_was = begun_ == (snapshot.file != nullptr) && size_ == 0 && dirty_.empty() &&
                         (!begun_ || (generation_ == snapshot.generation && !read_in_place &&
                                      ::ftruncate(file_->get(), size) == 0));
  base_etag_ = etag;
  base_size_ = size;
  base_len_ = as_it_was ? size : 0;
  sending_.clear();
  sending_now_ = false;
  if (as_it_was && begun_) {
    size_ = size;
    whole_ = false;
    gone = std::exchange(base_, std::move(base));
  }
  attributes_ |= !as_it_was;
  const auto waiting = std::exchange(after_upload_, {});
  lock.unlock();
  for (const auto& done : waiting) done();
  return as_it_was;
}

bool Draft::end(uint64_t generation, const std::function<void()>& publish) {
  std::shared_ptr<Content> gone;  // as in begin()
  MutexLock io(io_mu_);
  {
    MutexLock lock(mu_);
    if (!begun_ || generation != generation_ || !dirty_.empty() || !sending_.empty()) return false;
  }
  publish();
  MutexLock lock(mu_);
  begun_ = whole_ = false;
  file_.reset();
  gone.swap(base_);
  local_.clear();
  fid_ = 0;
  return true;
}

Draft::State Draft::state() const {
  MutexLock lock(mu_);
  State out;
  out.begun = begun_;
  out.dirty = dirty_locked();
  out.whole = whole_;
  out.unlinked = unlinked_;
  out.fid = fid_;
  out.generation = generation_;
  out.size = size_;
  out.base_len = base_len_;
  out.base_size = base_size_;
  out.base_etag = base_etag_;
  out.sent_ctime = sent_ctime_;
  out.sent_size = sent_size_;
  return out;
}

int64_t Draft::size() const {
  MutexLock lock(mu_);
  return size_;
}

bool Draft::dirty_locked() const {
  return attributes_ || resized_ || sending_now_ || !dirty_.empty() || !sending_.empty();
}

bool Draft::dirty() const {
  MutexLock lock(mu_);
  return dirty_locked();
}

std::shared_ptr<Content> Draft::readers() const {
  MutexLock lock(mu_);
  return readers_.lock();
}

bool Draft::read_in_place() const {
  const auto content = readers();
  return content && content->handles() > 0;
}

uint64_t Draft::generation() const {
  MutexLock lock(mu_);
  return generation_;
}

bool Draft::sending() const {
  MutexLock lock(mu_);
  return sending_now_;
}

ExtentSet Draft::local() const {
  MutexLock lock(mu_);
  return local_;
}

ExtentSet Draft::unsaved() const {
  MutexLock lock(mu_);
  ExtentSet out = dirty_;
  out.add(sending_);
  return out;
}

int64_t Draft::unsent_bytes() const {
  ExtentSet left = unsaved();
  for (const Range& r : session_.sent()) left.remove(r.offset, r.length);
  return left.bytes();
}

std::shared_ptr<UniqueFd> Draft::file() const {
  MutexLock lock(mu_);
  return file_;
}

bool Draft::ready_to_send(Range range) const {
  MutexLock lock(mu_);
  return begun_ && range.offset + range.length <= size_ && local_.covers(range.offset, range.length) &&
         dirty_.covers(range.offset, range.length);
}

void Draft::mark_unlinked() {
  MutexLock lock(mu_);
  unlinked_ = true;
}

bool Draft::unlinked() const {
  MutexLock lock(mu_);
  return unlinked_;
}

}  // namespace s3cache::core
