// DirReader: an open directory, handing out its names from the store, up to where its listing has come.
//
// A complete directory inside the TTL is read without a request; any other waits for the flat listing that is
// about to bring it (tree_walks.h), or joins the directory's own listing and waits at its frontier. Names are
// read 512 at a time and what does not fit into a reply is kept for the next one. Cookies: 1 is behind ".", 2
// behind "..", a child's is its ino + 16, so they never collide and survive a remount. The handle knows the
// places of the cookies it gave last; an older one resolves through the inode's record, and one whose record
// is gone too goes on where the handle is. While the program digests a reply the next names are read already
// (a third of the time of `ls -lR` of a million names). Threads: one call at a time (the kernel holds the
// directory's lock), its waiting part continues on a network thread; reading ahead happens between two calls
// only, and a call waits for its end. Errors: kStale (directory gone), those of the listing; the next call
// then begins a new one at the same place.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "core/listing.h"

namespace s3cache::core {

class DirReader : public DirHandle, public std::enable_shared_from_this<DirReader> {
 public:
  DirReader(NsContext& context, Listings& listings, uint64_t dir)
      : c_(context), listings_(listings), dir_(dir) {
    c_.dir_use.add_reader(dir_);
  }
  ~DirReader() override {
    leave();
    c_.dir_use.drop_reader(dir_);
  }

  // Decides between the store and a listing, and starts the latter.
  Status begin();
  void read(uint64_t cookie, bool plus, std::shared_ptr<DirSink> sink, Callback<bool> done) EXCLUDES(mu_);

  static constexpr uint64_t kCookieDot = 1, kCookieDotDot = 2, kCookieBase = 16;

 private:
  static constexpr size_t kPage = 512;
  static constexpr size_t kFirst = 256;  // names that somebody waits for: a reply of `ls` holds some 200
  static constexpr int kMaxMoves = 8;
  static constexpr size_t kRemembered = 4096;  // cookies of the last replies

  struct Item {
    std::string tail;
    uint64_t ino = 0;
    uint32_t d_type = 0;
    bool has_entry = false;
    Entry entry;
  };
  struct Call {
    bool plus = false;
    bool gave = false;
    int moves = 0;  // to a younger listing
    std::shared_ptr<DirSink> sink;
    Callback<bool> done;
  };
  enum class Filled : uint8_t { kSome, kNothing, kEnd };

  bool await_walk() EXCLUDES(mu_);
  void walk_over() EXCLUDES(mu_);
  // The flat listing has the say still: it will call serve() again.
  bool park(const std::shared_ptr<Call>& call) EXCLUDES(mu_);
  bool walking() EXCLUDES(mu_);
  void leave();
  void seek(uint64_t cookie);
  void serve(const std::shared_ptr<Call>& call) EXCLUDES(mu_);
  // nullopt: the listing will call serve() again.
  std::optional<Result<bool>> advance(const std::shared_ptr<Call>& call);
  void read_ahead() EXCLUDES(mu_);
  bool give_dots(Call& call);
  bool give_items(Call& call);
  bool give(Call& call, const Item& item);
  Result<Filled> fill(const Listing::View& view, size_t limit);
  void note_late();
  Result<Filled> fill_missed();
  struct Name {
    std::string tail;
    meta::Dirent dirent;
  };
  Status load_items(meta::MetaStore::Snapshot& snapshot, const std::vector<Name>& names);
  Result<bool> shadowed(meta::MetaStore::Snapshot& snapshot, const std::string& tail);

  NsContext& c_;
  Listings& listings_;
  const uint64_t dir_;
  Mutex mu_;
  CondVar cv_;
  // Who may touch the rest.
  bool calling_ GUARDED_BY(mu_) = false;
  bool ahead_ GUARDED_BY(mu_) = false;
  bool walking_ GUARDED_BY(mu_) = false;          // a flat listing is to bring the names
  std::shared_ptr<Call> parked_ GUARDED_BY(mu_);  // until it has
  std::shared_ptr<Listing> listing_;              // null: the directory is complete
  bool begun_ = false;
  bool awaiting_ = false;  // begun, but neither listing_ nor complete: the flat listing comes first
  bool walked_ = false;    // it had its chance
  int64_t listed_at_ns_ = 0;
  uint64_t parent_ = 0;
  int dots_ = 0;          // how many of ".", ".." were given
  std::string position_;  // the last dirent key tail read from the store
  size_t late_noted_ = 0;
  std::vector<std::string> missed_;  // names that came behind position_ (a server that lists out of order)
  std::deque<Item> buffer_;
  uint64_t last_cookie_ = 0;
  std::deque<std::pair<uint64_t, std::string>> given_;
};

}  // namespace s3cache::core
