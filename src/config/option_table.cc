#include "config/option_table.h"

#include <fmt/format.h>

#include <filesystem>
#include <limits>
#include <optional>

#include "config/values.h"

namespace s3cache::config {
namespace {

const Option* find_row(std::string_view name) {
  for (const Option& row : option_rows()) {
    if (row.name == name) return &row;
    if (row.name.ends_with('*')) {
      const std::string_view stem = row.name.substr(0, row.name.size() - 1);
      if (name.size() > stem.size() && to_lower(name.substr(0, stem.size())) == stem) return &row;
    }
  }
  return nullptr;
}

bool in_list(std::string_view list, std::string_view value) {
  while (!list.empty()) {
    const size_t bar = list.find('|');
    if (list.substr(0, bar) == value) return true;
    if (bar == std::string_view::npos) return false;
    list.remove_prefix(bar + 1);
  }
  return false;
}

std::string in_own_unit(const Option& row, int64_t n) {
  if (row.type != Type::kSize) return std::to_string(n);
  return n == 0 ? "0" : format_size(n);
}

// What a value of this option looks like, for error messages.
std::string expected(const Option& row) {
  std::string what;
  switch (row.type) {
    case Type::kFlag:
      return "no value, 1 or 0";
    case Type::kInt:
      what = "a whole number";
      break;
    case Type::kSize:
      what = fmt::format("a number of {} or a size such as 512M or 10G", row.unit);
      break;
    case Type::kDuration:
      what = "a number of seconds, or 15m, 12h, 7d";
      break;
    case Type::kOctal:
      return "an octal number from 0 to 0777";
    case Type::kEnum:
      return fmt::format("one of {}", row.values);
    case Type::kUser:
      return "a user id or the name of a user on this machine";
    case Type::kGroup:
      return "a group id or the name of a group on this machine";
    case Type::kString:
    case Type::kPath:
      return "a value";
  }
  const std::string zero = row.zero_ok ? "0 or " : "";
  if (row.max == std::numeric_limits<int64_t>::max())
    return fmt::format("{}, {}at least {}", what, zero, in_own_unit(row, row.min));
  return fmt::format("{}, {}from {} to {}", what, zero, in_own_unit(row, row.min), in_own_unit(row, row.max));
}

std::optional<int64_t> parse_number(const Option& row, std::string_view value) {
  switch (row.type) {
    case Type::kInt:
      return parse_int(value);
    case Type::kSize:
      return parse_size(value, row.scale);
    case Type::kDuration:
      return parse_duration(value);
    case Type::kOctal:
      return parse_octal(value);
    case Type::kUser:
      return user_id(std::string(value));
    case Type::kGroup:
      return group_id(std::string(value));
    default:
      return std::nullopt;
  }
}

bool bounded(Type type) { return type == Type::kInt || type == Type::kSize || type == Type::kDuration; }

Error bad_value(std::string_view name, const Option& row, std::string_view value) {
  return {Code::kInvalid, fmt::format("option {}={}: expected {}", name, value, expected(row))};
}

Status set_flag(std::string_view name, const Option& row, bool has_value, std::string_view value,
                Config& config) {
  if (has_value && value != "1" && value != "0") return bad_value(name, row, value);
  const bool on = !has_value || value == "1";
  if (const auto* field = std::get_if<bool Config::*>(&row.field)) config.*(*field) = on != row.inverted;
  return {};
}

Status set_text(std::string_view name, const Option& row, std::string_view value, Config& config) {
  std::string text(value);
  if (row.type == Type::kEnum) {
    text = to_lower(text);
    if (!in_list(row.values, text)) return bad_value(name, row, value);
  }
  // An empty path switches the option off, as `use_cache=` does in s3fs.
  if (row.type == Type::kPath && !text.empty()) {
    std::error_code ec;
    const std::filesystem::path absolute = std::filesystem::absolute(text, ec);
    if (ec) return Error{Code::kInvalid, fmt::format("option {}={}: {}", name, value, ec.message())};
    text = absolute.lexically_normal().string();
    if (text.size() > 1 && text.ends_with('/')) text.pop_back();
  }
  if (const auto* field = std::get_if<std::string Config::*>(&row.field)) config.*(*field) = text;
  return {};
}

Status set_number(std::string_view name, const Option& row, std::string_view value, Config& config) {
  const auto n = parse_number(row, value);
  if (!n) return bad_value(name, row, value);
  if (bounded(row.type) && !(row.zero_ok && *n == 0) && (*n < row.min || *n > row.max))
    return bad_value(name, row, value);
  if (const auto* field = std::get_if<int64_t Config::*>(&row.field)) config.*(*field) = *n;
  return {};
}

void restore_default(const Option& row, Config& config) {
  if (const auto* field = std::get_if<int64_t Config::*>(&row.field)) config.*(*field) = Config{}.*(*field);
}

}  // namespace

const Option* find_option(std::string_view name) {
  const Option* row = find_row(name);
  return row != nullptr && !row->alias_of.empty() ? find_row(row->alias_of) : row;
}

std::string nearest_option(std::string_view name) {
  // Two letters wrong of six or more is a slip; of fewer it is another word.
  const int most = name.size() >= 6 ? 2 : 1;
  std::string best;
  int best_distance = most + 1;
  const std::string wanted = to_lower(name);
  for (const Option& row : option_rows()) {
    if (row.support == Support::kRejected || row.name.ends_with('*')) continue;
    const int distance = edit_distance(wanted, row.name);
    if (distance < best_distance) {
      best = row.name;
      best_distance = distance;
    }
  }
  return best;
}

Status apply_option(std::string_view name, bool has_value, std::string_view value, Config& config) {
  const Option* row = find_option(name);
  if (row == nullptr) {
    const std::string near = nearest_option(name);
    const std::string hint = near.empty() ? "see s3cache --help" : fmt::format("did you mean {}?", near);
    return Error{Code::kInvalid, fmt::format("unknown option {}: {}", name, hint)};
  }
  if (row->support == Support::kRejected) {
    return Error{Code::kUnsupported, fmt::format("option {} is not supported: {}", name, row->why)};
  }
  if (row->type != Type::kFlag && !has_value && !row->value_optional) {
    return Error{Code::kInvalid, fmt::format("option {} needs a value: expected {}", name, expected(*row))};
  }
  if (!has_value && !row->implied_value.empty()) value = row->implied_value;
  Status status;
  if (row->type == Type::kFlag) {
    status = set_flag(name, *row, has_value, value, config);
  } else if (row->type == Type::kString || row->type == Type::kPath || row->type == Type::kEnum) {
    status = set_text(name, *row, value, config);
  } else {
    status = set_number(name, *row, value, config);
  }
  if (!status) return status;
  if (!row->overrides.empty()) restore_default(*find_row(row->overrides), config);
  if (row->support == Support::kKernel) config.kernel_options.emplace_back(name);
  if (row->support == Support::kIgnored && !row->quiet)
    config.notices.push_back(fmt::format("{} ({})", name, row->why));
  return {};
}

std::string default_text(const Option& row) {
  static const Config defaults;
  if (!row.default_note.empty()) return std::string(row.default_note);
  if (const auto* field = std::get_if<bool Config::*>(&row.field)) {
    const bool on = defaults.*(*field) != row.inverted;
    return on ? "on" : "off";
  }
  if (const auto* field = std::get_if<int64_t Config::*>(&row.field)) {
    return in_own_unit(row, defaults.*(*field));
  }
  if (const auto* field = std::get_if<std::string Config::*>(&row.field)) return defaults.*(*field);
  return "";
}

}  // namespace s3cache::config
