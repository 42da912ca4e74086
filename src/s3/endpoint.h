// Endpoint: where the bucket lives, and from there the URL, Host and canonical URI of each key.
//
// Two styles: virtual host (bucket.host/key) and path (host/bucket/key); url= may carry a base path.
// Threads: immutable after parse(). Errors: kInvalid, with the way out in the message.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace s3cache::s3 {

// Query parameters before encoding.
using Query = std::vector<std::pair<std::string, std::string>>;

// Sorted and percent-encoded, as SigV4 signs it; the URL carries the same text.
std::string canonical_query(const Query& query);

class Endpoint {
 public:
  struct Target {
    std::string url;            // scheme://host/path?query
    std::string canonical_uri;  // percent-encoded once, starts with '/'
    std::string query;          // canonical_query()
  };

  // The region moves the default AWS url to the region's own host; otherwise it has no part in this.
  static Result<Endpoint> parse(std::string_view url, std::string_view bucket, std::string_view region,
                                bool path_style);

  // An empty key names the bucket itself (listings).
  Target target(std::string_view key, const Query& query) const;

  bool https() const { return https_; }
  const std::string& host() const { return host_; }  // the Host header: default ports are left out
  const std::string& bucket() const { return bucket_; }
  // For messages: scheme://host, without the bucket.
  const std::string& display() const { return display_; }

 private:
  bool https_ = true;
  std::string host_;
  std::string bucket_;
  std::string
      base_path_;  // encoded; starts with '/' unless empty, never ends in one; holds the bucket in path style
  std::string display_;
};

}  // namespace s3cache::s3
