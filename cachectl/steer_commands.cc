#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "cachectl/command.h"
#include "cachectl/format.h"

namespace rangecache::cachectl {
namespace {

/// The daemon has another working directory than we.
std::string absolute(const std::string& path) {
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path, error);
  return error ? path : absolute.string();
}

void add_evict(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("evict", "Drop what is cached of some objects, or of all");
  auto prefix = std::make_shared<std::string>();
  auto all = std::make_shared<bool>(false);
  auto* what = command->add_option_group("what");
  what->add_option("prefix", *prefix, "Objects whose URL begins with this");
  what->add_flag("--all", *all, "Everything");
  what->require_option(1);
  command->callback([&context, prefix] {
    context.run("evict", [&](Client& client) -> Result<void> {
      RC_ASSIGN(const EvictResult result, client.evict(*prefix));
      fmt::print("evicted {} in {} chunks of {} objects\n",
                 human_bytes(static_cast<double>(result.bytes)), result.chunks, result.objects);
      return {};
    });
  });
}

void add_refresh(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand(
      "refresh", "Ask the origin again at the next use; what is unchanged is not fetched again");
  auto prefix = std::make_shared<std::string>();
  command->add_option("prefix", *prefix, "Objects whose URL begins with this (default: all)");
  command->callback([&context, prefix] {
    context.run("refresh", [&](Client& client) -> Result<void> {
      RC_ASSIGN(const RefreshResult result, client.refresh(*prefix));
      fmt::print("{} objects and {} directories will be asked for again\n", result.objects,
                 result.listings);
      return {};
    });
  });
}

/// The counter on a terminal; nothing where the output goes to a file.
void show_progress(const VerifyPart& sum) {
  if (!isatty(STDERR_FILENO)) return;
  const double share = sum.total_bytes > 0
                           ? static_cast<double>(sum.bytes) / static_cast<double>(sum.total_bytes)
                           : 1;
  fmt::print(stderr, "\r{:3.0f} %  {} of {}, {} bad chunks ", std::min(100.0, 100 * share),
             human_bytes(static_cast<double>(sum.bytes)),
             human_bytes(static_cast<double>(sum.total_bytes)), sum.bad.size());
}

void add_verify(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand(
      "verify", "Read what is cached against its checksums; exit code 1 if some of it was bad");
  auto prefix = std::make_shared<std::string>();
  auto repair = std::make_shared<bool>(false);
  command->add_option("prefix", *prefix, "Objects whose URL begins with this (default: all)");
  command->add_flag("--repair", *repair, "Fetch what was bad again at once");
  command->callback([&context, prefix, repair] {
    context.run("verify", [&](Client& client) -> Result<void> {
      VerifyPart sum;
      do {
        RC_ASSIGN(VerifyPart part, client.verify(*prefix, *repair, sum.next));
        sum.chunks += part.chunks;
        sum.bytes += part.bytes;
        sum.total_bytes = part.total_bytes;
        sum.next = std::move(part.next);
        for (BadChunk& bad : part.bad) sum.bad.push_back(std::move(bad));
        show_progress(sum);
      } while (!sum.next.empty());
      if (isatty(STDERR_FILENO)) fmt::print(stderr, "\r\033[K");
      fmt::print("{}", format_verified(sum));
      if (!sum.bad.empty()) context.exit_code = kFailed;
      return {};
    });
  });
}

void add_mount(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("mount", "Mount a URL through the running daemon");
  auto url = std::make_shared<std::string>(), path = std::make_shared<std::string>();
  command->add_option("url", *url, "What to mount (http, https or file)")->required();
  command->add_option("mountpoint", *path, "An existing directory")->required();
  command->callback([&context, url, path] {
    context.run("mount", [&](Client& client) -> Result<void> {
      RC_ASSIGN(const MountInfo mount, client.mount(*url, absolute(*path)));
      fmt::print("{} is mounted at {}\n", mount.url, mount.mountpoint);
      return {};
    });
  });
}

void add_unmount(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("unmount", "End a mount of the running daemon");
  auto path = std::make_shared<std::string>();
  command->add_option("mountpoint", *path, "Where it is mounted")->required();
  command->callback([&context, path] {
    context.run("unmount", [&](Client& client) -> Result<void> {
      RC_ASSIGN(const MountInfo mount, client.unmount(absolute(*path)));
      fmt::print("{} is unmounted\n", mount.mountpoint);
      return {};
    });
  });
}

void add_shutdown(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("shutdown", "Unmount everything, save, and end the daemon");
  command->callback(
      [&context] { context.run("shutdown", [](Client& client) { return client.shutdown(); }); });
}

}  // namespace

void add_steer_commands(CLI::App& app, Context& context) {
  add_evict(app, context);
  add_refresh(app, context);
  add_verify(app, context);
  add_mount(app, context);
  add_unmount(app, context);
  add_shutdown(app, context);
}

}  // namespace rangecache::cachectl
