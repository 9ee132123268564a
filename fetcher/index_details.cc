#include <array>
#include <ctime>
#include <vector>

#include "fetcher/http_headers.h"
#include "fetcher/index_parsers.h"

namespace rangecache::fetcher {
namespace {

constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find_first_of(separators, begin), text.size());
    if (end > begin) parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::optional<int> number(std::string_view text, std::uint64_t most) {
  const auto value = text.size() <= 4 ? parse_decimal(text) : std::nullopt;
  return value && *value <= most ? std::optional(static_cast<int>(*value)) : std::nullopt;
}

std::optional<int> month(std::string_view text) {
  for (std::size_t i = 0; i < kMonths.size(); ++i)
    if (text == kMonths[i]) return static_cast<int>(i) + 1;
  return number(text, 12);
}

/// "20-Nov-2026", "2026-11-20" or "2026-Nov-20", and "09:15" or "09:15:30"; taken as UTC.
std::optional<std::int64_t> parse_time(std::string_view date, std::string_view clock) {
  auto days = split(date, "-");
  const auto hours = split(clock, ":");
  if (days.size() != 3 || (hours.size() != 2 && hours.size() != 3)) return std::nullopt;
  if (days[0].size() != 4) std::swap(days[0], days[2]);
  const auto year = number(days[0], 9999);
  const auto mon = month(days[1]);
  const auto day = number(days[2], 31);
  const auto hour = number(hours[0], 23);
  const auto minute = number(hours[1], 59);
  const auto second = hours.size() == 3 ? number(hours[2], 60) : 0;
  if (!year || *year < 1970 || !mon || *mon < 1 || !day || *day < 1 || !hour || !minute || !second)
    return std::nullopt;
  std::tm parts{};
  parts.tm_year = *year - 1900;
  parts.tm_mon = *mon - 1;
  parts.tm_mday = *day;
  parts.tm_hour = *hour;
  parts.tm_min = *minute;
  parts.tm_sec = *second;
  return static_cast<std::int64_t>(timegm(&parts));
}

}  // namespace

IndexDetails parse_index_details(std::string_view text) {
  const auto words = split(text, " \t\r\n");
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    const auto modified_s = parse_time(words[i], words[i + 1]);
    if (!modified_s) continue;
    IndexDetails details{modified_s, std::nullopt};
    if (i + 2 < words.size()) details.size = parse_size(words[i + 2]);
    return details;
  }
  return {};
}

std::optional<std::int64_t> parse_iso_time(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) return std::nullopt;
  text = text.substr(begin);
  if (text.size() < 20 || text[10] != 'T') return std::nullopt;
  const auto time = parse_time(text.substr(0, 10), text.substr(11, 8));
  if (!time) return std::nullopt;
  std::string_view zone = text.substr(19);
  if (zone.front() == '.') zone = zone.substr(std::min(zone.find_first_of("Z+-"), zone.size()));
  if (zone == "Z") return time;
  if (zone.size() != 6 || (zone[0] != '+' && zone[0] != '-')) return std::nullopt;
  const auto hours = number(zone.substr(1, 2), 23);
  const auto minutes = number(zone.substr(4, 2), 59);
  if (!hours || !minutes) return std::nullopt;
  const std::int64_t offset_s = *hours * 3600 + *minutes * 60;
  return zone[0] == '+' ? *time - offset_s : *time + offset_s;
}

}  // namespace rangecache::fetcher
