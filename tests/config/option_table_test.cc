#include "config/option_table.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "config/option_docs.h"

using namespace s3cache;
using namespace s3cache::config;

TEST_CASE("every row of the table is whole") {
  std::set<std::string_view> names;
  const Option* previous = nullptr;
  for (const Option& row : option_rows()) {
    CAPTURE(row.name);
    CHECK(names.insert(row.name).second);
    if (previous != nullptr && previous->group == row.group) CHECK(previous->name < row.name);
    CHECK((previous == nullptr || previous->group <= row.group));
    previous = &row;

    if (!row.alias_of.empty()) {
      const Option* target = find_option(row.alias_of);
      REQUIRE(target != nullptr);
      CHECK(target->name == row.alias_of);
      continue;
    }
    const bool has_field = !std::holds_alternative<std::monostate>(row.field);
    CHECK(has_field == (row.support == Support::kNative));
    const bool explains = row.support == Support::kIgnored || row.support == Support::kRejected;
    CHECK(row.why.empty() != explains);
    CHECK(row.help.empty() == explains);
    CHECK_FALSE(row.help.ends_with('.'));
    CHECK((row.type == Type::kFlag || row.value_optional || !row.metavar.empty()));
    CHECK((row.type == Type::kEnum) == !row.values.empty());
  }
}

TEST_CASE("every default is a value that its option accepts") {
  for (const Option& row : option_rows()) {
    const std::string value = default_text(row);
    if (row.support != Support::kNative || !row.default_note.empty() || value.empty() ||
        row.type == Type::kFlag)
      continue;
    CAPTURE(row.name, value);
    Config config;
    CHECK(apply_option(row.name, true, value, config).ok());
    if (const auto* field = std::get_if<int64_t Config::*>(&row.field))
      CHECK(config.*(*field) == Config{}.*(*field));
  }
}

TEST_CASE("bad values name option, value and what is expected") {
  const auto error_of = [](std::string_view name, std::string_view value) {
    Config config;
    const Status status = apply_option(name, true, value, config);
    REQUIRE_FALSE(status.ok());
    return status.error().message;
  };
  CHECK(error_of("stat_cache_expire", "abc") ==
        "option stat_cache_expire=abc: expected a number of seconds, or 15m, 12h, 7d, from 0 to 315360000");
  CHECK(error_of("retries", "0") == "option retries=0: expected a whole number, from 1 to 100");
  CHECK(error_of("parallel_count", "many") ==
        "option parallel_count=many: expected a whole number, from 1 to 1024");
  CHECK(error_of("cache_size", "1K") ==
        "option cache_size=1K: expected a number of bytes or a size such as 512M or 10G, 0 or at least 64M");
  CHECK(error_of("umask", "9") == "option umask=9: expected an octal number from 0 to 0777");
  CHECK(error_of("attr", "all") == "option attr=all: expected one of head|list");
  CHECK(error_of("uid", "nobody-here") ==
        "option uid=nobody-here: expected a user id or the name of a user on this machine");
  CHECK(error_of("ssl_verify_hostname", "2") == "option ssl_verify_hostname=2: expected no value, 1 or 0");
  CHECK(error_of("multipart_size", "4") ==
        "option multipart_size=4: expected a number of MiB or a size such as 512M or 10G, from 5M to 5G");
  CHECK(error_of("cache_sise", "1G") == "unknown option cache_sise: did you mean cache_size?");
  CHECK(error_of("frobnicate", "1") == "unknown option frobnicate: see s3cache --help");
  CHECK(error_of("sigv2", "") ==
        "option sigv2 is not supported: requests are signed with version 4; leave sigv2 out");

  Config config;
  const Status missing = apply_option("url", false, "", config);
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.error().message == "option url needs a value: expected a value");
}

TEST_CASE("values land in their fields, in base units") {
  Config config;
  const auto set = [&](std::string_view name, std::string_view value) {
    REQUIRE(apply_option(name, true, value, config).ok());
  };
  const auto flag = [&](std::string_view name) { REQUIRE(apply_option(name, false, "", config).ok()); };
  set("ensure_diskfree", "1024");
  CHECK(config.ensure_diskfree == int64_t{1} << 30);
  set("cache_size", "0");
  CHECK(config.cache_size == 0);
  set("dbglevel", "WARN");
  CHECK(config.dbglevel == "warn");
  set("use_cache", "relative/dir/");
  CHECK(config.use_cache.starts_with('/'));
  CHECK(config.use_cache.ends_with("relative/dir"));
  set("use_cache", "");
  CHECK(config.use_cache.empty());
  set("ssl_verify_hostname", "0");
  CHECK_FALSE(config.ssl_verify_hostname);
  set("use_xattr", "1");
  CHECK(config.use_xattr);
  flag("disable_noobj_cache");
  CHECK_FALSE(config.negative_cache);
  flag("enable_negative_cache");
  CHECK(config.negative_cache);
  flag("nopassthrough");
  CHECK_FALSE(config.passthrough);
  set("multireq_max", "20");
  CHECK(config.max_connections == 20);
  flag("noatime");
  CHECK(config.kernel_options == std::vector<std::string>{"noatime"});
  set("stat_cache_interval_expire", "60");
  CHECK(config.stat_cache_interval_expire == 60);
  set("stat_cache_expire", "30");
  CHECK(config.stat_cache_interval_expire == -1);
  flag("big_writes");
  flag("noac");
  set("x-systemd.automount", "1");
  CHECK(config.notices == std::vector<std::string>{"noac (use stat_cache_expire=0)"});
}

TEST_CASE("help shows every option that does something, with its default") {
  const std::string help = options_help();
  for (const Option& row : option_rows()) {
    CAPTURE(row.name);
    const bool active =
        row.alias_of.empty() && (row.support == Support::kNative || row.support == Support::kKernel);
    const bool shown =
        help.find("\n  " + std::string(row.name) + (row.metavar.empty() ? " " : "=")) != std::string::npos;
    CHECK(shown == active);
  }
  CHECK(help.find("[10G]") != std::string::npos);
}

TEST_CASE("s3cache(5) holds the option section as the table has it") {
  std::ifstream file("man/s3cache.5");
  REQUIRE(file.good());  // tests run in the project's folder
  const std::string page((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const size_t begin = page.find(kManBegin), end = page.find(kManEnd);
  REQUIRE(begin != std::string::npos);
  REQUIRE(end != std::string::npos);
  CHECK((page.substr(begin, end + std::string(kManEnd).size() - begin) == options_mdoc()));
  for (const Option& row : option_rows()) {
    std::string name;
    for (const char c : row.name) name += c == '-' ? std::string("\\-") : std::string(1, c);
    CAPTURE(name);
    CHECK(page.find(name) != std::string::npos);
  }
}
