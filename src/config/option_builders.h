// Short makers of Option rows, so that option_rows.cc reads as a table. Private to the config floor.
// Threads: pure functions. Units: as Option.
#pragma once

#include <limits>

#include "config/option_table.h"

namespace s3cache::config::builders {

using sv = std::string_view;

constexpr int64_t kKiB = 1 << 10, kMiB = 1 << 20;
constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

inline Option flag(sv name, bool Config::*field, sv help) {
  return {.name = name, .field = field, .help = help};
}
inline Option clears(sv name, bool Config::*field, sv help) {
  return {.name = name, .field = field, .inverted = true, .help = help};
}
inline Option number(sv name, int64_t Config::*field, int64_t min, int64_t max, sv help) {
  return {
      .name = name, .type = Type::kInt, .field = field, .min = min, .max = max, .metavar = "N", .help = help};
}
inline Option size(sv name, int64_t Config::*field, int64_t scale, int64_t min, int64_t max, sv help) {
  return {.name = name,
          .type = Type::kSize,
          .field = field,
          .min = min,
          .max = max,
          .scale = scale,
          .unit = scale == kMiB ? "MiB" : "bytes",
          .metavar = "SIZE",
          .help = help};
}
inline Option seconds(sv name, int64_t Config::*field, int64_t min, int64_t max, sv help) {
  return {.name = name,
          .type = Type::kDuration,
          .field = field,
          .min = min,
          .max = max,
          .metavar = "SECONDS",
          .help = help};
}
inline Option octal(sv name, int64_t Config::*field, sv default_note, sv help) {
  return {.name = name,
          .type = Type::kOctal,
          .field = field,
          .max = 0777,
          .metavar = "OCTAL",
          .default_note = default_note,
          .help = help};
}
inline Option text(sv name, std::string Config::*field, sv metavar, sv help) {
  return {.name = name, .type = Type::kString, .field = field, .metavar = metavar, .help = help};
}
inline Option path(sv name, std::string Config::*field, sv metavar, sv default_note, sv help) {
  return {.name = name,
          .type = Type::kPath,
          .field = field,
          .metavar = metavar,
          .default_note = default_note,
          .help = help};
}
inline Option choice(sv name, std::string Config::*field, sv values, sv metavar, sv help) {
  return {
      .name = name, .type = Type::kEnum, .field = field, .values = values, .metavar = metavar, .help = help};
}
inline Option alias(sv name, sv of) { return {.name = name, .alias_of = of}; }
inline Option kernel(sv name, sv help) { return {.name = name, .support = Support::kKernel, .help = help}; }
inline Option ignored(sv name, sv why) {
  return {
      .name = name, .type = Type::kString, .support = Support::kIgnored, .value_optional = true, .why = why};
}
inline Option accepted(sv name, sv why) {
  Option row = ignored(name, why);
  row.quiet = true;
  return row;
}
inline Option ignored_size(sv name, int64_t min, sv why) {
  return {.name = name,
          .type = Type::kSize,
          .support = Support::kIgnored,
          .min = min,
          .max = kNoLimit,
          .scale = kMiB,
          .unit = "MiB",
          .metavar = "SIZE",
          .why = why};
}
inline Option ignored_number(sv name, int64_t min, sv why) {
  return {.name = name,
          .type = Type::kInt,
          .support = Support::kIgnored,
          .min = min,
          .max = kNoLimit,
          .metavar = "N",
          .why = why};
}
inline Option rejected(sv name, sv why) {
  return {
      .name = name, .type = Type::kString, .support = Support::kRejected, .value_optional = true, .why = why};
}

}  // namespace s3cache::config::builders
