#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rangecache/types.h"

/// What people see: pure functions from data to text.
namespace rangecache::cachectl {

std::string human_bytes(double bytes);           ///< "1.5 GiB", "312 B"
std::string human_seconds(double seconds);       ///< "0.8 ms", "3.1 s", "2 h 05 min"
/// Of what is known to the second.
std::string human_age(std::int64_t seconds);
std::string percent(double part, double whole);  ///< "93.2 %", "-" of nothing
/// "████▌     " of `width` cells.
std::string bar(double part, double whole, int width);

/// The screen of `cachectl stats`, from the daemon's JSON.
std::string format_stats(const std::string& stats_json);
/// The table of `cachectl ls`.
std::string format_objects(const std::vector<CachedObject>& objects);
/// The picture of `cachectl map`: one cell for each `width`th of the object.
std::string format_map(const ObjectMap& map, int width, bool list_ranges);
std::string map_json(const ObjectMap& map);
std::string format_info(const ObjectInfo& info);
/// The table of `cachectl pins`.
std::string format_pins(const std::vector<PinInfo>& pins, std::int64_t now_s);
/// What `cachectl verify` found, bad chunks first, one a line.
std::string format_verified(const VerifyPart& sum);

}  // namespace rangecache::cachectl
