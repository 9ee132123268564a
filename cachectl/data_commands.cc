#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>
#include <vector>

#include "cachectl/command.h"

namespace rangecache::cachectl {
namespace {

constexpr std::size_t kStep = 4 << 20;

/// "A-B", half-open; "A-" goes to the end.
Result<ByteRange> parse_range(const std::string& text) {
  const Error wrong(
      ErrorCode::kInvalidArgument,
      "--range " + text + ": write FIRST-END in bytes (END is not included), or FIRST-");
  ByteRange range{0, UINT64_MAX};
  const char* const last = text.data() + text.size();
  const auto [dash, begin_error] = std::from_chars(text.data(), last, range.begin);
  if (begin_error != std::errc{} || dash == last || *dash != '-') return wrong;
  if (dash + 1 == last) return range;
  const auto [end, end_error] = std::from_chars(dash + 1, last, range.end);
  if (end_error != std::errc{} || end != last || range.empty()) return wrong;
  return range;
}

Result<void> write_out(std::span<const std::byte> data) {
  while (!data.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error(ErrorCode::kIo, "cannot write to standard output", errno);
    data = data.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Result<void> cat(Client& client, const std::string& url, const std::string& range_text) {
  ByteRange range{0, UINT64_MAX};
  if (!range_text.empty()) {
    RC_ASSIGN(range, parse_range(range_text));
  }
  RC_ASSIGN(const File file, client.open(url));
  range.end = std::min(range.end, file.size());
  std::vector<std::byte> buffer(std::min<std::uint64_t>(kStep, range.size()));
  for (std::uint64_t at = range.begin; at < range.end;) {
    const std::size_t wanted = std::min<std::uint64_t>(buffer.size(), range.end - at);
    RC_ASSIGN(const std::size_t got, file.read(at, std::span(buffer).first(wanted)));
    RC_TRY(write_out(std::span(buffer).first(got)));
    if (got == 0) break;
    at += got;
  }
  return {};
}

}  // namespace

void add_data_commands(CLI::App& app, Context& context) {
  auto* command =
      app.add_subcommand("cat", "Write an object, or a range of it, to standard output");
  auto url = std::make_shared<std::string>(), range = std::make_shared<std::string>();
  command->add_option("url", *url, "The object")->required();
  command->add_option("--range", *range, "FIRST-END in bytes; END is not included")
      ->type_name("FIRST-END");
  command->callback([&context, url, range] {
    context.run("cat", [&](Client& client) { return cat(client, *url, *range); });
  });
}

}  // namespace rangecache::cachectl
