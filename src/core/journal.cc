#include "core/journal.h"

#include <string>

#include "base/bytes.h"
#include "base/log.h"

namespace s3cache::core {

using meta::Batch;
using meta::Intent;
using meta::Table;

namespace {}  // namespace

Result<std::vector<Journal::Entry>> Journal::scan() {
  std::vector<Entry> out;
  std::vector<std::pair<std::string, std::string>> bad;
  uint64_t last = 0;
  const auto read = [&](std::string_view key, std::string_view value) {
    if (key.size() == 8) last = read_be64(key);
    auto intent = Intent::decode(value);
    if (key.size() == 8 && intent) {
      out.emplace_back(last, std::move(*intent));
    } else {
      bad.emplace_back(key, value);
    }
    return true;
  };
  // A set-aside record keeps its number for itself.
  const auto aside = [&](std::string_view key, std::string_view) {
    if (key.size() == kBadIntents.size() + 8)
      last = std::max(last, read_be64(key.substr(kBadIntents.size())));
    return true;
  };
  if (Status s = store_.scan(Table::kJournal, "", "", SIZE_MAX, read); !s.ok()) return s.error();
  if (Status s = store_.scan(Table::kState, kBadIntents, kBadIntents, SIZE_MAX, aside); !s.ok())
    return s.error();
  next_ = last + 1;
  if (!bad.empty()) {
    Batch batch;
    for (auto& [key, value] : bad) {
      batch.put(Table::kState, std::string(kBadIntents) + key, std::move(value));
      batch.erase(Table::kJournal, key);
    }
    store_.apply(std::move(batch));
    log::error(
        "{} records of the journal cannot be read and were set aside: the changes they stood for were not "
        "made",
        bad.size());
  }
  return out;
}

uint64_t Journal::add(Batch& batch, const Intent& intent) {
  const uint64_t seq = next_++;
  change(batch, seq, intent);
  return seq;
}

void Journal::change(Batch& batch, uint64_t seq, const Intent& intent) {
  batch.put(Table::kJournal, be64(seq), intent.encode());
}

void Journal::done(Batch& batch, uint64_t seq) { batch.erase(Table::kJournal, be64(seq)); }

}  // namespace s3cache::core
