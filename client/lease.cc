#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/wire.h"
#include "client/file_impl.h"

namespace rangecache {
namespace {

Result<void> pread_fully(int fd, std::byte* target, std::size_t size, std::uint64_t offset) {
  for (std::size_t have = 0; have < size;) {
    const ssize_t got = ::pread(fd, target + have, size - have, static_cast<off_t>(offset + have));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return Error{ErrorCode::kIo, "cannot read leased bytes: use File::read instead",
                   got < 0 ? errno : 0};
    }
    have += static_cast<std::size_t>(got);
  }
  return {};
}

}  // namespace

Lease::Impl::~Impl() {
  if (!connection || id == 0) return;
  wire::Writer payload;
  payload.u64(id);
  connection->send(protocol::MessageType::kRelease, payload.take(), [](Result<client::Reply>) {});
}

Lease::Lease(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Lease::Lease(Lease&&) noexcept = default;
Lease& Lease::operator=(Lease&&) noexcept = default;
Lease::~Lease() = default;
ByteRange Lease::range() const { return impl_->range; }
const std::vector<Lease::Slice>& Lease::slices() const { return impl_->slices; }

Result<std::size_t> Lease::pread(std::uint64_t offset, std::span<std::byte> buffer) const {
  if (offset < impl_->range.begin) {
    return Error{ErrorCode::kInvalidArgument, "the offset lies before the leased range"};
  }
  const ByteRange wanted = ByteRange::at(offset, buffer.size()).intersect(impl_->range);
  auto slice = std::upper_bound(
      impl_->slices.begin(), impl_->slices.end(), wanted.begin,
      [](std::uint64_t at, const Slice& candidate) { return at < candidate.range.end; });
  std::size_t have = 0;
  for (; slice != impl_->slices.end() && have < wanted.size(); ++slice) {
    const ByteRange part = wanted.intersect(slice->range);
    const std::uint64_t skip = part.begin - slice->range.begin;
    if (slice->fd >= 0) {
      RC_TRY(pread_fully(slice->fd, buffer.data() + have, part.size(), slice->file_offset + skip));
    } else {
      std::memcpy(buffer.data() + have, slice->data + skip, part.size());
    }
    have += part.size();
  }
  return have;
}

}  // namespace rangecache
