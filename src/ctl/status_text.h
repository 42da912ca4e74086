// What is not on S3 yet, in words, from a status of the protocol. Threads: pure functions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace s3cache::ctl {

std::string unsaved_text(
    const nlohmann::json& unsaved);  // "3 files, 12 MiB and 1 change of names"; empty: none
std::string trouble_text(const nlohmann::json& unsaved);  // "key: why (5 s ago)"; empty: none

}  // namespace s3cache::ctl
