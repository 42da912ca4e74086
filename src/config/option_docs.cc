#include "config/option_docs.h"

#include <fmt/format.h>

#include <iterator>
#include <map>
#include <vector>

#include "config/option_table.h"

namespace s3cache::config {
namespace {

std::string aliases_of(const Option& row) {
  std::string names;
  for (const Option& other : option_rows()) {
    if (other.alias_of == row.name) names += fmt::format("{}{}", names.empty() ? "" : ", ", other.name);
  }
  return names;
}

bool is_listed(const Option& row) {
  return row.alias_of.empty() && (row.support == Support::kNative || row.support == Support::kKernel);
}

std::string default_note(const Option& row) {
  if (row.type == Type::kFlag && default_text(row) == "off") return "";
  const std::string text = default_text(row);
  return text.empty() ? "" : fmt::format(" [{}]", text);
}

// '-' and '\' mean something to roff; so does a line that starts with '.' or '\''.
std::string roff(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  return out.starts_with('.') || out.starts_with('\'') ? "\\&" + out : out;
}

// A sentence that starts with a capital and ends with a full stop, in lines of at most 78 columns, as mandoc
// likes them.
std::string sentence(std::string_view words) {
  std::string text = roff(words) + ".";
  if (text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  size_t line = 0;
  while (text.size() - line > 78) {
    const size_t blank = text.rfind(' ', line + 78);
    if (blank == std::string::npos || blank <= line) break;
    text[blank] = '\n';
    line = blank + 1;
  }
  return text + "\n";
}

void append_mdoc_option(const Option& row, std::string& out) {
  auto to = std::back_inserter(out);
  fmt::format_to(to, ".It Cm {}", roff(row.name));
  if (!row.metavar.empty()) fmt::format_to(to, " Ns = Ns Ar {}", roff(row.metavar));
  out += "\n" + sentence(row.help);
  if (row.type == Type::kSize && row.scale != 1) fmt::format_to(to, "A plain number counts {}.\n", row.unit);
  const std::string text = default_text(row);
  if (!text.empty() && !(row.type == Type::kFlag && text == "off"))
    fmt::format_to(to, "Default: {}.\n", roff(text));
  const std::string others = aliases_of(row);
  if (!others.empty()) fmt::format_to(to, "Also written {}.\n", roff(others));
}

// Ignored or rejected options share their reasons, so they are listed by reason.
void append_mdoc_reasons(Support support, std::string& out) {
  std::vector<std::string_view> reasons;
  std::map<std::string_view, std::string> names;
  for (const Option& row : option_rows()) {
    if (row.support != support || !row.alias_of.empty()) continue;
    if (names.find(row.why) == names.end()) reasons.push_back(row.why);
    std::string& list = names[row.why];
    list += fmt::format("{}{}", list.empty() ? "" : " , ", roff(row.name));
  }
  out += ".Bl -tag -width 4n\n";
  for (const std::string_view why : reasons) {
    out += fmt::format(".It Cm {}\n{}", names[why], sentence(why));
  }
  out += ".El\n";
}

}  // namespace

std::string options_help() {
  std::string out;
  std::string_view title;
  for (const Option& row : option_rows()) {
    if (!is_listed(row)) continue;
    if (group_title(row.group) != title) {
      title = group_title(row.group);
      out += fmt::format("\n{}:\n", title);
    }
    const std::string head =
        row.metavar.empty() ? std::string(row.name) : fmt::format("{}={}", row.name, row.metavar);
    out += fmt::format("  {:<26} {}{}\n", head, row.help, default_note(row));
  }
  return out;
}

std::string options_mdoc() {
  std::string out = kManBegin;
  std::string_view title;
  for (const Option& row : option_rows()) {
    if (!is_listed(row)) continue;
    if (group_title(row.group) != title) {
      if (!title.empty()) out += ".El\n";
      title = group_title(row.group);
      out += fmt::format(".Ss {}\n.Bl -tag -width 4n\n", title);
    }
    append_mdoc_option(row, out);
  }
  out += ".El\n.Ss Accepted without effect\n";
  out +=
      "For the sake of\n.Xr mount 8\nand of command lines written for s3fs; one line in the log names those "
      "in use.\n";
  append_mdoc_reasons(Support::kIgnored, out);
  out += ".Ss Refused\nOptions of s3fs that would change what is read or how, and are not supported.\n";
  append_mdoc_reasons(Support::kRejected, out);
  out += kManEnd;
  return out;
}

}  // namespace s3cache::config
