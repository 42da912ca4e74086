// What is set aside when somebody else replaced the object an edit builds on.
#include "core/quarantine.h"

#include <filesystem>
#include <fstream>

#include "draft_fixture.h"

using namespace s3cache;
using namespace s3cache::core;
namespace fs_ = std::filesystem;

TEST_CASE_METHOD(DraftFixture, "an edit that lost is kept with a note, listed and dropped, mounted or not") {
  const std::string key = "n\xc3\xa4me\xff";  // no UTF-8
  put_pattern(key, 12 << 20);
  auto file = open_to_write(key);
  REQUIRE(write(file, 5'000, "edited").ok());
  put(key, "somebody else's");
  CHECK(fsync(file).is(Code::kStale));
  const std::string folder = dir->path();
  auto kept = list_quarantine(folder);
  REQUIRE(kept.ok());
  REQUIRE(kept->size() == 1);
  const Quarantined q = kept->front();
  CHECK(q.key == key);
  CHECK(q.size == 12 << 20);
  CHECK(q.kept_bytes == 6);
  CHECK(q.ranges.front().offset == 5'000);
  CHECK_FALSE(q.base_etag.empty());
  CHECK_FALSE(q.complete);  // never read: the rest was in the version that is gone
  CHECK(fs_::file_size(q.data_path) == 12 << 20);
  CHECK(q.kept_at_s > 0);

  std::ofstream(folder + "/recover/trash-1-00ff") << "of a store beyond repair";
  std::ofstream(folder + "/recover/9-0009.json") << "{ torn";
  kept = list_quarantine(folder);
  REQUIRE(kept->size() == 3);
  file.reset();
  unmount();
  for (const Quarantined& one : *kept) REQUIRE(drop_quarantined(folder, one.name).ok());
  CHECK(list_quarantine(folder)->empty());
  CHECK(fs_::is_empty(folder + "/recover"));
  CHECK(drop_quarantined(folder, q.name).is(Code::kNotFound));
  CHECK(drop_quarantined(folder, "../meta.mdb").is(Code::kNotFound));
  CHECK(fs_::exists(folder + "/meta.mdb"));
  mount();
}

TEST_CASE("a folder in which nothing was ever set aside") { CHECK(list_quarantine("/nonexistent")->empty()); }
