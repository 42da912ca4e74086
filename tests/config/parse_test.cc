#include "config/parse.h"

#include <catch2/catch.hpp>
#include <map>

using namespace s3cache;
using namespace s3cache::config;

namespace {

Environment environment(std::map<std::string, std::string> variables = {}) {
  Environment env;
  env.get = [variables](const char* name) {
    const auto it = variables.find(name);
    return it == variables.end() ? std::string() : it->second;
  };
  env.home = "/nonexistent";
  return env;
}

Config parsed(std::vector<std::string> argv, std::map<std::string, std::string> variables = {}) {
  auto config = parse_command_line(argv, environment(std::move(variables)));
  INFO((config.ok() ? "" : config.error().message));
  REQUIRE(config.ok());
  return *config;
}

std::string error_of(std::vector<std::string> argv, std::map<std::string, std::string> variables = {}) {
  const auto config = parse_command_line(argv, environment(std::move(variables)));
  REQUIRE_FALSE(config.ok());
  return config.error().message;
}

}  // namespace

TEST_CASE("every form of s3fs names bucket, prefix and mount point") {
  struct Form {
    std::vector<std::string> argv;
    std::string bucket, prefix, mountpoint;
  };
  const std::vector<Form> forms = {
      {{"s3cache", "bkt", "/mnt"}, "bkt", "", "/mnt"},
      {{"s3fs", "bkt:/", "/mnt"}, "bkt", "", "/mnt"},
      {{"s3fs", "bkt:/a/b", "/mnt"}, "bkt", "a/b/", "/mnt"},
      {{"s3fs", "bkt:/a/b//", "/mnt"}, "bkt", "a/b/", "/mnt"},
      {{"s3fs", "/mnt", "-o", "bucket=bkt:/p"}, "bkt", "p/", "/mnt"},
      {{"s3fs", "-o", "bucket=bkt", "/mnt"}, "bkt", "", "/mnt"},
      {{"s3fs", "s3fs", "/mnt", "-o", "bucket=bkt"}, "bkt", "", "/mnt"},
      {{"s3cache", "s3cache", "/mnt", "-o", "bucket=bkt"}, "bkt", "", "/mnt"},
      {{"s3fs", "-f", "bkt", "-ourl=http://h,allow_other", "/mnt", "-d"}, "bkt", "", "/mnt"},
      {{
           "s3fs",
           "bkt",
           "/mnt",
           "--",
       },
       "bkt",
       "",
       "/mnt"},
      {{"/sbin/mount.s3fs", "bkt", "/mnt", "-n", "-v", "-s", "-r", "-w", "-o", "rw"}, "bkt", "", "/mnt"},
      {{"s3fs", "bkt:/p", "/mnt", "-o", "rw,allow_other,use_path_request_style,url=http://h,dev,suid"},
       "bkt",
       "p/",
       "/mnt"},
  };
  for (const Form& form : forms) {
    const Config config = parsed(form.argv);
    CHECK(config.action == Action::kMount);
    CHECK(config.bucket == form.bucket);
    CHECK(config.prefix == form.prefix);
    CHECK(config.mountpoint == form.mountpoint);
  }
}

TEST_CASE("flags") {
  CHECK(parsed({"s3cache", "-h"}).action == Action::kHelp);
  CHECK(parsed({"s3cache", "--help", "-o", "nonsense"}).action == Action::kHelp);
  CHECK(parsed({"s3cache", "--version"}).action == Action::kVersion);
  CHECK(parsed({"s3cache", "-V"}).action == Action::kVersion);
  CHECK(parsed({"s3cache", "--dump-man-options"}).action == Action::kDumpManOptions);
  const Config once = parsed({"s3cache", "-fd", "bkt", "/mnt"});
  CHECK(once.foreground);
  CHECK(once.debug_flag);
  CHECK_FALSE(once.fuse_debug);
  const Config twice = parsed({"s3cache", "-d", "--debug", "bkt", "/mnt"});
  CHECK(twice.fuse_debug);
  CHECK(twice.foreground);
  CHECK(parsed({"/usr/bin/s3fs", "bkt", "/mnt"}).program == "s3fs");
  CHECK(parsed({"/sbin/mount.s3fs", "bkt", "/mnt"}).program == "s3fs");
}

TEST_CASE("mount options split at commas that nothing escapes") {
  CHECK(split_mount_options("a,b=c") == std::vector<std::string>{"a", "b=c"});
  CHECK(split_mount_options("a=x\\,y,b") == std::vector<std::string>{"a=x,y", "b"});
  CHECK(split_mount_options(",,a,") == std::vector<std::string>{"a"});
  CHECK(split_mount_options("a=\\\\,b") == std::vector<std::string>{"a=\\", "b"});
  const Config config = parsed({"s3cache", "bkt", "/mnt", "-o", "passwd_file=/a\\,b,use_cache=/c=d"});
  CHECK(config.passwd_file == "/a,b");
  CHECK(config.use_cache == "/c=d");
}

TEST_CASE("endpoint, path and variables") {
  CHECK(parsed({"s3cache", "bkt", "/mnt", "-o", "url=https://h:9000//"}).url == "https://h:9000");
  const Config split = parsed({"s3cache", "bkt", "/mnt", "-o", "host=http://h/base"});
  CHECK(split.url == "http://h");
  CHECK(split.servicepath == "/base/");
  const Config from_env = parsed({"s3cache", "bkt", "/mnt"}, {{"AWS_ENDPOINT_URL", "http://e"},
                                                              {"AWS_DEFAULT_REGION", "eu-west-1"},
                                                              {"AWS_REGION", "eu-central-1"},
                                                              {"AWS_PROFILE", "work"},
                                                              {"S3FS_LOGFILE", "/l"},
                                                              {"S3FS_MSGTIMESTAMP", "No"}});
  CHECK(from_env.url == "http://e");
  CHECK(from_env.region == "eu-central-1");
  CHECK(from_env.profile == "work");
  CHECK(from_env.logfile == "/l");
  CHECK(from_env.no_time_stamp_msg);
  CHECK(parsed({"s3cache", "bkt", "/mnt", "-o", "endpoint=r1"}, {{"AWS_REGION", "r2"}}).region == "r1");
}

TEST_CASE("what is wrong is named, with the way out") {
  struct Bad {
    std::vector<std::string> argv;
    std::string message;
  };
  const std::vector<Bad> cases = {
      {{"s3cache"}, "missing BUCKET argument: s3cache BUCKET[:/PREFIX] MOUNTPOINT [-o options]"},
      {{"s3cache", "bkt"}, "missing MOUNTPOINT argument: s3cache BUCKET[:/PREFIX] MOUNTPOINT [-o options]"},
      {{"s3cache", "bkt", "/mnt", "x"},
       "unexpected word x: after the bucket and the mount point only options may follow"},
      {{"s3cache", "/mnt", "x", "-o", "bucket=b"},
       "unexpected word x: after -o bucket= and the mount point only options may follow"},
      {{"s3cache", "bkt:pfx", "/mnt"}, "path(pfx) must be prefix \"/\": write bkt:/pfx"},
      {{"s3cache", "http://h/bkt", "/mnt"},
       "bucket http://h/bkt looks like an URL: give the bucket's name, and the endpoint with -o url="},
      {{"s3cache", ":/p", "/mnt"}, "the bucket's name is empty: s3cache BUCKET[:/PREFIX] MOUNTPOINT"},
      {{"s3cache", "a b", "/mnt"},
       "bucket name a b is not one of S3: letters, digits, '-', '.' and '_' only"},
      {{"s3cache", "Bkt", "/mnt"},
       "bucket Bkt has upper-case letters, which a host name has not: add -o use_path_request_style"},
      {{"s3cache", "b.k", "/mnt"},
       "bucket b.k has a dot, which no https certificate covers: add -o use_path_request_style"},
      {{"s3cache", "bkt", "/mnt", "-o", "url=ftp://h"},
       "option url=ftp://h: expected http://HOST[:PORT] or https://HOST[:PORT]"},
      {{"s3cache", "bkt", "/mnt", "-o", "url=http://"},
       "option url: the host's name is missing, write http://HOST[:PORT]"},
      {{"s3cache", "bkt", "/mnt", "-o", "url=http://key:SECRET@h"},
       "option url: keys do not belong into the URL, use -o passwd_file="},
      {{"s3cache", "bkt", "/mnt", "-o", "servicepath=x"},
       "option servicepath=x: expected a path that starts with /"},
      {{"s3cache", "bkt", "/mnt", "-o"}, "-o needs options after it: -o name=value,name"},
      {{"s3cache", "bkt", "/mnt", "-x"}, "unknown flag -x: see s3cache --help"},
      {{"s3cache", "bkt", "/mnt", "--cache"},
       "unknown flag --cache: options are written -o name=value, see s3cache --help"},
      {{"s3cache", "-u", "bkt"},
       "-u is not supported: list and abort unfinished uploads with your provider's tool"},
      {{"s3cache", "--incomplete-mpu-abort=all", "bkt"},
       "--incomplete-mpu-abort=all is not supported: list and abort unfinished uploads with your provider's "
       "tool"},
      {{"s3cache", "bkt", "/mnt", "-o", "ensure_diskfree=5,free_space_ratio=20"},
       "ensure_diskfree and free_space_ratio say the same in two ways: leave one of them out"},
      {{"s3cache", "bkt", "/mnt", "-o", "check_cache_dir_exist"},
       "check_cache_dir_exist needs a folder to look for: add -o use_cache=DIR"},
      {{"s3cache", "bkt", "/mnt", "-o", "iam_role,passwd_file=/x"},
       "iam_role and passwd_file name two sources of keys: leave one of them out"},
      {{"s3cache", "bkt", "/mnt", "-o", "iam_role=x,public_bucket"},
       "public_bucket sends no keys: leave it out, or iam_role"},
      {{"s3cache", "bkt", "/mnt", "-o", "ecs,iam_role=x"},
       "ecs has the container's own role: leave iam_role out"},
      {{"s3cache", "bkt", "/mnt", "-o", "ecs"},
       "option ecs: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI are not "
       "set, which a container with a role has"},
  };
  for (const Bad& bad : cases) CHECK(error_of(bad.argv) == bad.message);
}
