// Input: a file like ~/.aws/config.
#include <string>

#include "base/check.h"
#include "fetcher/aws_profile.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rangecache;
  const fetcher::IniFile file = fetcher::parse_aws_file(fuzz::text_of(data, size));
  std::string printed;
  for (const auto& [section, keys] : file) {
    CHECK(section.find('\n') == std::string::npos);
    printed += "[" + section + "]\n";
    for (const auto& [key, value] : keys) {
      CHECK(key.find('\n') == std::string::npos && value.find('\n') == std::string::npos);
      if (key.substr(0, 1) == "[") return 0;  // could look like a section
      printed += key + "= " + value + "\n";
    }
  }
  CHECK(fetcher::parse_aws_file(printed) == file);
  return 0;
}
