#include "core/unsaved.h"

#include <unistd.h>

#include "core/draft_journal.h"
#include "core/journal.h"
#include "core/quarantine.h"
#include "core/uploader.h"
#include "meta/meta_store.h"

namespace s3cache::core {

namespace {

bool any(meta::MetaStore& store, meta::Table table, std::string_view prefix) {
  bool found = false;
  const Status s = store.scan(table, prefix, prefix, 1, [&](std::string_view, std::string_view) {
    found = true;
    return false;
  });
  return found || !s.ok();
}

}  // namespace

bool holds_unsaved(const std::string& cache_folder) {
  const std::string store_path = cache_folder + "/" + cache::kStoreFile;
  const auto aside = list_quarantine(cache_folder);
  if (!aside.ok() || !aside->empty()) return true;
  if (::access(store_path.c_str(), F_OK) != 0) return false;  // killed before it had one
  auto store = meta::MetaStore::open({.path = store_path});
  if (!store.ok()) return true;
  using meta::Table;
  return any(**store, Table::kJournal, {}) || any(**store, Table::kDirty, {}) ||
         any(**store, Table::kState, kDraftMarks) || any(**store, Table::kState, kUploads) ||
         any(**store, Table::kState, kBadIntents);
}

}  // namespace s3cache::core
