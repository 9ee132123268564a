#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/wire.h"
#include "rangecache/result.h"
#include "rangecache/types.h"

/// The composite values of the socket protocol, for both of its sides (docs/PROTOCOL.md).
/// Each get_*() leaves the reader failed when the bytes are not such a value.
namespace rangecache::wire {

void put(Writer& out, const ObjectInfo& info);
ObjectInfo get_object_info(Reader& in);

void put(Writer& out, const std::vector<DirectoryEntry>& entries);
std::vector<DirectoryEntry> get_directory(Reader& in);

void put(Writer& out, const std::vector<CachedObject>& objects);
std::vector<CachedObject> get_cached_objects(Reader& in);

void put(Writer& out, const RefreshResult& result);
RefreshResult get_refresh_result(Reader& in);

void put(Writer& out, const ObjectMap& map);
ObjectMap get_object_map(Reader& in);

void put(Writer& out, const std::vector<PinInfo>& pins);
std::vector<PinInfo> get_pins(Reader& in);
void put(Writer& out, const VerifyPart& part);
VerifyPart get_verify_part(Reader& in);
void put(Writer& out, const EvictResult& result);
EvictResult get_evict_result(Reader& in);

void put(Writer& out, const MountInfo& mount);
MountInfo get_mount_info(Reader& in);

/// A piece of a LEASE reply.
struct LeaseSlice {
  std::uint8_t kind = protocol::kSliceInline;
  std::uint8_t fd_index = 0;      ///< kSliceFile: which of the frame's descriptors
  std::uint64_t file_offset = 0;  ///< kSliceFile: where the piece begins in that file
  std::uint64_t length = 0;
};

/// The fixed part of a LEASE reply; the bytes of its inline slices follow, in order.
struct LeaseReply {
  std::uint64_t lease_id = 0;  ///< 0: no descriptor is held, nothing to release
  std::uint64_t offset = 0;    ///< of the first slice, in the object
  std::vector<LeaseSlice> slices;
};
void put(Writer& out, const LeaseReply& reply);
LeaseReply get_lease_reply(Reader& in);

}  // namespace rangecache::wire
