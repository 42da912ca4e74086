// The rows of the option table about writing; option_rows.cc puts them in their place. Threads: a pure
// function.
#pragma once

#include <vector>

#include "config/option_table.h"

namespace s3cache::config {

std::vector<Option> writing_rows();  // sorted by name

}  // namespace s3cache::config
