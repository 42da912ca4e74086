#include "ctl/commands.h"

#include <algorithm>
#include <CLI/CLI.hpp>
#include <cstdio>

#include "ctl/command_parts.h"
#include "ctl/format.h"

namespace s3cache::ctl {

namespace {

constexpr const char* kCommands[] = {"sync", "status", "recover"};
constexpr int kUsage = 2;

void add_path(CLI::App* command, std::string& path, const char* what) {
  command->add_option("PATH", path, what)->required();
}

struct Words {
  SyncWords sync;
  StatusWords status;
  RecoverWords recover;
};

void describe_recover(CLI::App& program, RecoverWords& words) {
  constexpr const char* kWhere = "a path in the mount, or its cache folder (mounted or not)";
  CLI::App* recover = program.add_subcommand(
      "recover",
      "Changes that could not go to S3, as somebody else had replaced the object: show, restore, "
      "drop them");
  recover->require_subcommand(1);
  CLI::App* list = recover->add_subcommand("list", "Show them");
  add_path(list, words.path, kWhere);
  list->add_flag("--json", words.json, "one JSON object");
  CLI::App* restore = recover->add_subcommand("restore", "Write one as a file again; it stays in the list");
  add_path(restore, words.path, kWhere);
  restore->add_option("NAME", words.names, "as `recover list` shows it")->required()->expected(1);
  restore->add_option("--to", words.to, "the file to write (default: where it was in the mount)");
  restore->add_flag("--force", words.force, "replace the file that is there");
  restore->add_flag("--partial", words.partial, "also if not every byte was kept; the others become zeros");
  CLI::App* drop = recover->add_subcommand("drop", "Delete them for good");
  add_path(drop, words.path, kWhere);
  drop->add_option("NAME", words.names, "as `recover list` shows it")->required();
}

void describe(CLI::App& program, Words& words) {
  program.require_subcommand(1);
  CLI::App* sync = program.add_subcommand("sync", "Wait until everything that was written is on S3");
  add_path(sync, words.sync.path, "any path in the mount, or its cache folder");
  sync->add_option("--timeout", words.sync.timeout_s, "seconds to wait (default: as long as it takes)")
      ->check(CLI::NonNegativeNumber);
  sync->add_flag("--json", words.sync.json, "one JSON object at the end");
  CLI::App* status = program.add_subcommand("status", "Show what a mount does, holds and still owes S3");
  add_path(status, words.status.path, "any path in the mount, or its cache folder");
  status->add_flag("--json", words.status.json, "one JSON object");
  describe_recover(program, words.recover);
}

int run(const CLI::App& program, const Words& words) {
  if (program.got_subcommand("sync")) return sync_command(words.sync);
  if (program.got_subcommand("status")) return status_command(words.status);
  const CLI::App* recover = program.get_subcommand("recover");
  if (recover->got_subcommand("list")) return recover_list(words.recover);
  if (recover->got_subcommand("restore")) return recover_restore(words.recover);
  return recover_drop(words.recover);
}

}  // namespace

bool is_command(const std::vector<std::string>& argv) {
  if (argv.size() < 2) return false;
  const std::string program = argv[0].substr(argv[0].rfind('/') + 1);
  if (program == "s3fs" || program.starts_with("mount.")) return false;
  if (std::find(std::begin(kCommands), std::end(kCommands), argv[1]) == std::end(kCommands)) return false;
  return std::none_of(argv.begin() + 2, argv.end(),
                      [](const std::string& word) { return word.starts_with("-o"); });
}

int run_command(const std::vector<std::string>& argv) {
  CLI::App program("", "s3cache");
  Words words;
  describe(program, words);
  try {
    // CLI11 takes the words from the back.
    program.parse(std::vector<std::string>(argv.rbegin(), argv.rend() - 1));
  } catch (const CLI::CallForHelp& help) {
    return program.exit(help);
  } catch (const CLI::ParseError& error) {
    fail(argv[1], std::string(error.what()) + ": see s3cache " + argv[1] + " --help");
    return kUsage;
  }
  return run(program, words);
}

std::string commands_help() {
  return "Commands, for a mount that runs (s3cache COMMAND --help says more):\n"
         "  s3cache sync PATH [--timeout S] [--json]   wait until everything written is on S3\n"
         "  s3cache status PATH [--json]               what it does, holds and still owes S3\n"
         "  s3cache recover list|restore|drop PATH ... changes that lost against somebody else's\n";
}

int fail(const std::string& command, const std::string& message) {
  std::fprintf(stderr, "s3cache %s: %s\n", command.c_str(), printable(message).c_str());
  return 1;
}

}  // namespace s3cache::ctl
