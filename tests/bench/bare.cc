// bare: the least a client can do. Sends one request for each URL on standard input over N keep-alive
// connections and prints "SECONDS BYTES FAILED". The reference of the latency rows: no file system, no cache,
// no disk. usage: bare HEAD|GET CONNECTIONS < urls
#include <curl/curl.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

namespace {

size_t count(char*, size_t size, size_t n, void* total) {
  *static_cast<int64_t*>(total) += static_cast<int64_t>(size * n);
  return size * n;
}

// Sends urls[*next] on `easy`, false when none is left.
bool send_next(CURLM* multi, CURL* easy, const std::vector<std::string>& urls, size_t* next) {
  if (*next == urls.size()) return false;
  curl_easy_setopt(easy, CURLOPT_URL, urls[(*next)++].c_str());
  curl_multi_add_handle(multi, easy);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const bool head = std::string(argv[1]) == "HEAD";
  std::vector<std::string> urls;
  for (std::string line; std::getline(std::cin, line);) urls.push_back(line);

  curl_global_init(CURL_GLOBAL_ALL);
  CURLM* multi = curl_multi_init();
  int64_t bytes = 0;
  int failed = 0;
  size_t next = 0;
  size_t busy = 0;
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < std::atoi(argv[2]); ++i) {
    CURL* easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_NOBODY, head ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, count);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &bytes);
    curl_easy_setopt(easy, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L * 1024);
    if (send_next(multi, easy, urls, &next)) ++busy;
  }
  while (busy > 0) {
    int running = 0;
    curl_multi_perform(multi, &running);
    int left = 0;
    while (CURLMsg* message = curl_multi_info_read(multi, &left)) {
      CURL* easy = message->easy_handle;
      if (message->data.result != CURLE_OK) ++failed;
      curl_multi_remove_handle(multi, easy);
      if (!send_next(multi, easy, urls, &next)) --busy;
    }
    if (running > 0) curl_multi_poll(multi, nullptr, 0, 100, nullptr);
  }
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - began;
  std::cout << spent.count() << " " << bytes << " " << failed << std::endl;
  return failed == 0 ? 0 : 1;
}
