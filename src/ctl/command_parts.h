// The commands one by one; commands.cc reads their words. Threads: a program's only one. They print, and
// return the exit code.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace s3cache::ctl {

// "s3cache COMMAND: message" on the standard error. Returns 1.
int fail(const std::string& command, const std::string& message);

struct SyncWords {
  std::string path;
  double timeout_s = -1;  // -1: none
  bool json = false;
};
int sync_command(const SyncWords& words);

struct StatusWords {
  std::string path;
  bool json = false;
};
int status_command(const StatusWords& words);

struct RecoverWords {
  std::string path;
  bool json = false;               // list
  std::vector<std::string> names;  // restore (one), drop
  std::string to;                  // restore; empty: where it was
  bool force = false;              // restore: in place of what is there
  bool partial = false;            // restore: also where not every byte was kept
};
int recover_list(const RecoverWords& words);
int recover_restore(const RecoverWords& words);
int recover_drop(const RecoverWords& words);

}  // namespace s3cache::ctl
