#include "core/header_rules.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>

using namespace s3cache;
using core::HeaderRules;

namespace {

class RulesFile {
 public:
  explicit RulesFile(const std::string& text) {
    const int fd = ::mkstemp(path_.data());
    REQUIRE(fd >= 0);
    ::close(fd);
    std::ofstream(path_) << text;
  }
  ~RulesFile() { ::unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/tmp/s3cache-rules-XXXXXX";
};

std::string of(const HeaderRules& rules, const std::string& key, const std::string& name,
               s3::SentHeaders headers = {}) {
  rules.apply(key, headers);
  std::string out;
  for (const auto& [header, value] : headers)
    if (header == name) out += out.empty() ? value : "+" + value;
  return out;
}

}  // namespace

TEST_CASE("header rules: suffixes, expressions, all keys; the last one counts") {
  const RulesFile file(
      "# a comment\n"
      "\n"
      " Cache-Control no-cache, private\n"
      ".gz   Content-Encoding   gzip  \r\n"
      ".tar.gz\tContent-Encoding\tidentity\n"
      "reg:^/public/.*\\.(js|css)$ Cache-Control max-age=60\n"
      ".none Cache-Control\n");
  const auto rules = HeaderRules::load(file.path());
  REQUIRE(rules.ok());
  CHECK(rules->size() == 5);
  CHECK(of(*rules, "a.gz", "content-encoding") == "gzip");
  CHECK(of(*rules, "a.tar.gz", "content-encoding") == "identity");
  CHECK(of(*rules, "a.gzip", "content-encoding").empty());
  CHECK(of(*rules, "a", "cache-control") == "no-cache, private");
  CHECK(of(*rules, "public/d/x.css", "cache-control") == "max-age=60");
  CHECK(of(*rules, "d/public/x.css", "cache-control") == "no-cache, private");
  CHECK(of(*rules, "a.none", "cache-control").empty());
  CHECK(of(*rules, "a", "cache-control", {{"cache-control", "the object's own"}}) == "no-cache, private");
}

TEST_CASE("header rules that are none: file, line and reason") {
  const auto error_of = [](const std::string& text) {
    const RulesFile file(text);
    const auto rules = HeaderRules::load(file.path());
    REQUIRE(rules.is(Code::kInvalid));
    const std::string& message = rules.error().message;
    REQUIRE(message.starts_with("header rules " + file.path() + ", line "));
    return message.substr(message.find(", line ") + 2);
  };
  const std::string form = "; a line is SUFFIX HEADER VALUE";
  CHECK(error_of("\n.gz\n") == "line 2: a header's name is missing or has other characters" + form);
  CHECK(error_of(".gz Content:Encoding x\n") ==
        "line 1: a header's name is missing or has other characters" + form);
  CHECK(error_of(".gz Host x\n") == "line 1: host is not for rules to set" + form);
  CHECK(error_of(".gz X-Amz-Meta-Mode 1\n") == "line 1: x-amz-meta-mode is not for rules to set" + form);
  CHECK(error_of("reg:( A b\n").starts_with("line 1: the expression (: "));
  CHECK(error_of("reg: A b\n") == "line 1: the expression : it is empty" + form);
  const auto absent = HeaderRules::load("/nonexistent/rules");
  REQUIRE(absent.is(Code::kNotFound));
  CHECK(absent.error().message == "read the header rules /nonexistent/rules: No such file or directory");
}
