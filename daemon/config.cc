#include "daemon/config.h"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/statvfs.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>

#include "base/paths.h"
#include "daemon/parse_size.h"
#include "rangecache/version.h"

namespace rangecache::daemon {
namespace {

/// Options as typed; checked by to_config().
struct Raw {
  std::string config_file, cache_dir, cache_size, keep_free,
      scrub_rate = "4MiB", merge_rate = "64MiB", fetch_whole = "0", memory_limit = "256MiB", socket,
      log_level = "info", log_file, freshness, stale_if_error = "0s", eviction = "s3fifo",
      durability = "none", admission = "all", writer = "auto", urls, connect_timeout = "10s",
      timeout = "30s", ca_file, proxy;
  std::vector<std::string> mount, quota;
  fetcher::S3Options s3;
  int max_pinned = 50;
  int max_transfers = 32;
  double hedge = 5;
  bool daemonize = false;
  bool allow_other = false;
  bool no_passthrough = false;
};

constexpr const char* kFooter = R"(Examples:
  rangecached https://example.org/data/ /mnt/data      mount a directory tree, in the foreground
  rangecached --region eu-west-1 s3://bucket/data /mnt mount a bucket, or what is below a prefix
  rangecached --daemonize --cache-size 20GiB URL DIR   return once the mount is ready
  rangecached                                          serve the socket API only
  cachectl stats                                       see what it did

A config file (TOML) takes the same names: cache-size = "20GiB". SIGTERM, SIGINT and
`cachectl shutdown` unmount and save. The socket is also found by RANGECACHE_SOCKET.)";

void declare(CLI::App& app, Raw& raw) {
  app.add_option("--config", raw.config_file, "Read options from this TOML file")
      ->type_name("FILE");
  app.add_option("--cache-dir", raw.cache_dir,
                 "Where cached bytes are kept (default: ~/.cache/rangecache)")
      ->type_name("DIR");
  app.add_option(
         "--cache-size", raw.cache_size,
         "Hard limit of the cache directory, e.g. 20GiB (default: a fifth of the free space)")
      ->type_name("SIZE");
  app.add_option(
         "--keep-free", raw.keep_free,
         "Free disk space that the cache leaves to others, e.g. 10GiB; 0: none (default: 5% "
         "of the disk, at most 1GiB)")
      ->type_name("SIZE");
  app.add_option("--memory-limit", raw.memory_limit, "Limit of object bytes held in memory")
      ->type_name("SIZE")
      ->capture_default_str();
  app.add_option("--socket", raw.socket, "Path of the API's socket")->type_name("PATH");
  app.add_option("--freshness", raw.freshness,
                 "When to ask the origin again: http, ttl=<time>, always, immutable, offline "
                 "(default: http; for buckets ttl=60s)")
      ->type_name("POLICY");
  app.add_option("--stale-if-error", raw.stale_if_error,
                 "How long past its time cached data serves while the origin is unreachable")
      ->type_name("TIME")
      ->capture_default_str();
  app.add_option("--eviction", raw.eviction, "What is evicted first: s3fifo or lru")
      ->type_name("POLICY")
      ->capture_default_str();
  app.add_option("--quota", raw.quota,
                 "Objects whose URL begins with PREFIX take at most SIZE of the cache; repeatable")
      ->type_name("PREFIX=SIZE")
      ->allow_extra_args(false);  // or it takes URL and mount point, too
  app.add_option("--max-pinned", raw.max_pinned, "The most of the cache that pins spare, in %")
      ->type_name("PERCENT")
      ->check(CLI::Range(0, 90))
      ->capture_default_str();
  app.add_option("--admission", raw.admission,
                 "What is kept: all, or second-use (only what is asked for again)")
      ->type_name("POLICY")
      ->capture_default_str();
  app.add_option("--durability", raw.durability,
                 "What a power cut may cost: none (unsynced chunks), batch (the last seconds') or "
                 "strict (no chunk)")
      ->type_name("LEVEL")
      ->capture_default_str();
  app.add_option("--scrub-rate", raw.scrub_rate,
                 "How fast the background verifies what is cached, a second; 0: never")
      ->type_name("SIZE")
      ->capture_default_str();
  app.add_option("--fetch-whole", raw.fetch_whole,
                 "Objects up to this size are fetched whole once they are read at random: "
                 "databases are quicker, and cost more transfer; 0: none")
      ->type_name("SIZE")
      ->capture_default_str();
  app.add_option("--merge-rate", raw.merge_rate,
                 "How fast the background joins chunks to larger files, a second; 0: never")
      ->type_name("SIZE")
      ->capture_default_str();
  app.add_option(
         "--endpoint-url", raw.s3.endpoint_url,
         "S3 service, e.g. https://minio.example:9000 (default: AWS_ENDPOINT_URL, else AWS)")
      ->type_name("URL");
  app.add_option("--region", raw.s3.region, "Region of the buckets (default: AWS_REGION)")
      ->type_name("NAME");
  app.add_option("--profile", raw.s3.profile,
                 "Profile in ~/.aws with credentials and settings (default: AWS_PROFILE)")
      ->type_name("NAME");
  app.add_option("--addressing", raw.s3.addressing,
                 "How buckets are named: path, virtual (in the host name) or auto")
      ->type_name("STYLE")
      ->check(CLI::IsMember({"auto", "path", "virtual"}))
      ->capture_default_str();
  app.add_flag("--no-sign-request", raw.s3.anonymous, "Read public buckets without credentials");
  app.add_flag("--request-payer", raw.s3.requester_pays, "Pay for requests to others' buckets");
  app.add_option("--connect-timeout", raw.connect_timeout, "How long a server may take to connect")
      ->type_name("TIME")
      ->capture_default_str();
  app.add_option("--timeout", raw.timeout, "How long a server may send nothing")
      ->type_name("TIME")
      ->capture_default_str();
  app.add_option("--max-transfers", raw.max_transfers,
                 "Data requests in flight per server; it gets fewer while it asks for that")
      ->type_name("COUNT")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--hedge", raw.hedge,
                 "The most requests sent a second time because they are slow, in %; 0: none")
      ->type_name("PERCENT")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  app.add_option("--ca-file", raw.ca_file,
                 "Trust these certificates (PEM), too (default: AWS_CA_BUNDLE)")
      ->type_name("FILE");
  app.add_option("--proxy", raw.proxy,
                 "Ask servers through this proxy, e.g. http://proxy:3128 (default: http_proxy, "
                 "https_proxy)")
      ->type_name("URL");
  app.add_flag("--unsigned-payload", raw.s3.unsigned_payload,
               "Sign no hash of the (empty) body, for services that want it so");
  app.add_option("--writer", raw.writer, "How chunks are written: auto, io_uring or threads")
      ->type_name("KIND")
      ->capture_default_str();
  app.add_option("--urls", raw.urls, "Mount the URLs that this file lists, one a line")
      ->type_name("FILE");
  app.add_option("--log-level", raw.log_level, "trace, debug, info, warn, error or off")
      ->type_name("LEVEL")
      ->capture_default_str();
  app.add_option("--log-file", raw.log_file, "Append the log here instead of stderr")
      ->type_name("FILE");
  app.add_flag("--allow-other", raw.allow_other, "Let other users read the mount");
  app.add_flag("--no-passthrough", raw.no_passthrough,
               "Answer all reads of the mount, also those of complete files that the kernel could "
               "read by itself");
  app.add_flag("--daemonize", raw.daemonize, "Return once the mount is ready");
  app.add_option("mount", raw.mount, "What to mount (http, https, s3 or file URL), and where")
      ->group("")              // the usage line says it
      ->expected(0, 1 << 20);  // too many get an error that says how it is meant
}

class HelpFormatter final : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App*, std::string) const override {
    return "Usage: rangecached [OPTIONS] [URL MOUNTPOINT]\n";
  }
};

Error usage(std::string text) { return Error(ErrorCode::kInvalidArgument, std::move(text)); }

std::string toml_text(const toml::node& node) {
  if (auto text = node.value<std::string>()) return *text;
  if (auto flag = node.as_boolean()) return flag->get() ? "true" : "false";
  if (auto number = node.value<std::int64_t>()) return fmt::format("{}", *number);
  return "";
}

/// Gives each key of the file to the option of the same name, unless the command line had it.
Result<void> apply_file(CLI::App& app, const std::string& path, toml::table& file) {
  try {
    file = toml::parse_file(path);
  } catch (const toml::parse_error& error) {
    const auto where = error.source().begin;
    return usage(where.line > 0 ? fmt::format("{}:{}:{}: {}", path, where.line, where.column,
                                              error.description())
                                : fmt::format("{}: {}", path, error.description()));
  }
  for (const auto& [key, node] : file) {
    const std::string name(key.str());
    const auto where = fmt::format("{}:{}", path, node.source().begin.line);
    CLI::Option* option = name == "config" ? nullptr : app.get_option_no_throw("--" + name);
    std::vector<std::string> values;
    // Positional, and tables: they are read below, and by to_config().
    if (name == "url" || name == "mountpoint" || name == "origin") continue;
    if (!option)
      return usage(
          fmt::format("{}: unknown key '{}'; the keys are the long options of "
                      "rangecached --help, and url, mountpoint, [[origin]]",
                      where, name));
    const std::string text = toml_text(node);
    if (text.empty())
      return usage(fmt::format("{}: '{}' must be a string, number or boolean", where, name));
    if (option->count() > 0) continue;
    try {
      option->add_result(text);
      option->run_callback();
    } catch (const CLI::Error& error) {
      return usage(fmt::format("{}: {}: {}", where, name, error.what()));
    }
  }
  CLI::Option* mount = app.get_option("mount");
  if (mount->count() == 0) {
    for (const char* name : {"url", "mountpoint"}) {
      if (const auto* node = file.get(name)) mount->add_result(toml_text(*node));
    }
    if (mount->count() > 0) mount->run_callback();
  }
  return {};
}

std::string home_directory() {
  if (const char* home = std::getenv("HOME"); home && *home) return home;
  const passwd* user = getpwuid(getuid());
  return user ? user->pw_dir : "/";
}

std::string default_cache_directory() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache)
    return std::string(cache) + "/rangecache";
  return home_directory() + "/.cache/rangecache";
}

/// Of the file system that the cache will stand on, in bytes.
struct Space {
  std::uint64_t size = 0;
  std::uint64_t free = 0;
};

Result<Space> space_at(const std::string& directory) {
  std::filesystem::path existing = std::filesystem::absolute(directory);
  std::error_code error;
  while (existing.has_parent_path() && existing != existing.parent_path() &&
         !std::filesystem::exists(existing, error)) {
    existing = existing.parent_path();
  }
  struct statvfs space {};
  if (statvfs(existing.c_str(), &space) != 0)
    return Error(ErrorCode::kIo, "cannot tell the free space of " + existing.string(), errno);
  return Space{std::uint64_t{space.f_blocks} * space.f_frsize,
               std::uint64_t{space.f_bavail} * space.f_frsize};
}

/// A fifth of what is free, but at most 64 GiB.
std::uint64_t default_size(const Space& space) {
  const std::uint64_t share = std::min<std::uint64_t>(space.free / 5, 64ULL << 30);
  return std::max(share, cache::kMinSizeBytes);
}

std::uint64_t default_keep_free(const Space& space) {
  return std::min<std::uint64_t>(space.size / 20, 1ULL << 30);
}

Result<std::uint64_t> size_option(const char* name, const std::string& text, std::uint64_t least) {
  auto size = parse_size(text);
  if (!size) return usage(fmt::format("--{}: {}", name, size.error().context));
  if (*size < least)
    return usage(fmt::format("--{} {}: at least {}MiB are needed", name, text, least >> 20));
  return *size;
}

Result<std::int64_t> milliseconds_option(const char* name, const std::string& text) {
  auto seconds = cache::parse_duration_s(text);
  if (!seconds) return usage(fmt::format("--{}: {}", name, seconds.error().context));
  if (*seconds == 0) return usage(fmt::format("--{} {}: at least 1s", name, text));
  return *seconds * 1000;
}

/// How all origins are reached, unless a table says else.
Result<void> read_connection(const Raw& raw, fetcher::OriginOptions& each) {
  each.s3 = raw.s3;
  each.limits.hedge_share = raw.hedge / 100;
  fetcher::ConnectionOptions& connection = each.connection;
  RC_ASSIGN(connection.connect_timeout_ms,
            milliseconds_option("connect-timeout", raw.connect_timeout));
  RC_ASSIGN(connection.stall_timeout_ms, milliseconds_option("timeout", raw.timeout));
  connection.first_byte_timeout_ms = connection.stall_timeout_ms;
  connection.max_transfers = raw.max_transfers;
  connection.proxy = raw.proxy;
  connection.ca_file = raw.ca_file;
  if (const char* bundle = std::getenv("AWS_CA_BUNDLE"); raw.ca_file.empty() && bundle)
    connection.ca_file = bundle;
  if (!connection.ca_file.empty() && access(connection.ca_file.c_str(), R_OK) != 0)
    return Error(ErrorCode::kInvalidArgument, "--ca-file " + connection.ca_file, errno);
  return {};
}

Result<cache::FreshnessPolicy> policy_option(const Raw& raw, const char* otherwise) {
  RC_ASSIGN(cache::FreshnessPolicy policy,
            cache::parse_freshness_policy(raw.freshness.empty() ? otherwise : raw.freshness));
  RC_ASSIGN(policy.stale_if_error_s, cache::parse_duration_s(raw.stale_if_error));
  return policy;
}

Result<void> read_sizes(const Raw& raw, cache::CacheOptions& cache) {
  cache.directory = raw.cache_dir.empty() ? default_cache_directory() : raw.cache_dir;
  if (raw.cache_size.empty()) {
    RC_ASSIGN(const Space space, space_at(cache.directory));
    cache.size_bytes = default_size(space);
  } else {
    RC_ASSIGN(cache.size_bytes, size_option("cache-size", raw.cache_size, cache::kMinSizeBytes));
  }
  if (raw.keep_free.empty()) {
    RC_ASSIGN(const Space space, space_at(cache.directory));
    cache.keep_free_bytes = default_keep_free(space);
  } else {
    RC_ASSIGN(cache.keep_free_bytes, size_option("keep-free", raw.keep_free, 0));
  }
  RC_ASSIGN(cache.memory_bytes,
            size_option("memory-limit", raw.memory_limit, cache::kMinMemoryBytes));
  RC_ASSIGN(cache.scrubbing.bytes_per_second, size_option("scrub-rate", raw.scrub_rate, 0));
  RC_ASSIGN(cache.merge_bytes_per_second, size_option("merge-rate", raw.merge_rate, 0));
  RC_ASSIGN(cache.fetch_whole_bytes, size_option("fetch-whole", raw.fetch_whole, 0));
  return {};
}

/// What holds for all origins, and what the tables of the config file say of some.
Result<void> read_origins(const Raw& raw, const toml::table& file, Config& config) {
  RC_TRY(read_connection(raw, config.each_origin));
  DefaultFreshness freshness;
  RC_ASSIGN(freshness.http, policy_option(raw, "http"));
  RC_ASSIGN(freshness.s3, policy_option(raw, "ttl=60s"));
  config.each_origin.limits.offline = freshness.http.kind == cache::FreshnessPolicy::Kind::kOffline;
  config.cache.freshness = freshness.http;
  if (const toml::node* tables = file.get("origin")) {
    RC_ASSIGN(config.origins,
              read_origin_tables(*tables, raw.config_file, config.each_origin, freshness));
    for (const OriginTable& origin : config.origins) {
      config.cache.freshness.add(origin.url, origin.freshness);
      if (origin.fetch_whole_bytes)
        config.cache.fetch_whole_bytes.add(origin.url, *origin.fetch_whole_bytes);
    }
  }
  for (const char* scheme : {"s3:", "s3+http:", "s3+https:"})
    config.cache.freshness.add(scheme + std::string("/"), freshness.s3);
  return {};
}

Result<void> read_quotas(const Raw& raw, std::vector<cache::Quota>& quotas) {
  for (const std::string& quota : raw.quota) {
    const std::size_t equals = quota.rfind('=');
    if (equals == std::string::npos || equals == 0)
      return usage("--quota " + quota + ": write PREFIX=SIZE");
    const std::string prefix = quota.substr(0, equals);
    RC_ASSIGN(const std::uint64_t size, size_option("quota", quota.substr(equals + 1), 0));
    for (const cache::Quota& other : quotas) {
      if (other.prefix == prefix)
        return usage("--quota " + quota + ": a second one for this prefix");
    }
    quotas.push_back({prefix, size});
    if (quotas.size() > 200) return usage("--quota: at most 200");
  }
  return {};
}

/// The value that goes by the word which `option` was given.
template <typename T>
Result<T> choice(const char* option, const std::string& word,
                 std::initializer_list<std::pair<const char*, T>> choices) {
  std::string words;
  for (const auto& [name, value] : choices) {
    if (word == name) return value;
    words += (words.empty() ? "" : name == std::prev(choices.end())->first ? " or " : ", ");
    words += name;
  }
  return usage(fmt::format("--{} {}: use {}", option, word, words));
}

Result<void> read_choices(const Raw& raw, cache::CacheOptions& cache) {
  using cache::Durability, cache::EvictionKind, cache::WriterKind;
  RC_ASSIGN(cache.eviction,
            choice<EvictionKind>("eviction", raw.eviction,
                                 {{"s3fifo", EvictionKind::kS3Fifo}, {"lru", EvictionKind::kLru}}));
  RC_ASSIGN(cache.admit_second_use,
            choice<bool>("admission", raw.admission, {{"all", false}, {"second-use", true}}));
  RC_ASSIGN(cache.durability, choice<Durability>("durability", raw.durability,
                                                 {{"none", Durability::kNone},
                                                  {"batch", Durability::kBatch},
                                                  {"strict", Durability::kStrict}}));
  RC_ASSIGN(cache.writer, choice<WriterKind>("writer", raw.writer,
                                             {{"auto", WriterKind::kAuto},
                                              {"io_uring", WriterKind::kIoUring},
                                              {"threads", WriterKind::kThreads}}));
  return {};
}

Result<void> read_mount(const Raw& raw, Config& config) {
  config.urls_file = raw.urls;
  const std::size_t wanted = raw.urls.empty() ? 2 : 1;
  if (!raw.mount.empty() && raw.mount.size() != wanted) {
    return usage(raw.urls.empty() ? "give both a URL and a mount point: rangecached URL MOUNTPOINT"
                                  : "with --urls give just the mount point");
  }
  if (raw.mount.empty() && !raw.urls.empty()) return usage("--urls needs a mount point");
  if (!raw.mount.empty()) {
    config.mountpoint = raw.mount.back();
    if (raw.urls.empty()) config.url = raw.mount.front();
  }
  return {};
}

Result<Config> to_config(const Raw& raw, const toml::table& file) {
  Config config;
  RC_TRY(read_sizes(raw, config.cache));
  RC_TRY(read_origins(raw, file, config));
  RC_TRY(read_choices(raw, config.cache));
  RC_TRY(read_quotas(raw, config.cache.quotas));
  config.cache.max_pinned_share = raw.max_pinned / 100.0;
  RC_ASSIGN(config.log_level, parse_log_level(raw.log_level));
  config.socket_path = raw.socket.empty() ? default_socket_path() : raw.socket;
  config.log_file = raw.log_file;
  config.daemonize = raw.daemonize;
  config.allow_other = raw.allow_other;
  config.passthrough = !raw.no_passthrough;
  RC_TRY(read_mount(raw, config));
  return config;
}

}  // namespace

CommandLine parse_command_line(int argc, const char* const* argv) {
  CLI::App app{"rangecached: makes remote files behave like local ones", "rangecached"};
  app.set_version_flag("--version", std::string("rangecached ") + RANGECACHE_VERSION);
  app.footer(kFooter);
  app.formatter(std::make_shared<HelpFormatter>());
  Raw raw;
  declare(app, raw);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return {std::nullopt, app.exit(error) == 0 ? 0 : 2};
  }
  Result<Config> config = usage("");
  toml::table file;
  Result<void> applied;
  if (!raw.config_file.empty()) applied = apply_file(app, raw.config_file, file);
  config = applied ? to_config(raw, file) : Result<Config>(applied.error());
  if (!config) {
    fmt::print(stderr, "rangecached: {}\n",
               config.error().sys_errno ? config.error().message() : config.error().context);
    return {std::nullopt, 2};
  }
  return {std::move(*config), 0};
}

}  // namespace rangecache::daemon
