#include "s3/endpoint.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "base/encoding.h"

namespace s3cache::s3 {

namespace {

constexpr std::string_view kDefaultHost = "s3.amazonaws.com";

Error invalid(std::string message) { return Error{Code::kInvalid, std::move(message)}; }

std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

bool is_ip_address(const std::string& host) {
  in_addr v4{};
  return host.front() == '[' || inet_pton(AF_INET, host.c_str(), &v4) == 1;
}

struct Authority {
  std::string host;
  int port = 0;  // 0: the scheme's own
};

bool host_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

Result<Authority> parse_authority(std::string_view text, std::string_view url) {
  Authority a;
  const std::string shown(url);
  if (text.find('@') != std::string_view::npos)
    return invalid("url=: user names do not belong into the URL; use passwd_file");
  std::string_view port;
  if (!text.empty() && text.front() == '[') {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return invalid("url=" + shown + ": the address has no ']'");
    a.host = lower(text.substr(0, close + 1));
    in6_addr v6{};
    if (inet_pton(AF_INET6, a.host.substr(1, close - 1).c_str(), &v6) != 1)
      return invalid("url=" + shown + ": not an IPv6 address");
    port = text.substr(close + 1);
  } else {
    const size_t colon = std::min(text.find(':'), text.size());
    a.host = lower(text.substr(0, colon));
    port = text.substr(colon);
    if (!std::all_of(a.host.begin(), a.host.end(), host_char))
      return invalid("url=" + shown + ": not a host name");
  }
  if (a.host.empty()) return invalid("url=" + shown + ": no host name");
  if (port.empty()) return a;
  port.remove_prefix(1);
  const auto [end, ec] = std::from_chars(port.data(), port.data() + port.size(), a.port);
  if (ec != std::errc() || end != port.data() + port.size() || a.port < 1 || a.port > 65535)
    return invalid("url=" + shown + ": not a port number");
  return a;
}

Status check_bucket_name(std::string_view bucket, bool https, bool path_style, const std::string& host) {
  const std::string name(bucket);
  if (name.empty()) return invalid("no bucket name");
  for (const char c : name)
    if (static_cast<unsigned char>(c) <= 0x20 || c == '/' || c == '?' || c == '#' || c == 0x7f)
      return invalid("bucket " + name + ": such a name cannot exist");
  if (path_style) return {};
  const std::string way_out = "; use -o use_path_request_style";
  if (name.find_first_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ") != std::string::npos)
    return invalid("bucket " + name + ": upper-case names do not work as host names" + way_out);
  if (https && name.find('.') != std::string::npos)
    return invalid("bucket " + name + ": names with '.' do not match the server's certificate" + way_out);
  if (!std::all_of(name.begin(), name.end(), host_char))
    return invalid("bucket " + name + ": not usable as a host name" + way_out);
  if (is_ip_address(host))
    return invalid("url: " + host + " is an address, bucket names cannot be put in front of it" + way_out);
  return {};
}

}  // namespace

std::string canonical_query(const Query& query) {
  std::vector<std::pair<std::string, std::string>> encoded;
  encoded.reserve(query.size());
  for (const auto& [name, value] : query)
    encoded.emplace_back(percent_encode(name, false), percent_encode(value, false));
  std::sort(encoded.begin(), encoded.end());
  std::string out;
  for (const auto& [name, value] : encoded) {
    if (!out.empty()) out.push_back('&');
    out += name;
    out.push_back('=');
    out += value;
  }
  return out;
}

Result<Endpoint> Endpoint::parse(std::string_view url, std::string_view bucket, std::string_view region,
                                 bool path_style) {
  Endpoint e;
  const std::string scheme = lower(url.substr(0, std::min(url.size(), url.find("://"))));
  if ((scheme != "http" && scheme != "https") || url.size() < scheme.size() + 3)
    return invalid("url=" + std::string(url) + ": must start with http:// or https://");
  e.https_ = scheme == "https";
  std::string_view rest = url.substr(scheme.size() + 3);
  if (rest.find_first_of("?#") != std::string_view::npos)
    return invalid("url=" + std::string(url) + ": has no place for '?' or '#'");
  const size_t slash = std::min(rest.find('/'), rest.size());
  auto authority = parse_authority(rest.substr(0, slash), url);
  if (!authority.ok()) return authority.error();
  std::string_view path = rest.substr(slash);
  while (!path.empty() && path.back() == '/') path.remove_suffix(1);
  if (authority->host == kDefaultHost && !region.empty() && region != "us-east-1")
    authority->host = "s3." + lower(region) + ".amazonaws.com";
  if (const Status s = check_bucket_name(bucket, e.https_, path_style, authority->host); !s.ok())
    return s.error();

  const int own_port = e.https_ ? 443 : 80;
  const std::string port =
      authority->port == 0 || authority->port == own_port ? "" : ":" + std::to_string(authority->port);
  e.bucket_ = bucket;
  e.display_ = scheme + "://" + authority->host + port;
  e.host_ = (path_style ? "" : e.bucket_ + ".") + authority->host + port;
  e.base_path_ = percent_encode(path, true);
  if (path_style) e.base_path_ += "/" + percent_encode(bucket, false);
  return e;
}

Endpoint::Target Endpoint::target(std::string_view key, const Query& query) const {
  Target t;
  t.canonical_uri = base_path_;
  if (!key.empty() || base_path_.empty()) t.canonical_uri += "/" + percent_encode(key, true);
  t.query = canonical_query(query);
  t.url = (https_ ? "https://" : "http://") + host_ + t.canonical_uri;
  if (!t.query.empty()) t.url += "?" + t.query;
  return t;
}

}  // namespace s3cache::s3
