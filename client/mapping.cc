#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "client/file_impl.h"

namespace rangecache {
namespace {

std::uint64_t page_size() { return static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)); }

/// Memory for a range of an object, whose pages lie as in the object.
struct Reserved {
  std::byte* first_page;
  ByteRange range;
  ByteRange pages;  ///< range, widened to whole pages

  std::byte* at(std::uint64_t offset) const { return first_page + (offset - pages.begin); }
};

/// The pages of `part` that hold no bytes of another part.
ByteRange own_pages(const Reserved& memory, ByteRange part) {
  const std::uint64_t page = page_size();
  ByteRange pages{(part.begin + page - 1) / page * page, part.end / page * page};
  if (part.begin == memory.range.begin) pages.begin = memory.pages.begin;
  if (part.end == memory.range.end) pages.end = memory.pages.end;
  return pages;
}

/// Maps what can be mapped of `part`, which the slice contains; returns that range.
ByteRange map_pages(const Reserved& memory, const Lease::Slice& slice, ByteRange part) {
  const ByteRange pages = own_pages(memory, part);
  // Where the file's first byte stands in the object.
  const std::uint64_t origin = slice.range.begin - slice.file_offset;
  const ByteRange none{part.begin, part.begin};
  if (slice.fd < 0 || pages.empty() || pages.begin < origin ||
      (pages.begin - origin) % page_size() != 0)
    return none;
  void* mapped = mmap(memory.at(pages.begin), pages.size(), PROT_READ, MAP_SHARED | MAP_FIXED,
                      slice.fd, static_cast<off_t>(pages.begin - origin));
  return mapped == MAP_FAILED ? none : pages.intersect(part);
}

/// Copies `part` of the slice to where it belongs.
Result<void> copy(const Reserved& memory, const client::HeldLease& lease, ByteRange part) {
  RC_ASSIGN(const std::size_t got, lease.pread(part.begin, {memory.at(part.begin), part.size()}));
  if (got < part.size()) return client::HeldLease::malformed();
  return {};
}

}  // namespace

Mapping::Mapping(Mapping&& other) noexcept { *this = std::move(other); }
Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this == &other) return *this;
  release();
  range_ = std::exchange(other.range_, {});
  bytes_ = std::exchange(other.bytes_, {});
  copied_ = std::exchange(other.copied_, 0);
  address_ = std::exchange(other.address_, nullptr);
  length_ = std::exchange(other.length_, 0);
  leases_ = std::exchange(other.leases_, {});
  return *this;
}
Mapping::~Mapping() { release(); }

void Mapping::release() {
  if (address_) munmap(address_, length_);
  address_ = nullptr;
  leases_.clear();
}

Result<Mapping> File::map(ByteRange range) const {
  range = range.intersect({0, impl_->info.size});
  Mapping mapping;
  mapping.range_ = range;
  if (range.empty()) return mapping;
  const std::uint64_t page = page_size();
  Reserved memory{
      nullptr, range, {range.begin / page * page, (range.end + page - 1) / page * page}};
  mapping.length_ = memory.pages.size();
  mapping.address_ = mmap(nullptr, mapping.length_, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping.address_ == MAP_FAILED) {
    mapping.address_ = nullptr;
    return Error{ErrorCode::kIo, "there is no room in memory to map into", errno};
  }
  memory.first_page = static_cast<std::byte*>(mapping.address_);
  mapping.bytes_ = {memory.at(range.begin), range.size()};

  for (std::uint64_t at = range.begin; at < range.end;) {
    RC_ASSIGN(auto lease, impl_->lease_around(at, range.end));
    if (!lease->range.contains(at)) return client::HeldLease::malformed();
    for (const Lease::Slice& slice : lease->slices) {
      const ByteRange part = slice.range.intersect({at, range.end});
      if (part.empty()) continue;
      const ByteRange mapped = map_pages(memory, slice, part);
      RC_TRY(copy(memory, *lease, {part.begin, mapped.begin}));
      RC_TRY(copy(memory, *lease, {mapped.end, part.end}));
      mapping.copied_ += part.size() - mapped.size();
      at = part.end;
    }
    lease->fds.clear();  // the mapping keeps the files
    lease->reply = {};
    mapping.leases_.push_back(std::move(lease));
  }
  if (mprotect(mapping.address_, mapping.length_, PROT_READ) != 0)
    return Error{ErrorCode::kIo, "cannot protect the mapping", errno};
  return mapping;
}

}  // namespace rangecache
