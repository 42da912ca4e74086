// HeaderRules: s3fs's ahbe_conf, headers that uploads get by their keys.
//
// One rule a line: `SUFFIX Header Value`, or `reg:REGEX Header Value` with a POSIX extended expression; both
// are compared with "/" and the key. A line that begins with a blank is for every key; `#` begins a comment.
// Of rules that give one header the last counts, and it counts more than what the object had. Threads:
// read-only after load(). Errors: kNotFound, kAccessDenied, kIo; kInvalid names file, line and what is wrong
// there.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "s3/s3_client.h"

namespace s3cache::core {

class HeaderRules {
 public:
  static Result<HeaderRules> load(const std::string& file);

  void apply(std::string_view key, s3::SentHeaders& headers) const;
  size_t size() const { return rules_.size(); }

 private:
  struct Expression;  // a compiled one
  struct Rule {
    std::string suffix;                            // empty: every key, or `expression`
    std::shared_ptr<const Expression> expression;  // null: none
    std::string name, value;                       // the name in lower case
  };
  static Result<Rule> parse(std::string_view line);

  std::vector<Rule> rules_;
};

}  // namespace s3cache::core
