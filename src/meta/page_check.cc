#include "meta/page_check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "meta/lmdb_env.h"
#include "meta/page_format.h"
#include "meta/records.h"

namespace s3cache::meta {
namespace {

using namespace format;  // NOLINT: the names of one file format

// The counters and what wrong answers come from first; inodes are the most and the least dangerous.
constexpr Table kOrder[] = {Table::kState, Table::kJournal, Table::kDirty, Table::kDir,
                            Table::kFile,  Table::kTrash,   Table::kMap,   Table::kCrc,
                            Table::kExt,   Table::kDirent,  Table::kInode};
static_assert(std::size(kOrder) == kTableCount);

enum class Role : uint8_t { kFreeList, kTables, kRecords };

class Checker {
 public:
  Checker(const std::string& path, UniqueFd fd, const CheckOptions& options)
      : path_(path),
        fd_(std::move(fd)),
        values_(options.values),
        page_size_(static_cast<size_t>(::sysconf(_SC_PAGESIZE))),
        deadline_(std::chrono::steady_clock::now() + options.budget) {
    for (std::string& level : levels_) level.resize(page_size_);
  }

  Result<CheckResult> run() {
    std::string head(2 * page_size_, '\0');
    if (!read(0, head.data(), head.size())) return *failure_;
    const Header header = newest_header(head, page_size_);
    last_page_ = header.last_page;
    struct stat st {};
    // Also keeps a nonsensical number of pages from taking the memory.
    if (::fstat(fd_.get(), &st) != 0 || last_page_ > static_cast<uint64_t>(st.st_size) / page_size_)
      return Error{Code::kCorrupt, "metadata store " + path_ + ": its header says more pages than it has"};
    used_.resize(last_page_ + 1);
    walk_tree(header.trees[0], Role::kFreeList, Table::kState);
    walk_tree(header.trees[1], Role::kTables, Table::kState);
    for (const Table table : kOrder) {
      if (const auto& tree = tables_[static_cast<size_t>(table)]) walk_tree(*tree, Role::kRecords, table);
    }
    if (failure_) return *failure_;
    return CheckResult{pages_, !late_};
  }

 private:
  struct Walk {
    Role role;
    Table table;
    Tree seen{};             // what was counted
    std::string last;        // the last key or separator
    bool any = false;        // there was one
    bool may_equal = false;  // it was a separator: the next key may be the same
  };

  bool going() const { return !failure_ && !late_; }

  bool bad(uint64_t page, const char* what) {
    if (!failure_) {
      failure_ = Error{Code::kCorrupt, "metadata store " + path_ + ": page " + std::to_string(page) +
                                           " is damaged (" + what + ")"};
    }
    return false;
  }

  // Past the end reads as zeros, which no check lets through.
  bool read(uint64_t page, char* to, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
      const ssize_t n =
          ::pread(fd_.get(), to + done, bytes - done, static_cast<off_t>(page * page_size_ + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return bad(page, "it cannot be read");
      if (n == 0) {
        std::memset(to + done, 0, bytes - done);
        break;
      }
      done += static_cast<size_t>(n);
    }
    return true;
  }

  // One use of a page, the only one.
  bool take(uint64_t page) {
    if (page < 2 || page > last_page_) return bad(page, "outside the file");
    if (used_[page]) return bad(page, "used twice");
    used_[page] = true;
    if ((++pages_ & 63) == 0 && std::chrono::steady_clock::now() >= deadline_) late_ = true;
    return true;
  }

  void walk_tree(const Tree& tree, Role role, Table table) {
    if (!going()) return;
    Walk w{role, table, {}, {}, false, false};
    if (tree.root != kNoPage) {
      if (tree.depth == 0 || tree.depth > kMaxDepth) {
        bad(tree.root, "impossible depth");
        return;
      }
      walk_page(w, tree.root, tree.depth);
    }
    if (!going()) return;
    if (w.seen.entries != tree.entries || w.seen.branch_pages != tree.branch_pages ||
        w.seen.leaf_pages != tree.leaf_pages || w.seen.overflow_pages != tree.overflow_pages)
      bad(tree.root, "its tree has another size than recorded");
  }

  // `height`: 1 is a leaf.
  void walk_page(Walk& w, uint64_t number, int height) {
    char* page = levels_[static_cast<size_t>(height)].data();
    if (!take(number) || !read(number, page, page_size_)) return;
    if (page_number(page) != number) {
      bad(number, "another page's content");
      return;
    }
    if ((page_flags(page) & kKindFlags) != (height == 1 ? kLeaf : kBranch)) {
      bad(number, "another kind");
      return;
    }
    const size_t lower = page_lower(page), upper = page_upper(page);
    if (lower < kPageHeader || lower % 2 != 0 || lower > upper || upper > page_size_) {
      bad(number, "bounds");
      return;
    }
    const size_t count = (lower - kPageHeader) / 2;
    if (count < (height == 1 ? 1U : 2U)) {
      bad(number, "too empty");
      return;
    }
    if (height == 1) {
      ++w.seen.leaf_pages;
      walk_leaf(w, number, page, count);
    } else {
      ++w.seen.branch_pages;
      walk_branch(w, number, page, count, height);
    }
  }

  // The node's start, its header and key within the page; 0: damaged.
  size_t node_at(uint64_t number, const char* page, size_t i) {
    const size_t at = load<uint16_t>(page + kPageHeader + 2 * i);
    if (at < page_upper(page) || at + kNodeHeader > page_size_ || at % 2 != 0)
      return bad(number, "node offset"), 0;
    if (at + kNodeHeader + key_of(page + at).size() > page_size_) return bad(number, "key length"), 0;
    return at;
  }
  static std::string_view key_of(const char* node) { return {node + kNodeHeader, load<uint16_t>(node + 6)}; }

  void walk_branch(Walk& w, uint64_t number, const char* page, size_t count, int height) {
    for (size_t i = 0; i < count && going(); ++i) {
      const size_t at = node_at(number, page, i);
      if (at == 0) return;
      const char* node = page + at;
      const uint64_t child = load<uint16_t>(node) | uint64_t{load<uint16_t>(node + 2)} << 16 |
                             uint64_t{load<uint16_t>(node + 4)} << 32;
      // The first separator of a page is implied.
      if (i > 0) {
        if (!in_order(w, key_of(node))) {
          bad(number, "order of separators");
          return;
        }
        note(w, key_of(node), true);
      }
      walk_page(w, child, height - 1);
    }
  }

  void walk_leaf(Walk& w, uint64_t number, const char* page, size_t count) {
    std::string_view before;
    for (size_t i = 0; i < count; ++i) {
      const size_t at = node_at(number, page, i);
      if (at == 0) return;
      const std::string_view key = key_of(page + at);
      const bool ordered = i == 0 ? in_order(w, key) : less(w.role, before, key);
      if (key.empty() || !ordered) {
        bad(number, "order of keys");
        return;
      }
      before = key;
      if (!check_value(w, number, page, at, key)) return;
    }
    w.seen.entries += count;
    note(w, before, false);
  }

  static bool less(Role role, std::string_view a, std::string_view b) {
    if (role != Role::kFreeList) return a < b;
    // Keys of the free list are numbers of transactions in the machine's byte order.
    return a.size() == 8 && b.size() == 8 && load<uint64_t>(a.data()) < load<uint64_t>(b.data());
  }
  static bool in_order(const Walk& w, std::string_view key) {
    if (w.role == Role::kFreeList && key.size() != 8) return false;
    return !w.any || less(w.role, w.last, key) || (w.may_equal && w.last == key);
  }
  static void note(Walk& w, std::string_view key, bool separator) {
    w.last.assign(key);
    w.any = true;
    w.may_equal = separator;
  }

  bool check_value(Walk& w, uint64_t number, const char* page, size_t at, std::string_view key) {
    const char* node = page + at;
    const auto flags = load<uint16_t>(node + 4);
    const size_t size = load<uint16_t>(node) | size_t{load<uint16_t>(node + 2)} << 16;
    const size_t start = at + kNodeHeader + key.size();
    if (flags != 0 && flags != kBigData && flags != kSubTree) return bad(number, "node flags");
    if (start + (flags == kBigData ? 8 : size) > page_size_) return bad(number, "value length");
    std::string_view value(page + start, size);
    std::string big;
    if (flags == kBigData) {
      if (!read_big(w, load<uint64_t>(page + start), size, big)) return false;
      value = std::string_view(big).substr(kPageHeader, size);
    }
    if ((flags == kSubTree) != (w.role == Role::kTables)) return bad(number, "node kind");
    if (w.role == Role::kFreeList) return check_free(number, value);
    if (w.role == Role::kTables) return note_table(number, key, value);
    return !values_ || record_ok(w.table, key, value) || bad(number, "a record that cannot be read");
  }

  bool read_big(Walk& w, uint64_t first, size_t size, std::string& out) {
    const uint64_t count = (kPageHeader - 1 + size) / page_size_ + 1;
    if (first < 2 || first > last_page_ || count > last_page_ + 1 - first)
      return bad(first, "outside the file");
    for (uint64_t i = 0; i < count; ++i) {
      if (!take(first + i)) return false;
    }
    w.seen.overflow_pages += count;
    out.resize(count * page_size_);
    if (!read(first, out.data(), out.size())) return false;
    return (page_number(out.data()) == first && (page_flags(out.data()) & kKindFlags) == kOverflow &&
            overflow_count(out.data()) == count) ||
           bad(first, "another page's content");
  }

  // A count, then that many page numbers, the highest first.
  bool check_free(uint64_t number, std::string_view value) {
    if (value.size() < 8 || value.size() % 8 != 0) return bad(number, "list of free pages");
    const auto count = load<uint64_t>(value.data());
    if (count > value.size() / 8 - 1) return bad(number, "list of free pages");
    for (uint64_t i = 1, before = last_page_ + 1; i <= count; ++i) {
      const auto page = load<uint64_t>(value.data() + 8 * i);
      if (page >= before || page < 2) return bad(number, "list of free pages");
      if (used_[page]) return bad(page, "free and used");
      used_[page] = true;
      before = page;
    }
    return true;
  }

  bool note_table(uint64_t number, std::string_view name, std::string_view value) {
    if (value.size() != sizeof(Tree)) return bad(number, "table record");
    const auto tree = load<Tree>(value.data());
    if (tree.root != kNoPage && (tree.root < 2 || tree.root > last_page_)) return bad(number, "table root");
    for (size_t t = 0; t < kTableCount; ++t) {
      if (name == table_name(static_cast<Table>(t))) tables_[t] = tree;
    }
    return true;
  }

  const std::string& path_;
  const UniqueFd fd_;
  const bool values_;
  const size_t page_size_;
  const std::chrono::steady_clock::time_point deadline_;
  std::array<std::string, kMaxDepth + 1> levels_;  // a page for each height
  std::array<std::optional<Tree>, kTableCount> tables_;
  std::vector<bool> used_;
  uint64_t last_page_ = 0, pages_ = 0;
  bool late_ = false;
  std::optional<Error> failure_;
};

}  // namespace

Result<CheckResult> check_pages(const std::string& path, const CheckOptions& options) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return errno_error(errno, "open " + path);
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return errno_error(errno, "stat " + path);
  if (st.st_size == 0) return CheckResult{};
  return Checker(path, std::move(fd), options).run();
}

}  // namespace s3cache::meta
