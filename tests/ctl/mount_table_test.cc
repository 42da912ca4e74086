#include "ctl/mount_table.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <sstream>

#include "ctl/registry.h"
#include "temp_dir.h"

using namespace s3cache;
using namespace s3cache::ctl;
namespace fs = std::filesystem;

namespace {
MountTable table_of(const std::string& text) {
  std::istringstream in(text);
  return MountTable::parse(in);
}
std::string line(const std::string& device, const std::string& path, const std::string& type,
                 const std::string& options = "rw,user_id=0") {
  return "31 28 " + device + " / " + path + " rw,nosuid shared:7 - " + type + " source " + options + "\n";
}
}  // namespace

TEST_CASE("mountinfo: blanks, owners, optional fields, the topmost of several") {
  const auto table =
      table_of(line("0:40", "/mnt", "ext4", "rw") +
               line("0:57", "/mnt", "fuse.s3cache", "rw,user_id=1000,group_id=100") +
               "32 28 0:58 / /with\\040blank rw - fuse.s3fs s3fs rw,user_id=0\n" + "garbage\n");
  REQUIRE(table.at("/mnt"));
  CHECK(table.at("/mnt")->device == "0:57");
  CHECK(table.at("/mnt")->owner == 1000);
  CHECK(table.at("/mnt")->source == "source");
  REQUIRE(table.at("/with blank"));
  CHECK(table.at("/with blank")->type == "fuse.s3fs");
  CHECK_FALSE(table.at("/nothing"));
}

TEST_CASE("a path finds its mount by words, links outside of it included, without asking it") {
  const TempDir dir;
  fs::create_directories(dir / "mnt");
  fs::create_symlink(dir / "mnt", dir / "link");
  fs::create_symlink("link", dir / "link-to-link");
  fs::create_symlink("circle", dir / "circle");
  const auto table =
      table_of(line("0:57", dir / "mnt", "fuse.s3cache") + line("0:58", dir / "mnt/inner", "fuse.s3cache") +
               line("0:59", dir.path, "ext4"));
  // Nothing below mnt exists: only words lead there.
  for (const char* path :
       {"mnt", "mnt/", "mnt/./a/../b", "link/a", "link-to-link", "mnt/../mnt", "mnt/inner/../x"}) {
    CAPTURE(path);
    const auto found = table.find(dir / path);
    REQUIRE(found.ok());
    CHECK(found->device == "0:57");
  }
  CHECK(table.find(dir / "mnt/inner/f")->device == "0:58");
  CHECK(table.find(dir.path).is(Code::kInvalid));
  CHECK(table.find(dir / "mnt/..").is(Code::kInvalid));
  CHECK(table.find(dir / "none").is(Code::kNotFound));
  CHECK_FALSE(table.find(dir / "circle").ok());
}

TEST_CASE("the registry leads from a device number to its socket, as long as the mount lives") {
  const TempDir dir;
  const std::vector<std::string> folders = {dir / "no/such", dir / "run"};
  const uid_t me = ::geteuid();
  CHECK(registered_socket("0:57", me, folders).is(Code::kNotFound));
  auto first = Registration::publish("0:57", "/cache/a/control", folders);
  REQUIRE(first.ok());
  auto second = Registration::publish("0:58", "/cache/b/control", folders);
  REQUIRE(second.ok());
  CHECK(*registered_socket("0:57", me, folders) == "/cache/a/control");
  CHECK(*registered_socket("0:58", me, folders) == "/cache/b/control");

  SECTION("the number is another mount's by now: its link stays when the older one ends") {
    auto third = Registration::publish("0:57", "/cache/c/control", folders);
    REQUIRE(third.ok());
    first->reset();
    CHECK(*registered_socket("0:57", me, folders) == "/cache/c/control");
    third->reset();
    CHECK(registered_socket("0:57", me, folders).is(Code::kNotFound));
  }
  SECTION("a folder that others may write to is not believed") {
    fs::permissions(dir / "run", fs::perms::all);
    CHECK(registered_socket("0:57", me, folders).is(Code::kAccessDenied));
    CHECK(Registration::publish("0:59", "/cache/d/control", folders).is(Code::kAccessDenied));
  }
  SECTION("nor is one of another user") {
    CHECK(registered_socket("0:57", me + 1, folders).is(Code::kAccessDenied));
  }
}
