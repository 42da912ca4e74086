// The one table of options: parsing, validation, --help and the option section of s3cache(5) all come from
// it.
//
// A row says what an option is called, what it takes, which Config field it sets and what it is for. The rows
// are in option_rows.cc, grouped and sorted by name inside a group. Threads: constant after the first call.
// Units: `scale` is how many base units a number without suffix stands for.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "config/config.h"

namespace s3cache::config {

enum class Type : uint8_t {
  kFlag,      // no value, or =1 / =0
  kInt,       // a whole number
  kSize,      // a number in `unit`, or with a suffix K, M, G, T, P (powers of 1024; KB and KiB mean the same)
  kDuration,  // seconds, or with a suffix s, m, h, d
  kOctal,     // 0 to 0777
  kString,
  kPath,   // a string made absolute against the folder of the start, because a daemon runs in /
  kEnum,   // one of `values`, any case
  kUser,   // a number or a name of passwd(5)
  kGroup,  // a number or a name of group(5)
};

enum class Support : uint8_t {
  kNative,    // does what it says
  kKernel,    // handed to the kernel or fusermount3 as it is
  kIgnored,   // accepted for s3fs's and mount(8)'s sake; `why` says what happens instead
  kRejected,  // refused; `why` says what to do
};

enum class Group : uint8_t {
  kBucket,
  kCredentials,
  kCache,
  kMetadata,
  kReading,
  kWriting,
  kNetwork,
  kLog,
  kMount
};

using Field = std::variant<std::monostate, bool Config::*, int64_t Config::*, std::string Config::*>;

struct Option {
  std::string_view name = {};  // a '*' at its end stands for any rest: "x-*"
  Type type = Type::kFlag;
  Group group = Group::kMount;
  Support support = Support::kNative;
  Field field = {};
  std::string_view alias_of = {};       // the option this is another spelling of; its row has the rest
  std::string_view overrides = {};      // the option that goes back to its default when this one is given
  bool inverted = false;                // a flag that clears its field
  bool value_optional = false;          // a string that may stand without "=..."
  bool quiet = false;                   // of kIgnored: nothing is lost by it, so the log does not mention it
  int64_t min = 0, max = 0;             // of kInt, kSize, kDuration, in base units
  bool zero_ok = false;                 // 0 is fine although it is below min
  int64_t scale = 1;                    // of kSize
  std::string_view unit = {};           // of kSize, for people: "MiB"
  std::string_view values = {};         // of kEnum: "head|list"
  std::string_view implied_value = {};  // of value_optional: what the bare name stands for
  std::string_view metavar = {};        // the value's name in --help
  std::string_view default_note = {};   // replaces the default printed from Config{}
  std::string_view help = {};           // one line, no full stop
  std::string_view why = {};            // of kIgnored and kRejected
};

std::span<const Option> option_rows();
std::string_view group_title(Group group);

// The row of `name` with aliases resolved, nullptr if there is none.
const Option* find_option(std::string_view name);
// The known name with the fewest edits to `name`, empty if none is close enough to be meant.
std::string nearest_option(std::string_view name);

// Checks one option and sets its field. has_value tells "name=" from "name". Errors: kInvalid, naming option,
// value and what is expected.
Status apply_option(std::string_view name, bool has_value, std::string_view value, Config& config);

// The default in the option's own words ("900", "10G", "off"), empty if it has none.
std::string default_text(const Option& option);

}  // namespace s3cache::config
