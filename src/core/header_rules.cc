#include "core/header_rules.h"

#include <fmt/format.h>
#include <regex.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <memory>
#include <utility>

namespace s3cache::core {

namespace {

constexpr std::string_view kBlanks = " \t", kExpression = "reg:";

// What the client itself says of a request, and what says what a file is.
constexpr std::array<std::string_view, 17> kNotForRules = {"authorization",
                                                           "connection",
                                                           "content-length",
                                                           "content-md5",
                                                           "expect",
                                                           "host",
                                                           "transfer-encoding",
                                                           "x-amz-content-sha256",
                                                           "x-amz-date",
                                                           "x-amz-meta-mode",
                                                           "x-amz-meta-uid",
                                                           "x-amz-meta-gid",
                                                           "x-amz-meta-mtime",
                                                           "x-amz-meta-ctime",
                                                           "x-amz-meta-atime",
                                                           "x-amz-meta-xattr",
                                                           "x-amz-meta-rdev"};

std::string lower(std::string_view s) {
  std::string out(s);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

// The next word of a line, without what comes before it.
std::string_view take_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
  const std::string_view word = line.substr(0, line.find_first_of(kBlanks));
  line.remove_prefix(word.size());
  return word;
}

bool is_token(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '_';
  });
}

}  // namespace

struct HeaderRules::Expression {
  Expression() = default;
  Expression(const Expression&) = delete;
  Expression& operator=(const Expression&) = delete;
  ~Expression() {
    if (compiled) ::regfree(&regex);
  }
  regex_t regex = {};
  bool compiled = false;
};

Result<HeaderRules::Rule> HeaderRules::parse(std::string_view line) {
  Rule rule;
  const bool all = kBlanks.find(line.front()) != std::string_view::npos;
  const std::string_view pattern = all ? std::string_view() : take_word(line);
  rule.name = lower(take_word(line));
  line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
  rule.value = line.substr(0, line.find_last_not_of(" \t\r") + 1);
  if (!is_token(rule.name))
    return Error{Code::kInvalid, "a header's name is missing or has other characters"};
  if (std::find(kNotForRules.begin(), kNotForRules.end(), rule.name) != kNotForRules.end())
    return Error{Code::kInvalid, fmt::format("{} is not for rules to set", rule.name)};
  if (!pattern.starts_with(kExpression)) {
    rule.suffix = pattern;
    return rule;
  }
  const std::string text(pattern.substr(kExpression.size()));
  auto expression = std::make_shared<Expression>();
  const int failed = ::regcomp(&expression->regex, text.c_str(), REG_EXTENDED | REG_NOSUB);
  expression->compiled = failed == 0;
  if (failed != 0 || text.empty()) {
    std::array<char, 200> why{"it is empty"};
    if (failed != 0) ::regerror(failed, &expression->regex, why.data(), why.size());
    return Error{Code::kInvalid, fmt::format("the expression {}: {}", text, why.data())};
  }
  rule.expression = std::move(expression);
  return rule;
}

Result<HeaderRules> HeaderRules::load(const std::string& file) {
  std::ifstream in(file);
  if (!in) return errno_error(errno, "read the header rules " + file);
  HeaderRules out;
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos || line.front() == '#') continue;
    auto rule = parse(line);
    if (!rule.ok())
      return Error{Code::kInvalid, fmt::format("header rules {}, line {}: {}; a line is SUFFIX HEADER VALUE",
                                               file, number, rule.error().message)};
    out.rules_.push_back(std::move(*rule));
  }
  if (in.bad()) return errno_error(EIO, "read the header rules " + file);
  return out;
}

void HeaderRules::apply(std::string_view key, s3::SentHeaders& headers) const {
  const std::string path = "/" + std::string(key);
  for (const Rule& rule : rules_) {
    const bool meant = rule.expression ? ::regexec(&rule.expression->regex, path.c_str(), 0, nullptr, 0) == 0
                                       : path.ends_with(rule.suffix);
    if (!meant) continue;
    std::erase_if(headers, [&rule](const auto& header) { return header.first == rule.name; });
    if (!rule.value.empty()) headers.emplace_back(rule.name, rule.value);
  }
}

}  // namespace s3cache::core
