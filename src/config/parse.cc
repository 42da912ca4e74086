#include "config/parse.h"

#include <fmt/format.h>

#include "config/option_table.h"
#include "config/validate.h"
#include "config/values.h"

namespace s3cache::config {
namespace {

// s3fs's grammar is small and odd (permuted words, combined short flags, -o lists, mount(8)'s helper flags, a
// bucket that may be an option), and every error must name its way out: a hand-written scanner says that in
// fewer lines than a library would need to be talked into it, and has none of getopt's global state.
class Scanner {
 public:
  Scanner(const std::vector<std::string>& argv, Config& config) : argv_(argv), config_(config) {}

  Status run() {
    for (next_ = 1; next_ < argv_.size();) {
      const std::string& word = argv_[next_++];
      Status status;
      if (only_words_ || word.size() < 2 || word[0] != '-') {
        words_.push_back(word);
      } else if (word == "--") {
        only_words_ = true;
      } else if (word[1] == '-') {
        status = long_flag(word);
      } else {
        status = short_flags(word);
      }
      if (!status || config_.action == Action::kHelp || config_.action == Action::kVersion) return status;
    }
    return {};
  }

  const std::vector<std::string>& words() const { return words_; }

 private:
  Status long_flag(const std::string& word) {
    if (word == "--help") {
      config_.action = Action::kHelp;
    } else if (word == "--version") {
      config_.action = Action::kVersion;
    } else if (word == "--dump-man-options") {
      config_.action = Action::kDumpManOptions;
    } else if (word == "--debug") {
      debug();
    } else if (word.starts_with("--incomplete-mpu-")) {
      return no_utility_mode(word);
    } else {
      return Error{
          Code::kInvalid,
          fmt::format("unknown flag {}: options are written -o name=value, see s3cache --help", word)};
    }
    return {};
  }

  Status short_flags(const std::string& word) {
    for (size_t i = 1; i < word.size(); ++i) {
      switch (word[i]) {
        case 'f':
          config_.foreground = true;
          break;
        case 'd':
          debug();
          break;
        case 'h':
          config_.action = Action::kHelp;
          return {};
        case 'V':
          config_.action = Action::kVersion;
          return {};
        // -s is libfuse's single thread, the rest is what mount(8) hands to a mount.s3fs helper: nothing to
        // do.
        case 's':
        case 'n':
        case 'v':
        case 'r':
        case 'w':
          break;
        case 'o':
          return option_list(word.substr(i + 1));
        case 'u':
          return no_utility_mode("-u");
        default:
          return Error{Code::kInvalid, fmt::format("unknown flag -{}: see s3cache --help", word[i])};
      }
    }
    return {};
  }

  Status option_list(std::string list) {
    if (list.empty()) {
      if (next_ >= argv_.size())
        return Error{Code::kInvalid, "-o needs options after it: -o name=value,name"};
      list = argv_[next_++];
    }
    for (const std::string& option : split_mount_options(list)) {
      const size_t equals = option.find('=');
      const bool has_value = equals != std::string::npos;
      const std::string value = has_value ? option.substr(equals + 1) : "";
      if (auto status = apply_option(option.substr(0, equals), has_value, value, config_); !status)
        return status;
    }
    return {};
  }

  void debug() {
    // What libfuse prints goes to the standard error, which a daemon has not.
    if (seen_debug_) config_.fuse_debug = config_.foreground = true;
    seen_debug_ = true;
    config_.debug_flag = true;
  }

  static Status no_utility_mode(const std::string& flag) {
    return Error{
        Code::kUnsupported,
        fmt::format("{} is not supported: list and abort unfinished uploads with your provider's tool",
                    flag)};
  }

  const std::vector<std::string>& argv_;
  Config& config_;
  std::vector<std::string> words_;
  size_t next_ = 1;
  bool only_words_ = false, seen_debug_ = false;
};

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// Which word is what depends on whether -o bucket= was given, so this runs after every option has been read.
Status assign_words(const std::vector<std::string>& words, Config& config) {
  size_t next = 0;
  const bool from_option = !config.bucket.empty();
  if (!from_option && next < words.size()) config.bucket = words[next++];
  // fstab's first field is a mere "s3fs" when the bucket stands among the options.
  const bool spare = words.size() - next == 2 && (words[next] == "s3fs" || words[next] == "s3cache");
  if (from_option && spare) ++next;
  if (next < words.size()) config.mountpoint = words[next++];
  if (next < words.size()) {
    return Error{Code::kInvalid,
                 fmt::format("unexpected word {}: after {} and {} only options may follow", words[next],
                             from_option ? "-o bucket=" : "the bucket", "the mount point")};
  }
  if (config.bucket.empty()) {
    return Error{Code::kInvalid, "missing BUCKET argument: s3cache BUCKET[:/PREFIX] MOUNTPOINT [-o options]"};
  }
  if (config.mountpoint.empty()) {
    return Error{Code::kInvalid,
                 "missing MOUNTPOINT argument: s3cache BUCKET[:/PREFIX] MOUNTPOINT [-o options]"};
  }
  return {};
}

// Variables go in first, so that an option wins over them.
Status apply_environment(const Environment& env, Config& config) {
  struct Source {
    const char* variable;
    const char* option;
  };
  // Later rows win over earlier ones.
  constexpr Source kSources[] = {{"AWS_ENDPOINT_URL", "url"},
                                 {"AWS_DEFAULT_REGION", "region"},
                                 {"AWS_REGION", "region"},
                                 {"AWS_PROFILE", "profile"},
                                 {"S3FS_LOGFILE", "logfile"}};
  for (const Source& source : kSources) {
    const std::string value = env.get(source.variable);
    if (value.empty()) continue;
    if (auto status = apply_option(source.option, true, value, config); !status) return status;
  }
  config.ssl_key_password = env.get("S3FS_SSL_PRIVKEY_PASSWORD");
  for (const char* name : {"AWS_CA_BUNDLE", "CURL_CA_BUNDLE"}) {
    if (std::string bundle = env.get(name); !bundle.empty()) config.ca_bundle = std::move(bundle);
  }
  config.instance_metadata_url = env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  config.container_path = env.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  config.container_url = env.get("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  config.container_token = env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN");
  config.container_token_file = env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
  const std::string stamps = to_lower(env.get("S3FS_MSGTIMESTAMP"));
  if (stamps == "no" || stamps == "false" || stamps == "0") config.no_time_stamp_msg = true;
  return {};
}

}  // namespace

std::vector<std::string> split_mount_options(const std::string& text) {
  std::vector<std::string> pieces;
  std::string piece;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == ',' || text[i + 1] == '\\')) {
      piece += text[++i];
    } else if (text[i] == ',') {
      if (!piece.empty()) pieces.push_back(std::move(piece));
      piece.clear();
    } else {
      piece += text[i];
    }
  }
  if (!piece.empty()) pieces.push_back(std::move(piece));
  return pieces;
}

Result<Config> parse_command_line(const std::vector<std::string>& argv, const Environment& env) {
  Config config;
  config.program = argv.empty() ? "s3cache" : base_name(argv[0]);
  if (config.program.starts_with("mount.")) config.program.erase(0, 6);
  if (auto status = apply_environment(env, config); !status) return status.error();
  Scanner scanner(argv, config);
  if (auto status = scanner.run(); !status) return status.error();
  if (config.action != Action::kMount) return config;
  if (auto status = assign_words(scanner.words(), config); !status) return status.error();
  if (auto status = validate(config); !status) return status.error();
  return config;
}

}  // namespace s3cache::config
