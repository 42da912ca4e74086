// Script: a server that gives the answers of a list, one a request, and the last one from then on.
#pragma once

#include "client_fixture.h"
#include "write_calls.h"

namespace s3cache::s3 {

struct Answer {
  int status = 200;
  std::string headers = {};
  std::string body = {};
  bool lost = false;  // the request is read, then the connection is reset
};

struct Script {
  explicit Script(std::vector<Answer> a, const std::function<void(S3Options&)>& change = {})
      : answers(std::move(a)), server([this](HostileConnection& c, const std::string&, int n) {
          const Answer& answer = answers[std::min(static_cast<size_t>(n), answers.size() - 1)];
          if (answer.lost)
            c.reset();
          else
            c.answer(answer.status, answer.headers, answer.body);
        }) {
    S3Options options = test_options(server.url());
    if (change) change(options);
    client = make_client(std::move(options));
  }

  std::string request(size_t n) { return server.log().at(n); }
  std::string first_line(size_t n) { return request(n).substr(0, request(n).find("\r\n")); }
  std::string header(size_t n, const std::string& name) { return request_header(request(n), name); }
  std::string body(size_t n) { return request(n).substr(request(n).find("\r\n\r\n") + 4); }

  const std::vector<Answer> answers;
  HostileServer server;
  std::unique_ptr<S3HttpClient> client;
};

inline std::string error_xml(const std::string& code, const std::string& message = "m",
                             const std::string& more = {}) {
  return "<?xml version=\"1.0\"?><Error><Code>" + code + "</Code><Message>" + message + "</Message>" + more +
         "</Error>";
}

template <class T>
std::string message_of(const Result<T>& r) {
  return r.ok() ? std::string() : r.error().message;
}

}  // namespace s3cache::s3
