#include "daemon/api_output.h"

#include <sys/sendfile.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace rangecache::daemon {
namespace {

constexpr std::size_t kMaxIov = 64;
constexpr std::size_t kSendfileStep = 1024 * 1024;
constexpr std::size_t kFlushBudget = 4 * 1024 * 1024;

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

void attach_fds(msghdr& message, const std::vector<int>& fds, std::vector<char>& control) {
  const std::size_t size = fds.size() * sizeof(int);
  control.assign(CMSG_SPACE(size), 0);
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(size);
  std::memcpy(CMSG_DATA(header), fds.data(), size);
}

}  // namespace

void OutputQueue::push(OutgoingFrame frame) {
  std::uint64_t length = frame.head.size();
  for (const Slice& slice : frame.body) length += slice.length;
  wire::FrameHeader header;
  header.length = static_cast<std::uint32_t>(length);
  header.type = frame.type;
  header.flags =
      static_cast<std::uint16_t>(frame.flags | frame.fds.size() << protocol::kFdCountShift);
  header.request_id = frame.request_id;

  Piece first;
  first.bytes = wire::encode(header) + frame.head;
  first.fds = std::move(frame.fds);
  first.fd_owners = std::move(frame.fd_owners);
  size_bytes_ += first.bytes.size();
  pieces_.push_back(std::move(first));
  for (Slice& slice : frame.body) {
    if (slice.length == 0) continue;
    size_bytes_ += slice.length;
    Piece piece;
    piece.slice = std::move(slice);
    pieces_.push_back(std::move(piece));
  }
}

void OutputQueue::push_raw(std::string bytes) {
  size_bytes_ += bytes.size();
  Piece piece;
  piece.bytes = std::move(bytes);
  pieces_.push_back(std::move(piece));
}

Result<std::size_t> OutputQueue::write_memory(int socket) {
  std::array<iovec, kMaxIov> iov;
  std::size_t count = 0;
  for (const Piece& piece : pieces_) {
    // Descriptors travel with the first byte of their frame: such a piece begins a message.
    if (count == kMaxIov || piece.in_file() || (count > 0 && !piece.fds.empty())) break;
    iov[count].iov_base = const_cast<char*>(piece.data()) + piece.done;
    iov[count].iov_len = piece.length() - piece.done;
    ++count;
  }
  msghdr message{};
  message.msg_iov = iov.data();
  message.msg_iovlen = count;
  std::vector<char> control;
  Piece& front = pieces_.front();
  if (!front.fds.empty()) attach_fds(message, front.fds, control);
  const ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0) {
    if (would_block()) return std::size_t{0};
    return Error{ErrorCode::kProtocol, "the client does not take its reply", errno};
  }
  front.fds.clear();
  front.fd_owners.clear();
  return static_cast<std::size_t>(sent);
}

Result<std::size_t> OutputQueue::write_file(int socket) {
  const Piece& front = pieces_.front();
  auto offset = static_cast<off_t>(front.slice.offset + front.done);
  const std::size_t want = std::min(front.length() - front.done, kSendfileStep);
  const ssize_t sent = sendfile(socket, front.slice.fd, &offset, want);
  if (sent > 0) return static_cast<std::size_t>(sent);
  if (sent < 0 && would_block()) return std::size_t{0};
  // The header has promised these bytes: only the end of the connection can take that back.
  return Error{ErrorCode::kIo, "a cached chunk cannot be sent", sent < 0 ? errno : 0};
}

void OutputQueue::advance(std::size_t count) {
  size_bytes_ -= count;
  written_bytes_ += count;
  while (count > 0) {
    Piece& front = pieces_.front();
    const std::size_t step = std::min(count, front.length() - front.done);
    front.done += step;
    count -= step;
    if (front.done == front.length()) pieces_.pop_front();
  }
}

void OutputQueue::let_go_of_memory() {
  for (Piece& piece : pieces_) {
    if (!piece.bytes.empty() || piece.slice.fd >= 0) continue;
    piece.bytes.assign(piece.data() + piece.done, piece.length() - piece.done);
    piece.slice = {};
    piece.done = 0;
  }
}

Result<OutputQueue::State> OutputQueue::flush(int socket) {
  for (std::size_t budget = kFlushBudget; budget > 0 && !pieces_.empty();) {
    RC_ASSIGN(const std::size_t sent,
              pieces_.front().in_file() ? write_file(socket) : write_memory(socket));
    if (sent == 0) return State::kBlocked;
    advance(sent);
    budget -= std::min(budget, sent);
  }
  return pieces_.empty() ? State::kDrained : State::kBlocked;
}

}  // namespace rangecache::daemon
