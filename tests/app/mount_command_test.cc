#include "app/mount_command.h"

#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "app/mount_point.h"
#include "app/subprocess.h"
#include "config/parse.h"

using namespace s3cache;
namespace fs = std::filesystem;

namespace {

// A folder with a mount point, a good password file and one with loose permissions.
struct Scene {
  Scene() {
    char name[] = "/tmp/s3cache-test-XXXXXX";
    root = mkdtemp(name);
    fs::create_directory(root + "/mnt");
    for (const char* file : {"/keys", "/loose"}) {
      std::ofstream(root + file) << "KEY:SECRET1\n";
      ::chmod((root + file).c_str(), file[1] == 'k' ? 0600 : 0644);
    }
  }
  ~Scene() { fs::remove_all(root); }

  // The whole command, from words to exit code, in a process of its own.
  test::Ended run(const std::string& mount_point, const std::string& options, const std::string& flag) const {
    return test::run_in_process([&] {
      config::Environment env;
      env.get = [](const char*) { return std::string(); };
      env.home = root;
      env.system_passwd = root + "/none";
      // Port 1 of this machine answers nobody.
      const auto config =
          config::parse_command_line({"s3cache", "bkt", mount_point, flag, "-o",
                                      "url=http://127.0.0.1:1,use_path_request_style," + options},
                                     env);
      return config.ok() ? app::mount_command(*config, env) : 99;
    });
  }

  std::string root;
};

}  // namespace

TEST_CASE("a start that cannot work is exit code 1 and one line that names the thing and the way out") {
  const Scene scene;
  const std::string mnt = scene.root + "/mnt", keys = "passwd_file=" + scene.root + "/keys";
  struct Bad {
    std::string mount_point, options, text;
  };
  const std::vector<Bad> cases = {
      {scene.root + "/no", keys, "does not exist: mkdir -p " + scene.root + "/no"},
      {scene.root + "/keys", keys, "is not a directory: give a directory"},
      {scene.root, keys, "is not empty: give -o nonempty"},
      {mnt, "passwd_file=" + scene.root + "/loose", "should not have others permissions: chmod 600 "},
      {mnt, "passwd_file=" + scene.root + "/gone",
       "is not readable (No such file or directory): check its name"},
      {mnt, "profile=p", "is not readable (No such file or directory): check its name"},
      {mnt, "ro", "could not determine how to establish security credentials"},
      {mnt, keys + ",use_cache=" + mnt + "/cache",
       "lies inside the mountpoint " + mnt + ": use another use_cache"},
      {mnt, keys, "cannot reach http://127.0.0.1:1"},
      {mnt, keys + ",logfile=" + scene.root, "use a logfile= that this user may write"},
  };
  const std::string flag = GENERATE("-s", "-f");  // in the background and in the foreground
  for (const Bad& bad : cases) {
    CAPTURE(bad.options, bad.text, flag);
    const auto ended = scene.run(bad.mount_point, bad.options, flag);
    CHECK(ended.exit_code == 1);
    CHECK(ended.err.starts_with("s3cache: "));
    CHECK(ended.err.find(bad.text) != std::string::npos);
    CHECK(ended.err.find("SECRET1") == std::string::npos);
    CHECK(std::count(ended.err.begin(), ended.err.end(), '\n') == 1);
  }
}

TEST_CASE("a cache folder beside the mount point is fine, one inside is not") {
  CHECK(app::check_cache_outside("/mnt/a", "").ok());
  CHECK(app::check_cache_outside("/mnt/a", "/mnt/ab").ok());
  CHECK(app::check_cache_outside("/mnt/a", "/mnt").ok());
  CHECK(app::check_cache_outside("/mnt/a", "/mnt/a").is(Code::kInvalid));
  CHECK(app::check_cache_outside("/mnt/a", "/mnt/a/b").is(Code::kInvalid));
  CHECK(app::check_cache_outside("/", "/tmp").is(Code::kInvalid));
}

TEST_CASE("allow_other of a plain user needs its line in fuse.conf") {
  const Scene scene;
  const std::string conf = scene.root + "/fuse.conf";
  CHECK(app::check_allow_other(conf).is(Code::kAccessDenied));
  std::ofstream(conf) << "# user_allow_other\nmount_max = 5\n";
  CHECK(app::check_allow_other(conf).error().message == "allow_other needs the line user_allow_other in " +
                                                            conf +
                                                            ": add it as root, or leave allow_other out");
  std::ofstream(conf) << " user_allow_other\n";
  CHECK(app::check_allow_other(conf).ok());
}
