#include "tests/support/origin_fault.h"

#include <fmt/format.h>

namespace rangecache::test {

Fault random_fault(std::mt19937_64& random, int patience_ms) {
  const auto below = [&](std::uint64_t limit) { return random() % limit; };
  const auto broken = [&](Fault::Then then) {
    Fault fault;
    fault.stop_after = below(3) == 0 ? below(100) : below(512 * 1024);
    fault.then = then;
    return fault;
  };
  const auto status = [](int code, std::string headers) {
    Fault fault;
    fault.status = code;
    fault.headers = std::move(headers);
    return fault;
  };
  Fault fault;
  switch (below(22)) {
    case 0:
      fault.delay_ms = static_cast<int>(below(static_cast<std::uint64_t>(patience_ms)));
      return fault;
    case 1:
      fault.delay_ms = 4 * patience_ms;  // nobody waits for it
      return fault;
    case 2:
      return broken(Fault::Then::kStall);
    case 3:
    case 4:
      return broken(Fault::Then::kReset);
    case 5:
    case 6:
      return broken(Fault::Then::kClose);
    case 7:
      fault.trickle_ms = 200;
      return fault;
    case 8:
      return status(500, "");
    case 9:
      return status(503, "Retry-After: 0\r\n");
    case 10:
      return status(429, "");
    case 11:
      return status(502, "Content-Type: text/html\r\n");
    case 12:
      fault.content_range = fmt::format("bytes {}-{}/4096", below(4096), below(4096));
      return fault;
    case 13:
      fault.content_range = "";
      return fault;
    case 14:
      fault.ignore_range = true;
      return fault;
    case 15:
      fault.etag = fmt::format("\"x{:x}\"", random());  // never the same again
      return fault;
    case 16:
      fault.etag = "W/\"weak\"";
      fault.no_last_modified = below(2) == 0;
      return fault;
    case 17:
      fault.etag = "";
      fault.no_last_modified = below(2) == 0;
      return fault;
    case 18:
      fault.headers = "Content-Encoding: gzip\r\n";
      return fault;
    case 19:
      switch (below(3)) {
        case 0:
          return status(302, "Location: ?again\r\n");
        case 1:
          return status(307, "Location: file:///etc/passwd\r\n");
        default:
          return status(302, "Location: http://169.254.169.254/latest/meta-data/\r\n");
      }
    case 20:
      fault.before = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
      return fault;
    default:
      fault.before = std::string("\x16\x03\x01\0garbage\r\n\r\n", 14);
      fault.stop_after = 0;
      return fault;
  }
}

}  // namespace rangecache::test
