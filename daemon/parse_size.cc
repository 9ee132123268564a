#include "daemon/parse_size.h"

#include <cctype>
#include <cmath>
#include <cstdlib>

namespace rangecache::daemon {

Result<std::uint64_t> parse_size(const std::string& text) {
  const Error wrong(ErrorCode::kInvalidArgument,
                    "'" + text + "' is not a size: write 500MiB, 20GiB or a number of bytes");
  char* end = nullptr;
  if (text.empty() || (text[0] != '.' && (text[0] < '0' || text[0] > '9'))) return wrong;
  const double number = std::strtod(text.c_str(), &end);
  std::string unit(end);
  for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  double scale = 1;
  if (!unit.empty() && unit != "b") {
    const auto power = std::string("kmgt").find(unit[0]);
    const std::string rest = unit.substr(1);
    if (power == std::string::npos || (rest != "" && rest != "b" && rest != "ib")) return wrong;
    scale = std::pow(rest == "b" ? 1000.0 : 1024.0, static_cast<double>(power + 1));
  }
  const double bytes = number * scale;
  if (!(bytes >= 0) || bytes > 9e18) return wrong;
  return static_cast<std::uint64_t>(bytes);
}

}  // namespace rangecache::daemon
