#include <cstdio>
#include <string>
#include <vector>

#include "app/cli.h"
#include "app/mount_command.h"
#include "config/environment.h"
#include "config/option_docs.h"
#include "config/parse.h"
#include "ctl/commands.h"

using namespace s3cache;

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv, argv + argc);
  if (ctl::is_command(words)) return ctl::run_command(words);
  const config::Environment env = config::Environment::real();
  const auto config = config::parse_command_line(words, env);
  if (!config) {
    app::print_error("s3cache", config.error().message);
    return 1;
  }
  switch (config->action) {
    case config::Action::kHelp:
      std::fputs(app::help_text(config->program).c_str(), stdout);
      return 0;
    case config::Action::kVersion:
      std::fputs(app::version_text().c_str(), stdout);
      return 0;
    case config::Action::kDumpManOptions:
      std::fputs(config::options_mdoc().c_str(), stdout);
      return 0;
    case config::Action::kMount:
      break;
  }
  return app::mount_command(*config, env);
}
