#include "core/make_filesystem.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/log.h"
#include "core/filesystem_impl.h"

namespace s3cache::core {

namespace {

// After a power cut only synced files are trusted. The first file id that is not under suspicion.
Result<uint64_t> distrust_below(meta::MetaStore& store) {
  const auto state = [&](const char* name) -> std::string {
    auto value = store.get(meta::Table::kState, name);
    return value.ok() && value->has_value() ? **value : std::string();
  };
  const std::string boot = cache::boot_id();
  const std::string known = state("distrust_below");
  const uint64_t before = known.size() == 8 ? read_be64(known) : 0;
  if (state("boot_id") == boot) return before;
  auto next = store.next_id();
  if (!next.ok()) return next.error();
  meta::Batch batch;
  batch.put(meta::Table::kState, "boot_id", boot);
  batch.put(meta::Table::kState, "distrust_below", be64(*next));
  if (Status s = store.apply_durable(std::move(batch)); !s.ok()) return s.error();
  return *next;
}

// What a killed mount did on the server last may be missing from its records: names are asked anew, once.
Result<int64_t> distrust_before(meta::MetaStore& store, Clock& clock, bool read_only) {
  const auto left = store.get(meta::Table::kState, kWriting);
  if (!left.ok()) return left.error();
  const int64_t before = left->has_value() ? clock.wall_ns() : 0;
  if (read_only || left->has_value()) return before;
  meta::Batch batch;
  batch.put(meta::Table::kState, std::string(kWriting), "");
  if (Status s = store.apply_durable(std::move(batch)); !s.ok()) return s.error();
  return before;
}

}  // namespace

Result<std::unique_ptr<Filesystem>> make_filesystem(const FilesystemParts& parts,
                                                    const FilesystemOptions& options) {
  auto distrust = distrust_below(parts.store);
  if (!distrust.ok()) return distrust.error();
  auto first = parts.store.next_id();
  if (!first.ok()) return first.error();
  auto names = distrust_before(parts.store, parts.clock, options.read_only);
  if (!names.ok()) return names.error();
  FilesystemOptions with = options;
  with.names.distrust_before_ns = *names;
  return std::unique_ptr<Filesystem>(std::make_unique<FilesystemImpl>(parts, with, *distrust, *first));
}

}  // namespace s3cache::core
