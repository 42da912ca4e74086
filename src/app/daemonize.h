// Launcher: puts the mount into the background and keeps the starter waiting until it is known how the start
// went.
//
// The fork comes before any thread, LMDB environment or curl handle: none of them survives one. The child
// reports over a pipe, either "ready" or one line of error; a child that dies without a word is reported too.
// Threads: the start's only. Errors: exit codes, 0 ready and 1 everything else.
#pragma once

#include <optional>
#include <string>

#include "base/unique_fd.h"

namespace s3cache::app {

class Launcher {
 public:
  Launcher(std::string program, bool foreground) : program_(std::move(program)), foreground_(foreground) {}

  // Background only: forks. The starter gets the exit code once the child has reported; the child gets
  // nullopt and goes on.
  std::optional<int> launch();

  // The mount serves. The child leaves its terminal (session, folder, standard streams) and lets the starter
  // go. False: the starter is gone without waiting, so nobody wants this mount: undo it.
  bool ready();

  // The start failed: one line for the starter's standard error. Returns the exit code.
  int fail(const std::string& message);

 private:
  int wait_for_child(int pid, UniqueFd from_child);

  const std::string program_;
  const bool foreground_;
  UniqueFd to_starter_;  // the child's end of the pipe; empty in the foreground and after the report
};

}  // namespace s3cache::app
