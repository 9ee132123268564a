#include "base/messages.h"

namespace rangecache::wire {
namespace {

// Counts come from the peer: nothing is reserved for elements whose bytes are not there.
template <typename T, typename Get>
std::vector<T> get_vector(Reader& in, Get get) {
  std::vector<T> values;
  const std::uint32_t count = in.u32();
  for (std::uint32_t i = 0; i < count && in.ok(); ++i) values.push_back(get(in));
  if (!in.ok()) values.clear();
  return values;
}

void put_ranges(Writer& out, const std::vector<ByteRange>& ranges) {
  out.u32(static_cast<std::uint32_t>(ranges.size()));
  for (const ByteRange& range : ranges) {
    out.u64(range.begin);
    out.u64(range.end);
  }
}

std::vector<ByteRange> get_ranges(Reader& in) {
  return get_vector<ByteRange>(in, [](Reader& from) {
    const std::uint64_t begin = from.u64();
    return ByteRange{begin, from.u64()};
  });
}

}  // namespace

void put(Writer& out, const ObjectInfo& info) {
  out.string(info.url);
  out.u64(info.size);
  out.u8(info.is_directory ? 1 : 0);
  out.string(info.validator);
  out.i64(info.modified_s);
  out.u64(info.cached_bytes);
}

ObjectInfo get_object_info(Reader& in) {
  ObjectInfo info;
  info.url = in.string();
  info.size = in.u64();
  info.is_directory = in.u8() != 0;
  info.validator = in.string();
  info.modified_s = in.i64();
  info.cached_bytes = in.u64();
  return info;
}

namespace {
constexpr std::uint8_t kEntryIsDirectory = 1;
constexpr std::uint8_t kEntryHasSize = 2;
constexpr std::uint8_t kEntryHasTime = 4;
constexpr std::uint8_t kObjectCurrent = 1, kObjectPassthrough = 2;
}  // namespace

void put(Writer& out, const std::vector<DirectoryEntry>& entries) {
  out.u32(static_cast<std::uint32_t>(entries.size()));
  for (const DirectoryEntry& entry : entries) {
    out.string(entry.name);
    out.u8(static_cast<std::uint8_t>((entry.is_directory ? kEntryIsDirectory : 0) |
                                     (entry.size ? kEntryHasSize : 0) |
                                     (entry.modified_s ? kEntryHasTime : 0)));
    out.u64(entry.size.value_or(0));
    out.i64(entry.modified_s.value_or(0));
  }
}

std::vector<DirectoryEntry> get_directory(Reader& in) {
  return get_vector<DirectoryEntry>(in, [](Reader& from) {
    DirectoryEntry entry;
    entry.name = from.string();
    const std::uint8_t flags = from.u8();
    const std::uint64_t size = from.u64();
    const std::int64_t modified_s = from.i64();
    entry.is_directory = flags & kEntryIsDirectory;
    if (flags & kEntryHasSize) entry.size = size;
    if (flags & kEntryHasTime) entry.modified_s = modified_s;
    return entry;
  });
}

void put(Writer& out, const std::vector<CachedObject>& objects) {
  out.u32(static_cast<std::uint32_t>(objects.size()));
  for (const CachedObject& object : objects) {
    put(out, object.info);
    out.u64(object.chunks);
    out.i64(object.age_s);
    out.u8(static_cast<std::uint8_t>((object.current ? kObjectCurrent : 0) |
                                     (object.passthrough ? kObjectPassthrough : 0)));
    out.i64(object.fresh_for_s);
  }
}

std::vector<CachedObject> get_cached_objects(Reader& in) {
  return get_vector<CachedObject>(in, [](Reader& from) {
    CachedObject object;
    object.info = get_object_info(from);
    object.chunks = from.u64();
    object.age_s = from.i64();
    const std::uint8_t flags = from.u8();
    object.current = (flags & kObjectCurrent) != 0;
    object.passthrough = (flags & kObjectPassthrough) != 0;
    object.fresh_for_s = from.i64();
    return object;
  });
}

void put(Writer& out, const RefreshResult& result) {
  out.u64(result.objects);
  out.u64(result.listings);
}

RefreshResult get_refresh_result(Reader& in) {
  const std::uint64_t objects = in.u64();
  return {objects, in.u64()};
}

void put(Writer& out, const ObjectMap& map) {
  put(out, map.info);
  put_ranges(out, map.chunks);
  put_ranges(out, map.flights);
}

ObjectMap get_object_map(Reader& in) {
  ObjectMap map;
  map.info = get_object_info(in);
  map.chunks = get_ranges(in);
  map.flights = get_ranges(in);
  return map;
}

void put(Writer& out, const std::vector<PinInfo>& pins) {
  out.u32(static_cast<std::uint32_t>(pins.size()));
  for (const PinInfo& pin : pins) {
    out.string(pin.prefix);
    out.string(pin.owner);
    out.i64(pin.expires_s);
    out.u64(pin.cached_bytes);
  }
}

std::vector<PinInfo> get_pins(Reader& in) {
  return get_vector<PinInfo>(in, [](Reader& from) {
    PinInfo pin;
    pin.prefix = from.string();
    pin.owner = from.string();
    pin.expires_s = from.i64();
    pin.cached_bytes = from.u64();
    return pin;
  });
}

void put(Writer& out, const VerifyPart& part) {
  out.u64(part.chunks);
  out.u64(part.bytes);
  out.u64(part.total_bytes);
  out.u32(static_cast<std::uint32_t>(part.bad.size()));
  for (const BadChunk& bad : part.bad) {
    out.string(bad.url);
    out.u64(bad.range.begin);
    out.u64(bad.range.end);
    out.u8(bad.repaired ? 1 : 0);
  }
  out.string(part.next);
}

VerifyPart get_verify_part(Reader& in) {
  VerifyPart part;
  part.chunks = in.u64();
  part.bytes = in.u64();
  part.total_bytes = in.u64();
  part.bad = get_vector<BadChunk>(in, [](Reader& from) {
    BadChunk bad;
    bad.url = from.string();
    bad.range.begin = from.u64();
    bad.range.end = from.u64();
    bad.repaired = from.u8() != 0;
    return bad;
  });
  part.next = in.string();
  return part;
}

void put(Writer& out, const EvictResult& result) {
  out.u64(result.objects);
  out.u64(result.chunks);
  out.u64(result.bytes);
}

EvictResult get_evict_result(Reader& in) {
  EvictResult result;
  result.objects = in.u64();
  result.chunks = in.u64();
  result.bytes = in.u64();
  return result;
}

void put(Writer& out, const MountInfo& mount) {
  out.string(mount.url);
  out.string(mount.mountpoint);
}

MountInfo get_mount_info(Reader& in) {
  MountInfo mount;
  mount.url = in.string();
  mount.mountpoint = in.string();
  return mount;
}

void put(Writer& out, const LeaseReply& reply) {
  out.u64(reply.lease_id);
  out.u64(reply.offset);
  out.u32(static_cast<std::uint32_t>(reply.slices.size()));
  for (const LeaseSlice& slice : reply.slices) {
    out.u8(slice.kind);
    out.u8(slice.fd_index);
    out.u64(slice.file_offset);
    out.u64(slice.length);
  }
}

LeaseReply get_lease_reply(Reader& in) {
  LeaseReply reply;
  reply.lease_id = in.u64();
  reply.offset = in.u64();
  reply.slices = get_vector<LeaseSlice>(in, [](Reader& from) {
    LeaseSlice slice;
    slice.kind = from.u8();
    slice.fd_index = from.u8();
    slice.file_offset = from.u64();
    slice.length = from.u64();
    return slice;
  });
  return reply;
}

}  // namespace rangecache::wire
