// Commands: `s3cache sync|status|recover ...`, which talk to a mount that runs, or look at its cache folder.
//
// Threads: a program's only one. Exit codes: 0 done, 1 not (one line on the standard error says what and
// why), 2 the words make no sense.
#pragma once

#include <string>
#include <vector>

namespace s3cache::ctl {

// Do the words after the program's name ask for a command? A mount that is written like one has options (-o),
// and the names s3fs and mount.* never mean a command.
bool is_command(const std::vector<std::string>& argv);

// REQUIRES: is_command(argv).
int run_command(const std::vector<std::string>& argv);

// The commands' part of --help.
std::string commands_help();

}  // namespace s3cache::ctl
