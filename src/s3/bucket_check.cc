#include "s3/bucket_check.h"

#include <future>

#include "base/log.h"

namespace s3cache::s3 {

namespace {

// Enough to get over one hiccup, few enough that a mount that cannot work says so soon.
constexpr int kAttempts = 2;

bool wrong_region(const ServiceError& why, const S3Options& options) {
  if (why.code == "AuthorizationHeaderMalformed" || why.code == "PermanentRedirect" ||
      why.code == "TemporaryRedirect" || why.code == "IllegalLocationConstraintException")
    return true;
  if (why.status == 301 || why.status == 307 || why.status == 308) return true;
  return why.status == 400 && !why.region.empty() && why.region != options.region;
}

std::string region_message(const ServiceError& why, const S3Options& options) {
  std::string text = "wrong region '" + options.region + "' for bucket " + options.bucket;
  text += why.region.empty() ? "; set -o endpoint=REGION (and url=) to the bucket's own"
                             : "; it is in " + why.region + ": use -o endpoint=" + why.region;
  if (!why.message.empty()) text += " (" + why.message + ")";
  return text;
}

Error explain_transport(const ServiceError& why, const std::string& at) {
  switch (why.transport) {
    case Transport::kTls:
      if (why.message.find("wrong version number") != std::string::npos)
        return {Code::kUnavailable, at + " does not speak TLS: should url= start with http://?"};
      if (why.message.find("error setting certificate") != std::string::npos)
        return {Code::kInvalid, "TLS to " + at + ": " + why.message +
                                    "; CURL_CA_BUNDLE or AWS_CA_BUNDLE must name a readable PEM file"};
      return {Code::kUnavailable,
              "TLS to " + at + " failed: " + why.message +
                  "; name its CA's file in CURL_CA_BUNDLE, or use -o no_check_certificate or "
                  "ssl_verify_hostname=0 if you trust the network"};
    case Transport::kTimeout:
      return {Code::kTimeout,
              at + " did not answer in time: " + why.message + "; check url= and the network"};
    case Transport::kBadAnswer:
      return {Code::kInvalid,
              at + " does not speak HTTP: " + why.message + "; check the scheme and port of url="};
    default:
      if (why.message.find("Empty reply") != std::string::npos && at.starts_with("http://"))
        return {Code::kUnavailable, at + " hung up without an answer: should url= start with https://?"};
      return {Code::kUnavailable, "cannot reach " + at + ": " + why.message + "; check url= and the network"};
  }
}

}  // namespace

Error explain_bucket_failure(const ServiceError& why, const S3Options& options, const Endpoint& endpoint,
                             const std::string& access_key) {
  const std::string& at = endpoint.display();
  if (why.transport != Transport::kOk && why.transport != Transport::kRefusedByTask)
    return explain_transport(why, at);
  if (wrong_region(why, options)) return {Code::kInvalid, region_message(why, options)};
  const std::string key = log::mask(access_key);
  if (why.unknown_access_key())
    return {Code::kAccessDenied, "access key id " + key + " is not known at " + at +
                                     "; check the password file, profile or environment"};
  if (why.code == "NoSuchBucket" || why.status == 404)
    return {Code::kNotFound,
            "Bucket or directory not found: no bucket " + options.bucket + " at " + at +
                "; check its name, url=" +
                (options.path_style ? "" : " and whether it needs -o use_path_request_style")};
  if (why.code == "SignatureDoesNotMatch")
    return {Code::kAccessDenied,
            "the secret access key does not belong to access key id " + key +
                "; check the password file, profile or environment (and endpoint=REGION, now '" +
                options.region + "')"};
  if (why.expired_token())
    return {Code::kAccessDenied,
            "the session token of access key id " + key + " is not valid any more; renew it"};
  if (why.code == "RequestTimeTooSkewed")
    return {Code::kAccessDenied, "the clock of this machine is too far off the server's; set it"};
  Error error = why.to_error("bucket " + options.bucket + " at " + at);
  if (why.status == 401 || why.status == 403) {
    error.code = Code::kAccessDenied;
    error.message += access_key.empty() ? "; the bucket is not public: give credentials"
                                        : "; access key id " + key + " may not list it (s3:ListBucket)";
  }
  return error;
}

BucketCheck check_bucket(S3HttpClient& client, const std::string& prefix) {
  struct Shared {
    std::promise<Result<ListPage>> done;
    ServiceError why;
  };
  const auto shared = std::make_shared<Shared>();
  auto future = shared->done.get_future();
  ListRequest request;
  request.prefix = prefix;
  request.delimiter = false;
  request.max_keys = 1;
  client.probe(
      std::move(request), kAttempts,
      [shared](Result<ListPage> page) { shared->done.set_value(std::move(page)); },
      [shared](const ServiceError& why) { shared->why = why; });
  const Result<ListPage> page = future.get();

  BucketCheck out;
  if (page.ok()) {
    out.prefix_exists = !page->objects.empty() || !page->prefixes.empty();
    return out;
  }
  const auto credentials = client.options().credentials->get();
  const bool answered = shared->why.status != 0 || shared->why.transport != Transport::kOk;
  out.status = answered ? explain_bucket_failure(shared->why, client.options(), client.endpoint(),
                                                 credentials.ok() ? credentials->access_key : std::string())
                        : page.error();
  if (shared->why.region != client.options().region) out.right_region = shared->why.region;
  return out;
}

}  // namespace s3cache::s3
