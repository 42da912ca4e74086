// Environment: what config reads of the process and the machine besides argv, so that tests bring their own.
//
// Threads: real() reads the process's environment, which nobody changes after the start.
#pragma once

#include <functional>
#include <string>

namespace s3cache::config {

struct Environment {
  // The variable's value; empty: unset or empty.
  std::function<std::string(const char* name)> get;
  std::string home;                                // of passwd(5), where ~/.aws is looked for, as in s3fs
  std::string system_passwd = "/etc/passwd-s3fs";  // the last password file to try

  static Environment real();
};

}  // namespace s3cache::config
