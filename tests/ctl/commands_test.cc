#include "ctl/commands.h"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "ctl/format.h"
#include "ctl/restore_file.h"
#include "temp_dir.h"

using namespace s3cache;
using namespace s3cache::ctl;

TEST_CASE("which command lines are commands, and which mount a bucket that is called like one") {
  CHECK(is_command({"s3cache", "sync", "/mnt"}));
  CHECK(is_command({"/usr/bin/s3cache", "status"}));
  CHECK(is_command({"other-name", "recover", "list", "/mnt", "--json"}));
  CHECK_FALSE(is_command({"s3cache"}));
  CHECK_FALSE(is_command({"s3cache", "synch", "/mnt"}));
  CHECK_FALSE(is_command({"s3cache", "/mnt", "sync"}));
  CHECK_FALSE(is_command({"s3cache", "sync:/", "/mnt"}));
  CHECK_FALSE(is_command({"s3cache", "sync", "/mnt", "-o", "rw"}));
  CHECK_FALSE(is_command({"s3cache", "sync", "/mnt", "-oro"}));
  CHECK_FALSE(is_command({"/usr/bin/s3fs", "sync", "/mnt"}));
  CHECK_FALSE(is_command({"/sbin/mount.s3cache", "status", "/mnt"}));
}

TEST_CASE("figures for people") {
  CHECK(bytes_text(0) == "0 B");
  CHECK(bytes_text(1023) == "1023 B");
  CHECK(bytes_text(1536) == "1.5 KiB");
  CHECK(bytes_text(12 << 20) == "12 MiB");
  CHECK(bytes_text((1 << 20) - 1) == "1.0 MiB");
  CHECK(bytes_text(int64_t{5} << 40) == "5.0 TiB");
  CHECK(duration_text(59) == "59 s");
  CHECK(duration_text(200) == "3 min 20 s");
  CHECK(duration_text(7500) == "2 h 5 min");
  CHECK(duration_text(4 * 86400 + 3600) == "4 d 1 h");
  CHECK(count_text(1, "file", "files") == "1 file");
  CHECK(count_text(0, "file", "files") == "0 files");
  CHECK(printable("a\x1b[2Jb\n") == "a\\x1b[2Jb\\x0a");
  CHECK(printable("\xc3\xa4") == "\xc3\xa4");
}

namespace {
std::string content(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}
}  // namespace

TEST_CASE("restore: whole or not at all, never over what is there") {
  const TempDir dir;
  std::string data(3 << 20, 'x');
  data.replace(1 << 20, 1 << 20, std::string(1 << 20, '\0'));
  std::ofstream(dir / "kept") << data;
  std::filesystem::resize_file(dir / "kept", 5 << 20);
  data.resize(5 << 20);
  REQUIRE(restore_file(dir / "kept", dir / "new", false).ok());
  CHECK(content(dir / "new") == data);
  std::ofstream(dir / "there") << "somebody else's";
  CHECK(restore_file(dir / "kept", dir / "there", false).is(Code::kExists));
  CHECK(content(dir / "there") == "somebody else's");
  REQUIRE(restore_file(dir / "kept", dir / "there", true).ok());
  CHECK(content(dir / "there") == data);
  CHECK(restore_file(dir / "none", dir / "nothing", false).is(Code::kNotFound));
  CHECK(restore_file(dir / "kept", dir / "no/folder", false).is(Code::kNotFound));
  std::filesystem::create_directory(dir / "folder");
  CHECK_FALSE(restore_file(dir / "kept", dir / "folder", true).ok());
  CHECK(std::distance(std::filesystem::directory_iterator(dir.path), {}) == 4);  // nothing half made
}
