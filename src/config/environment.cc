#include "config/environment.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

namespace s3cache::config {

Environment Environment::real() {
  Environment env;
  env.get = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (const passwd* entry = getpwuid(geteuid()); entry != nullptr) env.home = entry->pw_dir;
  if (env.home.empty()) env.home = env.get("HOME");
  return env;
}

}  // namespace s3cache::config
