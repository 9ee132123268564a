#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/messages.h"
#include "client/held_lease.h"

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

namespace client {

Error HeldLease::malformed() {
  return Error{ErrorCode::kProtocol, "the daemon sent a lease that cannot be understood"};
}

HeldLease::~HeldLease() {
  if (!connection || id == 0) return;
  wire::Writer payload;
  payload.u64(id);
  connection->send(protocol::MessageType::kRelease, payload.take(), [](Result<Reply>) {});
}

Result<std::unique_ptr<HeldLease>> HeldLease::parse(Result<Reply> answer,
                                                    const std::shared_ptr<Connection>& connection) {
  RC_ASSIGN(Reply reply, std::move(answer));
  auto lease = std::make_unique<HeldLease>();
  lease->connection = connection;
  lease->reply = std::move(reply.payload);
  lease->fds = std::move(reply.fds);
  wire::Reader in(lease->reply);
  const wire::LeaseReply head = wire::get_lease_reply(in);
  if (!in.ok()) return malformed();
  lease->id = head.lease_id;
  std::uint64_t at = head.offset;
  for (const wire::LeaseSlice& piece : head.slices) {
    Lease::Slice slice;
    slice.range = ByteRange::at(at, piece.length);
    if (piece.kind == protocol::kSliceFile) {
      if (piece.fd_index >= lease->fds.size()) return malformed();
      slice.fd = lease->fds[piece.fd_index].get();
      slice.file_offset = piece.file_offset;
    } else {
      slice.data = reinterpret_cast<const std::byte*>(in.bytes(piece.length).data());
    }
    at = slice.range.end;
    lease->slices.push_back(slice);
  }
  if (!in.complete() || at < head.offset) return malformed();
  lease->range = {head.offset, at};
  return lease;
}

Result<std::size_t> HeldLease::pread(std::uint64_t offset, std::span<std::byte> buffer) const {
  if (offset < range.begin)
    return Error{ErrorCode::kInvalidArgument, "the offset lies before the leased range"};
  const ByteRange wanted = ByteRange::at(offset, buffer.size()).intersect(range);
  auto slice = std::upper_bound(
      slices.begin(), slices.end(), wanted.begin,
      [](std::uint64_t at, const Lease::Slice& candidate) { return at < candidate.range.end; });
  std::size_t have = 0;
  for (; slice != slices.end() && have < wanted.size(); ++slice) {
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

}  // namespace client

Lease::Lease(std::unique_ptr<client::HeldLease> held) : held_(std::move(held)) {}
Lease::Lease(Lease&&) noexcept = default;
Lease& Lease::operator=(Lease&&) noexcept = default;
Lease::~Lease() = default;
ByteRange Lease::range() const { return held_->range; }
const std::vector<Lease::Slice>& Lease::slices() const { return held_->slices; }
Result<std::size_t> Lease::pread(std::uint64_t offset, std::span<std::byte> buffer) const {
  return held_->pread(offset, buffer);
}

}  // namespace rangecache
