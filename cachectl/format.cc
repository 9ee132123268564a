#include "cachectl/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

namespace rangecache::cachectl {
namespace {

class Stats {
 public:
  explicit Stats(const std::string& text)
      : json_(nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false)) {}
  double operator()(const std::string& name) const {
    const auto metrics = json_.find("metrics");
    if (metrics == json_.end() || !metrics->is_object()) return 0;
    const auto found = metrics->find("rangecache_" + name);
    return found != metrics->end() && found->is_number() ? found->get<double>() : 0;
  }
  std::string text(const char* name) const {
    const auto found = json_.find(name);
    if (found == json_.end()) return "";
    return found->is_string() ? found->get<std::string>() : found->dump();
  }
  const nlohmann::json& json() const { return json_; }

 private:
  const nlohmann::json json_;
};

std::string row(const char* name, const std::string& value) {
  return fmt::format("  {:<12}{}\n", name, value);
}

std::string mounts_of(const Stats& stats) {
  const auto mounts = stats.json().find("mounts");
  if (mounts == stats.json().end() || !mounts->is_array() || mounts->empty()) return "";
  std::string text = "\nMounts\n";
  for (const auto& mount : *mounts) {
    text += fmt::format("  {}  on  {}\n", mount.value("url", ""), mount.value("mountpoint", ""));
    const int open = mount.value("open_handles", 0), native = mount.value("passthrough_files", 0);
    if (!mount.value("passthrough", true)) {
      text += fmt::format("    {} open; no pass-through\n", open);
    } else if (open > 0) {
      text += fmt::format("    {} open, {} of them read by the kernel itself\n", open, native);
    }
  }
  return text;
}

std::string quotas_of(const Stats& stats) {
  const auto quotas = stats.json().find("quotas");
  if (quotas == stats.json().end() || !quotas->is_array()) return "";
  std::string text;
  for (const auto& quota : *quotas) {
    const double used = quota.value("used", 0.0), limit = quota.value("limit", 0.0);
    text += row("quota", fmt::format("{} {} of {} for {}", bar(used, limit, 20), human_bytes(used),
                                     human_bytes(limit), quota.value("prefix", "")));
  }
  return text;
}

std::string origins_of(const Stats& stats) {
  const auto origins = stats.json().find("origins");
  if (origins == stats.json().end() || !origins->is_array()) return "";
  std::string text;
  for (const auto& origin : *origins) {
    const std::string name = origin.value("name", ""), error = origin.value("error", "");
    if (!error.empty()) {
      text += row("warning", fmt::format("{} does not answer: {}", name, error));
      continue;
    }
    const int places = origin.value("places", 0), most = origin.value("max_places", 0);
    const double p50 = origin.value("p50_s", 0.0), p95 = origin.value("p95_s", 0.0);
    std::string what = name;
    if (p95 > 0)
      what += fmt::format(", first byte p50 {}, p95 {}", human_seconds(p50), human_seconds(p95));
    if (places < most) what += fmt::format(", wants fewer requests: {} of {} places", places, most);
    text += row("server", what);
  }
  return text;
}

std::string faults_of(const Stats& stats) {
  constexpr std::array<std::pair<const char*, const char*>, 10> kFaults{{
      {"origin_errors_total", "requests that the origin failed"},
      {"origin_retries_total", "requests that were tried again"},
      {"origin_retries_refused_total", "requests not tried again because too many failed"},
      {"origin_slowdowns_total", "times that an origin wanted fewer requests"},
      {"origin_refused_total", "requests not sent because the origin does not answer"},
      {"stale_reads_total", "reads refused because the object had changed"},
      {"cache_faults_total", "faults of the cache disk (readers did not notice)"},
      {"disk_breaker_opened_total", "times that the cache disk was left alone for a while"},
      {"corrupt_chunks_total", "chunks with wrong bytes (fetched again)"},
      {"socket_shed_total", "clients dropped because they did not read"},
  }};
  std::string text;
  for (const auto& [name, what] : kFaults) {
    if (stats(name) > 0) text += fmt::format("  {:>8.0f}  {}\n", stats(name), what);
  }
  return text.empty() ? "" : "\nTrouble\n" + text;
}

/// What one cell of the picture stands for.
const char* cell(ByteRange range, const ObjectMap& map) {
  std::uint64_t cached = 0;
  bool flying = false;
  for (const ByteRange& chunk : map.chunks) cached += chunk.intersect(range).size();
  for (const ByteRange& flight : map.flights) flying = flying || flight.overlaps(range);
  if (cached >= range.size()) return "█";
  if (flying) return "»";
  if (cached == 0) return "·";
  return cached * 2 >= range.size() ? "▓" : "░";
}

std::string date(std::int64_t unix_s) {
  if (unix_s < 0) return "unknown";
  const std::time_t time = unix_s;
  std::tm utc{};
  gmtime_r(&time, &utc);
  char text[40];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &utc);
  return text;
}

}  // namespace

std::string human_bytes(double bytes) {
  constexpr std::array<const char*, 6> kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

std::string human_seconds(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.0f} µs", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.1f} ms", seconds * 1e3);
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto minutes = static_cast<std::int64_t>(seconds / 60);
  if (minutes < 60) return fmt::format("{} min", minutes);
  if (minutes < 48 * 60) return fmt::format("{} h {:02} min", minutes / 60, minutes % 60);
  return fmt::format("{} d", minutes / (24 * 60));
}

std::string human_age(std::int64_t seconds) {
  return seconds < 60 ? fmt::format("{} s", seconds) : human_seconds(static_cast<double>(seconds));
}

std::string percent(double part, double whole) {
  return whole > 0 ? fmt::format("{:.1f} %", 100 * part / whole) : "-";
}

std::string bar(double part, double whole, int width) {
  const double share = whole > 0 ? std::clamp(part / whole, 0.0, 1.0) : 0;
  const int full = static_cast<int>(std::lround(share * width));
  std::string text;
  for (int i = 0; i < width; ++i) text += i < full ? "█" : "·";
  return text;
}

std::string format_stats(const std::string& stats_json) {
  const Stats stats(stats_json);
  const double hits = stats("hit_bytes_total"), memory = stats("memory_hit_bytes_total"),
               shared = stats("coalesced_bytes_total"), missed = stats("miss_bytes_total");
  const double served = stats("read_bytes_total"), fetched = stats("origin_bytes_total");

  std::string text =
      fmt::format("rangecached {}, pid {}, up {}\n\nReads\n", stats.text("version"),
                  stats.text("pid"), human_seconds(stats.json().value("uptime_s", 0.0)));
  text += row("served",
              fmt::format("{} in {:.0f} reads", human_bytes(served), stats("read_requests_total")));
  // What crossed the wire is the yardstick: read-ahead counts against it, too.
  const double spared = std::max(0.0, served - fetched);
  text += row("hit ratio", fmt::format("{} {} of these bytes needed no fetch",
                                       bar(spared, served, 20), percent(spared, served)));
  text += row("", fmt::format("{} from disk, {} just arrived, {} under way already, {} missed",
                              human_bytes(hits), human_bytes(memory), human_bytes(shared),
                              human_bytes(missed)));
  text +=
      row("latency", fmt::format("p50 {}, p95 {}, p99 {}", human_seconds(stats("read_seconds_p50")),
                                 human_seconds(stats("read_seconds_p95")),
                                 human_seconds(stats("read_seconds_p99"))));
  text += "\nOrigin\n";
  text += row("fetched", fmt::format("{} in {:.0f} requests", human_bytes(fetched),
                                     stats("origin_requests_total")));
  text += row("saved", spared > 0 ? human_bytes(spared) : std::string("nothing yet"));
  text += row("first byte",
              fmt::format("p50 {}, p95 {}", human_seconds(stats("origin_first_byte_seconds_p50")),
                          human_seconds(stats("origin_first_byte_seconds_p95"))));
  text += row("in flight", fmt::format("{:.0f} ranges", stats("flights")));
  text += origins_of(stats);
  text += "\nCache\n";
  text +=
      row("disk",
          fmt::format("{} {} of {}", bar(stats("disk_bytes"), stats("disk_limit_bytes"), 20),
                      human_bytes(stats("disk_bytes")), human_bytes(stats("disk_limit_bytes"))));
  text += row(
      "memory",
      fmt::format("{} {} of {}", bar(stats("memory_bytes"), stats("memory_limit_bytes"), 20),
                  human_bytes(stats("memory_bytes")), human_bytes(stats("memory_limit_bytes"))));
  text += quotas_of(stats);
  if (stats("pinned_bytes") > 0)
    text += row("pinned", human_bytes(stats("pinned_bytes")) + " spared from eviction");
  text += row("holds", fmt::format("{:.0f} chunks of {:.0f} known versions", stats("chunks"),
                                   stats("versions")));
  text +=
      row("evicted", fmt::format("{} in {:.0f} chunks", human_bytes(stats("evicted_bytes_total")),
                                 stats("evicted_chunks_total")));
  if (stats("disk_breaker_open") > 0) {
    text += row("warning", "the disk FAILS: nothing new is kept until it works again");
  } else if (stats("disk_below_floor") > 0) {
    text += row(
        "warning",
        fmt::format("the disk is FULL: {} free, {} are left to others; nothing new is kept",
                    human_bytes(stats("disk_free_bytes")), human_bytes(stats("disk_floor_bytes"))));
  }
  text += row("directory", stats.text("cache_dir"));
  return text + mounts_of(stats) + faults_of(stats);
}

namespace {

std::string notes_on(const CachedObject& object) {
  std::string notes;
  if (!object.current) {
    notes += "  (old version)";
  } else if (object.fresh_for_s < 0) {
    notes += "  (stale)";
  }
  if (object.passthrough) notes += "  (pass-through)";
  return notes;
}

}  // namespace

std::string format_objects(const std::vector<CachedObject>& objects) {
  if (objects.empty()) return "nothing is cached\n";
  std::string text =
      fmt::format("{:>10}  {:>10}  {:>7}  {:>10}  {}\n", "CACHED", "SIZE", "SHARE", "AGE", "URL");
  for (const CachedObject& object : objects) {
    text += fmt::format("{:>10}  {:>10}  {:>7}  {:>10}  {}{}\n",
                        human_bytes(static_cast<double>(object.info.cached_bytes)),
                        human_bytes(static_cast<double>(object.info.size)),
                        percent(static_cast<double>(object.info.cached_bytes),
                                static_cast<double>(object.info.size)),
                        human_age(object.age_s), object.info.url, notes_on(object));
  }
  return text;
}

std::string format_map(const ObjectMap& map, int width, bool list_ranges) {
  const ObjectInfo& info = map.info;
  std::string text =
      fmt::format("{}\n{} of {} cached ({}), {} chunks\n", info.url,
                  human_bytes(static_cast<double>(info.cached_bytes)),
                  human_bytes(static_cast<double>(info.size)),
                  percent(static_cast<double>(info.cached_bytes), static_cast<double>(info.size)),
                  map.chunks.size());
  if (info.size > 0) {
    const auto cells = static_cast<std::uint64_t>(std::max(1, width - 2));
    const std::uint64_t count = std::min<std::uint64_t>(cells, info.size);
    std::string line;
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto at = [&](std::uint64_t n) {  // size * n / count, without overflow
        return info.size / count * n + info.size % count * n / count;
      };
      line += cell({at(i), at(i + 1)}, map);
    }
    text += fmt::format(
        "[{}]\n█ cached  ▓ mostly  ░ partly  » in flight  · not cached;  a cell is {}\n", line,
        human_bytes(static_cast<double>(info.size) / static_cast<double>(count)));
  }
  if (list_ranges) {
    for (const ByteRange& chunk : map.chunks)
      text += fmt::format("cached     {:>15}  {:>15}\n", chunk.begin, chunk.end);
    for (const ByteRange& flight : map.flights)
      text += fmt::format("in flight  {:>15}  {:>15}\n", flight.begin, flight.end);
  }
  return text;
}

std::string map_json(const ObjectMap& map) {
  const auto ranges = [](const std::vector<ByteRange>& all) {
    auto array = nlohmann::json::array();
    for (const ByteRange& range : all) array.push_back({range.begin, range.end});
    return array;
  };
  return nlohmann::json{{"url", map.info.url},
                        {"size", map.info.size},
                        {"validator", map.info.validator},
                        {"cached_bytes", map.info.cached_bytes},
                        {"chunks", ranges(map.chunks)},
                        {"flights", ranges(map.flights)}}
             .dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
         "\n";
}

std::string format_info(const ObjectInfo& info) {
  std::string text = fmt::format("{}\n", info.url);
  if (info.is_directory) return text + "  a directory\n";
  text += row("size",
              fmt::format("{} ({} bytes)", human_bytes(static_cast<double>(info.size)), info.size));
  text += row("validator", info.validator.empty() ? "none known" : info.validator);
  text += row("modified", date(info.modified_s));
  text += row("cached", fmt::format("{} ({})", human_bytes(static_cast<double>(info.cached_bytes)),
                                    percent(static_cast<double>(info.cached_bytes),
                                            static_cast<double>(info.size))));
  return text;
}

std::string format_pins(const std::vector<PinInfo>& pins, std::int64_t now_s) {
  if (pins.empty()) return "nothing is pinned\n";
  std::string text =
      fmt::format("{:>10}  {:<12} {:<14} {}\n", "cached", "owner", "ends in", "prefix");
  for (const PinInfo& pin : pins) {
    const std::string ends =
        pin.expires_s == 0 ? "-" : human_seconds(static_cast<double>(pin.expires_s - now_s));
    text += fmt::format("{:>10}  {:<12} {:<14} {}\n",
                        human_bytes(static_cast<double>(pin.cached_bytes)), pin.owner, ends,
                        pin.prefix);
  }
  return text;
}

std::string format_verified(const VerifyPart& sum) {
  std::string text;
  std::size_t repaired = 0;
  for (const BadChunk& bad : sum.bad) {
    text += fmt::format("bad  {}  bytes {} to {}{}\n", bad.url, bad.range.begin, bad.range.end,
                        bad.repaired ? "  fetched again" : "");
    repaired += bad.repaired ? 1 : 0;
  }
  text += fmt::format("{} in {} chunks verified: ", human_bytes(static_cast<double>(sum.bytes)),
                      sum.chunks);
  if (sum.bad.empty()) return text + "all as it came from its origin\n";
  text += fmt::format("{} bad, dropped from the cache", sum.bad.size());
  if (repaired > 0) return text + fmt::format(", {} fetched again\n", repaired);
  return text + "; the next reader fetches them again, or run verify with --repair\n";
}

}  // namespace rangecache::cachectl
