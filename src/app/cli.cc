#include "app/cli.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "config/option_docs.h"
#include "ctl/commands.h"

namespace s3cache::app {

std::string help_text(const std::string& program) {
  return fmt::format(
      "Mounts an S3 bucket through a cache on local disk.\n"
      "\n"
      "Usage: {0} BUCKET[:/PREFIX] MOUNTPOINT [-o option[=value],...]\n"
      "       {0} MOUNTPOINT -o bucket=BUCKET[:/PREFIX],...\n"
      "\n"
      "  -f             stay in the foreground, log to the standard error\n"
      "  -d, --debug    log at level info; twice: print every FUSE request too\n"
      "  -o OPTIONS     see below; s3fs's other options are accepted or refused with a reason\n"
      "  -h, --help     this text\n"
      "  -V, --version  the version\n"
      "\n"
      "Unmount with: fusermount3 -u MOUNTPOINT\n"
      "\n"
      "{2}{1}\n"
      "Sizes take K, M, G, T; times take s, m, h, d. Details: man s3cache, man 5 s3cache, man 7 s3cache.\n",
      program, config::options_help(), ctl::commands_help());
}

std::string version_text() { return fmt::format("s3cache {}\n", kVersion); }

void print_error(const std::string& program, const std::string& message) {
  std::string line = program + ": " + message;
  std::replace(line.begin(), line.end(), '\n', ' ');
  line += '\n';
  std::fputs(line.c_str(), stderr);
}

}  // namespace s3cache::app
