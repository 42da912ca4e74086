#include "s3/fake_listing.h"

#include <algorithm>
#include <charconv>
#include <random>

namespace s3cache::s3 {

namespace {

struct Entry {
  const ListedObject* object = nullptr;  // nullptr: a common prefix
  std::string prefix;
};

std::vector<Entry> group(const std::vector<ListedObject>& objects, const ListRequest& r,
                         const std::string& after) {
  std::vector<Entry> out;
  for (const ListedObject& o : objects) {
    const size_t slash = r.delimiter ? o.key.find('/', r.prefix.size()) : std::string::npos;
    if (slash == std::string::npos) {
      if (o.key > after) out.push_back({&o, {}});
      continue;
    }
    std::string prefix = o.key.substr(0, slash + 1);
    if (prefix <= after) continue;
    const bool again = !out.empty() && out.back().object == nullptr && out.back().prefix == prefix;
    if (!again) out.push_back({nullptr, std::move(prefix)});
  }
  return out;
}

}  // namespace

ListPage FakeListing::page(const ListRequest& r) const {
  const bool ordered = order_seed == 0;
  std::vector<Entry> entries =
      group(objects, r, ordered && !r.continuation.empty() ? r.continuation : r.start_after);
  size_t from = 0;
  if (!ordered) {
    std::shuffle(entries.begin(), entries.end(), std::minstd_rand(order_seed));
    std::from_chars(r.continuation.data(), r.continuation.data() + r.continuation.size(), from);
    from = std::min(from, entries.size());
  }
  const int limit = std::max(0, std::min(page_size, r.max_keys));
  const size_t n = std::min(static_cast<size_t>(limit), entries.size() - from);
  ListPage out;
  std::string last;
  for (size_t i = from; i < from + n; ++i) {
    last = entries[i].object != nullptr ? entries[i].object->key : entries[i].prefix;
    if (entries[i].object != nullptr)
      out.objects.push_back(*entries[i].object);
    else
      out.prefixes.push_back(last);
  }
  out.truncated = n > 0 && from + n < entries.size();
  if (out.truncated) out.next_token = ordered ? last : std::to_string(from + n);
  return out;
}

}  // namespace s3cache::s3
