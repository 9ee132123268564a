#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

/// Bodies that say of themselves what they are. Each aligned word of 16 bytes holds its object's
/// key, version and offset, so that a reader that got a wrong byte can tell what it got instead.
namespace rangecache::test {

/// Writes the bytes [offset, offset + out.size()) of version `version` of object `key`.
void fill_synthetic(std::string_view key, std::uint32_t version, std::uint64_t offset,
                    std::span<std::byte> out);

/// What is wrong with `bytes`, read at `offset`: "zeros", "version 2", "offset 4096", "another
/// object" or "garbage", and where. nullopt: nothing.
std::optional<std::string> verify_synthetic(std::string_view key, std::uint32_t version,
                                            std::uint64_t offset, std::span<const std::byte> bytes);

}  // namespace rangecache::test
