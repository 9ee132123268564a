#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <ctime>
#include <memory>

#include "cachectl/command.h"
#include "cachectl/format.h"

namespace rangecache::cachectl {
namespace {

std::string user_name() {
  const passwd* user = getpwuid(getuid());
  return user ? user->pw_name : std::to_string(getuid());
}

void add_pin(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("pin", "Spare objects when room is needed");
  auto prefix = std::make_shared<std::string>(), owner = std::make_shared<std::string>();
  auto ttl = std::make_shared<std::int64_t>(0);
  command->add_option("prefix", *prefix, "Objects whose URL begins with this, now or later")
      ->required();
  command->add_option("--owner", *owner, "Who wants it (default: your user name)");
  command->add_option("--ttl", *ttl, "For how long, e.g. 90s, 2h, 7d (default: until unpin)")
      ->transform(CLI::AsNumberWithUnit(
          std::map<std::string, std::int64_t>{{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}},
          CLI::AsNumberWithUnit::CASE_SENSITIVE))
      ->check(CLI::PositiveNumber)
      ->type_name("TIME");
  command->callback([&context, prefix, owner, ttl] {
    context.run("pin", [&](Client& client) -> Result<void> {
      const std::string who = owner->empty() ? user_name() : *owner;
      RC_TRY(client.pin(*prefix, who, *ttl == 0 ? 0 : std::time(nullptr) + *ttl));
      fmt::print("{} is pinned for {}\n", *prefix, who);
      return {};
    });
  });
}

void add_unpin(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("unpin", "End a pin");
  auto prefix = std::make_shared<std::string>(), owner = std::make_shared<std::string>();
  command->add_option("prefix", *prefix, "As it was pinned")->required();
  command->add_option("--owner", *owner, "Only the pin of this owner (default: of all)");
  command->callback([&context, prefix, owner] {
    context.run("unpin", [&](Client& client) -> Result<void> {
      RC_ASSIGN(const std::uint64_t count, client.unpin(*prefix, *owner));
      if (count == 0)
        return Error(ErrorCode::kNotFound, *prefix + " is not pinned; cachectl pins lists what is");
      fmt::print("{} is no longer pinned\n", *prefix);
      return {};
    });
  });
}

void add_pins(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("pins", "List what is pinned, by whom, and for how long");
  command->callback([&context] {
    context.run("pins", [&](Client& client) -> Result<void> {
      RC_ASSIGN(const auto pins, client.pins());
      fmt::print("{}", format_pins(pins, std::time(nullptr)));
      return {};
    });
  });
}

}  // namespace

void add_pin_commands(CLI::App& app, Context& context) {
  add_pin(app, context);
  add_unpin(app, context);
  add_pins(app, context);
}

}  // namespace rangecache::cachectl
