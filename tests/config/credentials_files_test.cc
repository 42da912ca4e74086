#include "config/credentials_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <map>

using namespace s3cache;
using namespace s3cache::config;
namespace fs = std::filesystem;

namespace {

// A home of its own: files are written with a mode, variables are a map.
class Home {
 public:
  Home() {
    char name[] = "/tmp/s3cache-test-XXXXXX";
    root_ = mkdtemp(name);
    fs::create_directory(root_ / ".aws");
    variables["HOME"] = root_;
  }
  ~Home() { fs::remove_all(root_); }

  std::string write(const std::string& name, const std::string& text, mode_t mode = 0600) {
    const std::string path = root_ / name;
    // A new inode each time: two writes within one tick of the clock must not look alike.
    const std::string fresh = path + ".new";
    std::ofstream(fresh) << text;
    REQUIRE(::chmod(fresh.c_str(), mode) == 0);
    fs::rename(fresh, path);
    return path;
  }

  Environment environment() const {
    Environment env;
    env.get = [all = variables](const char* name) {
      const auto it = all.find(name);
      return it == all.end() ? std::string() : it->second;
    };
    env.home = root_;
    env.system_passwd = root_ / "etc-passwd-s3fs";
    return env;
  }

  Result<Keys> load(CredentialsQuery query = {.bucket = "bkt"}) const {
    return CredentialsFiles(std::move(query), environment()).load();
  }

  std::map<std::string, std::string> variables;

 private:
  fs::path root_;
};

std::string message(const Result<Keys>& keys) {
  REQUIRE_FALSE(keys.ok());
  CHECK(keys.error().message.find("SECRET1") == std::string::npos);
  return keys.error().message;
}

}  // namespace

TEST_CASE("password file: the bucket's line wins over the default") {
  const auto pick = [](const std::string& text) { return parse_passwd_file("f", text, "bkt"); };
  CHECK(pick("AK:SK\n")->secret_key == "SK");
  CHECK(pick("# note\n\n  AK:SK  \r\nbkt:AK2:SK2\nother:AK3:SK3")->access_key == "AK2");
  CHECK(pick("AWSAccessKeyId=AK\nAWSSecretKey=S/K=\n")->secret_key == "S/K=");
  // First and last ':' split, so a key id with one in it is not a problem.
  CHECK(pick("bkt:A:K:SK")->access_key == "A:K");
  CHECK(pick("other:AK3:SK3").is(Code::kNotFound));
}

TEST_CASE("password file: every malformed line is named by number, without its text") {
  const auto error = [](const std::string& text) { return message(parse_passwd_file("f", text, "bkt")); };
  CHECK(error("\nAK:SECRET1 x") ==
        "credentials file f line 2: a space or tab inside the line, write KEY:SECRET");
  CHECK(
      error("[SECRET1]") ==
      "credentials file f line 1: a section in brackets, which is for ~/.aws/credentials; write KEY:SECRET");
  CHECK(error("SECRET1") == "credentials file f line 1: no ':', write KEY:SECRET");
  CHECK(error(":SECRET1") == "credentials file f line 1: key or secret is empty, write KEY:SECRET");
  CHECK(error("A:SECRET1\nB:SECRET1") ==
        "credentials file f line 2: the second line for the same bucket, keep one of them");
  CHECK(error("") == "credentials file f has no line for bucket bkt: add KEY:SECRET");
}

TEST_CASE("password file: permissions as in s3fs") {
  const auto check = [](mode_t mode, bool system) { return check_passwd_mode("f", S_IFREG | mode, system); };
  CHECK(check(0600, false).ok());
  CHECK(check(0400, false).ok());
  CHECK(check(0640, true).ok());
  CHECK(check(0644, false).error().message ==
        "credentials file f should not have others permissions: chmod 600 f");
  CHECK(check(0640, false).error().message ==
        "credentials file f should not have group permissions: chmod 600 f");
  CHECK(check(0660, true).error().message ==
        "credentials file f should not have group writable permissions: chmod 640 f");
  CHECK(check(0700, false).error().message ==
        "credentials file f should not have executable permissions: chmod 600 f");
  CHECK(check(0604, true).error().message ==
        "credentials file f should not have others permissions: chmod 640 f");
}

TEST_CASE("profiles of ~/.aws/credentials") {
  const std::string text =
      "[default]\naws_access_key_id = A1\naws_secret_access_key=S1\n"
      "[ work ]\n; c\nAWS_ACCESS_KEY_ID=A2\naws_secret_access_key = S2==\naws_session_token= T2\nregion = x\n"
      "[half]\naws_access_key_id = A3\n";
  CHECK((*parse_aws_credentials("f", text, "default"))->secret_key == "S1");
  const Keys work = **parse_aws_credentials("f", text, "work");
  CHECK(work.access_key == "A2");
  CHECK(work.secret_key == "S2==");
  CHECK(work.session_token == "T2");
  CHECK(work.source == "f [work]");
  CHECK_FALSE(parse_aws_credentials("f", text, "absent")->has_value());
  CHECK(parse_aws_credentials("f", text, "half").error().message ==
        "profile half in f needs both aws_access_key_id and aws_secret_access_key");
  CHECK(parse_aws_credentials("f", "[x\n", "x").error().message ==
        "credentials file f line 1: a section without its closing bracket");
}

TEST_CASE("the order of sources is s3fs's") {
  Home home;
  CHECK(
      message(home.load()).starts_with("could not determine how to establish security credentials: give -o"));
  home.write("etc-passwd-s3fs", "A6:S\n", 0640);
  CHECK(home.load()->access_key == "A6");
  home.write(".passwd-s3fs", "A5:S\n");
  CHECK(home.load()->access_key == "A5");
  home.write(".aws/credentials", "[default]\naws_access_key_id=A4\naws_secret_access_key=S\n", 0644);
  CHECK(home.load()->access_key == "A4");
  home.variables["AWS_CREDENTIAL_FILE"] = home.write("own", "A3:S\n");
  CHECK(home.load()->access_key == "A3");
  home.variables["AWS_ACCESS_KEY_ID"] = "A2";
  home.variables["AWSSECRETACCESSKEY"] = "S";
  CHECK(home.load()->access_key == "A2");
  const std::string named = home.write("named", "A1:S\n");
  CHECK(home.load({.bucket = "bkt", .passwd_file = named})->access_key == "A1");
}

TEST_CASE("a default profile that is absent is passed over, a named one is not") {
  Home home;
  home.write(".aws/credentials", "[work]\naws_access_key_id=A\naws_secret_access_key=S\n");
  home.write(".passwd-s3fs", "A5:S\n");
  CHECK(home.load()->access_key == "A5");
  CHECK(home.load({.bucket = "bkt", .profile = "work"})->access_key == "A");
  CHECK(message(home.load({.bucket = "bkt", .profile = "none"})).starts_with("profile none is not in "));
}

TEST_CASE("what is wrong with a source is an error, not a reason to try the next") {
  Home home;
  home.write("etc-passwd-s3fs", "A6:S\n", 0640);
  home.variables["AWS_SECRET_ACCESS_KEY"] = "SECRET1";
  CHECK(message(home.load()) == "AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID: set both or none");
  home.variables.clear();
  const std::string loose = home.write("loose", "A:SECRET1\n", 0644);
  CHECK(message(home.load({.bucket = "b", .passwd_file = loose})) ==
        "credentials file " + loose + " should not have others permissions: chmod 600 " + loose);
  CHECK(message(home.load({.bucket = "b", .passwd_file = loose + "x"})) ==
        "credentials file " + loose + "x is not readable (No such file or directory): check its name");
  const std::string fine = home.write("fine", "A:SECRET1\n");
  CHECK(message(home.load({.bucket = "b", .passwd_file = fine, .use_session_token = true}))
            .starts_with("use_session_token:"));
}

TEST_CASE("keys follow their file, and a broken file leaves the old ones in force") {
  Home home;
  const std::string file = home.write("keys", "A1:S1\n");
  CredentialsFiles source({.bucket = "bkt", .passwd_file = file}, home.environment());
  REQUIRE(source.load().ok());
  CHECK(source.current().access_key == "A1");
  home.write("keys", "A2:S2\n");
  CHECK(source.current().access_key == "A2");
  home.write("keys", "broken\n");
  CHECK(source.current().access_key == "A2");
  fs::remove(file);
  CHECK(source.current().access_key == "A2");
  home.write("keys", "A3:S3\n");
  CHECK(source.current().access_key == "A3");
}

TEST_CASE("a proxy's password file follows the same rules") {
  Home home;
  CHECK(*load_proxy_credentials(home.write("proxy", "# note\nuser:password\n")) == "user:password");
  CHECK(load_proxy_credentials(home.write("loose", "user:SECRET1\n", 0644)).is(Code::kAccessDenied));
}
