// Decoders for S3's XML answers: total functions over whatever a server sends.
//
// Depth and size are bounded, missing fields get defaults, what makes no sense is an error; nothing is
// trusted. Threads: pure functions. Errors: kCorrupt. Units: bytes, UNIX seconds.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "s3/s3_client.h"

namespace s3cache::s3 {

// <Error>: of every failed request, and of some that claim 200.
struct XmlError {
  std::string code = {};
  std::string message = {};
  std::string region = {};    // the right one, when the server knows
  std::string endpoint = {};  // where a redirect points
  std::string request_id = {};
  std::string condition = {};  // of PreconditionFailed
};
// nullopt-like: an empty code when the text is no <Error>.
XmlError parse_error_xml(std::string_view text);

struct ListAnswer {
  ListPage page;               // next_token is left empty
  std::string v2_token = {};   // NextContinuationToken
  std::string v1_marker = {};  // NextMarker, else the last name of a truncated V1 answer
};
// ListBucketResult of V1 and V2, with or without encoding-type=url (the answer says which).
Result<ListAnswer> parse_list_xml(std::string_view text);

}  // namespace s3cache::s3
