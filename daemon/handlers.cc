#include "daemon/handlers.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/messages.h"
#include "rangecache/version.h"

namespace rangecache::daemon {
namespace {

using protocol::MessageType;

constexpr std::size_t kMaxPing = 1024;

bool known(MessageType type) {
  return type >= MessageType::kPing && type <= MessageType::kLeaseCached;
}

std::vector<DirectoryEntry> to_wire(std::vector<ListEntry> entries) {
  std::vector<DirectoryEntry> out;
  out.reserve(entries.size());
  for (ListEntry& entry : entries) {
    out.push_back({std::move(entry.name), entry.is_directory, entry.size, entry.modified_s});
  }
  return out;
}

// A descriptor that a client could write through is never handed out: its bytes go inline.
bool may_be_leased(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_ACCMODE) == O_RDONLY;
}

}  // namespace

Session::Session(std::shared_ptr<EventLoop> loop, Service& service, ClientLimits limits, Send send)
    : loop_(std::move(loop)), service_(service), limits_(limits), send_(std::move(send)) {}

void Session::begin(Address to, std::uint64_t cost_bytes) {
  requests_[to.id] = Request{next_serial_++, to.type, cost_bytes, {}};
  in_flight_bytes_ += cost_bytes;
}

bool Session::end(std::uint64_t id, std::uint64_t serial) {
  const auto found = requests_.find(id);
  if (closed_ || found == requests_.end() || found->second.serial != serial) return false;
  in_flight_bytes_ -= found->second.cost_bytes;
  if (found->second.type == MessageType::kOpen) --opens_in_flight_;
  requests_.erase(found);
  return true;
}

template <typename T, typename Reply>
void Session::finish(Address to, std::uint64_t serial, Result<T> result, Reply& reply) {
  if (!end(to.id, serial)) return;
  if (result) {
    reply(*this, to, std::move(*result));
  } else {
    send_error(to, result.error());
  }
}

template <typename T, typename Reply>
Callback<T> Session::answer(Address to, Reply reply) {
  return [weak = weak_from_this(), loop = loop_, to, serial = requests_.at(to.id).serial,
          reply = std::move(reply)](Result<T> result) mutable {
    if (loop->in_loop_thread()) {
      if (const auto self = weak.lock()) {
        self->template finish<T>(to, serial, std::move(result), reply);
      }
      return;
    }
    loop->post([weak, to, serial, reply = std::move(reply), result = std::move(result)]() mutable {
      if (const auto self = weak.lock()) {
        self->template finish<T>(to, serial, std::move(result), reply);
      }
    });
  };
}

template <typename T>
Callback<T> Session::answer_with_value(Address to) {
  return answer<T>(to, [](Session& self, Address address, T value) {
    wire::Writer out;
    wire::put(out, value);
    self.send_reply(address, out.take());
  });
}

void Session::send_reply(Address to, std::string head, Slices body) {
  if (head.size() > protocol::kMaxReplyPayload) {
    send_error(to, Error{ErrorCode::kUnsupported,
                         "the reply is larger than the protocol allows: ask for less at a time"});
    return;
  }
  OutgoingFrame frame;
  frame.type = to.type;
  frame.flags = protocol::kFlagReply;
  frame.request_id = to.id;
  frame.head = std::move(head);
  frame.body = std::move(body);
  send_(std::move(frame));
}

void Session::send_error(Address to, const Error& error) {
  OutgoingFrame frame;
  frame.type = to.type;
  frame.flags = protocol::kFlagReply | protocol::kFlagError;
  frame.request_id = to.id;
  frame.head = wire::encode(error);
  send_(std::move(frame));
}

Result<void> Session::handle(const wire::FrameHeader& header, std::string_view payload) {
  const Address to{header.type, header.request_id};
  if (header.flags != 0) {
    return Error{ErrorCode::kProtocol, "a request has flags, which only replies have"};
  }
  if (!known(header.type)) {
    send_error(
        to, Error{ErrorCode::kUnsupported, "this daemon does not know message type " +
                                               std::to_string(static_cast<unsigned>(header.type))});
    return {};
  }
  if (header.type != MessageType::kCancel && requests_.count(header.request_id) != 0) {
    return Error{ErrorCode::kProtocol, "a request has the id of another that is not answered yet"};
  }
  wire::Reader in(payload);
  return dispatch(to, in);
}

namespace {
// Handlers run only on payloads that were understood to the last byte.
Result<void> malformed(protocol::MessageType type) {
  return Error{ErrorCode::kProtocol, "the payload of a message of type " +
                                         std::to_string(static_cast<unsigned>(type)) +
                                         " is malformed"};
}
}  // namespace

Result<void> Session::dispatch(Address to, wire::Reader& in) {
  switch (to.type) {
    case MessageType::kPing: {
      if (in.rest().size() > kMaxPing) return malformed(to.type);
      wire::Writer out;
      out.u32(static_cast<std::uint32_t>(getpid()));
      out.string(RANGECACHE_VERSION);
      out.bytes(in.rest());
      send_reply(to, out.take());
      return {};
    }
    case MessageType::kOpen: {
      std::string url = in.string();
      if (!in.complete()) return malformed(to.type);
      open(to, std::move(url));
      return {};
    }
    case MessageType::kClose: {
      const std::uint64_t handle = in.u64();
      if (!in.complete()) return malformed(to.type);
      close_handle(to, handle);
      return {};
    }
    case MessageType::kRead:
    case MessageType::kLease: {
      const std::uint64_t handle = in.u64();
      const std::uint64_t offset = in.u64();
      const std::uint32_t length = in.u32();
      if (!in.complete()) return malformed(to.type);
      if (to.type == MessageType::kRead) {
        read(to, handle, offset, length);
      } else {
        lease(to, handle, offset, length);
      }
      return {};
    }
    case MessageType::kLeaseCached: {
      const std::uint64_t handle = in.u64();
      const std::uint64_t offset = in.u64();
      if (!in.complete()) return malformed(to.type);
      lease_cached(to, handle, offset);
      return {};
    }
    case MessageType::kRelease: {
      const std::uint64_t id = in.u64();
      if (!in.complete()) return malformed(to.type);
      release(to, id);
      return {};
    }
    case MessageType::kCancel: {
      const std::uint64_t id = in.u64();
      if (!in.complete()) return malformed(to.type);
      cancel(id);
      return {};
    }
    case MessageType::kVerify: {
      std::string prefix = in.string();
      const bool repair = in.u8() != 0;
      std::string cursor = in.string();
      if (!in.complete()) return malformed(to.type);
      begin(to);
      service_.verify(std::move(prefix), repair, std::move(cursor),
                      answer_with_value<VerifyPart>(to));
      return {};
    }
    case MessageType::kPin: {
      std::string prefix = in.string();
      std::string owner = in.string();
      const std::int64_t expires_s = in.i64();
      if (!in.complete()) return malformed(to.type);
      if (auto pinned = service_.pin(std::move(prefix), std::move(owner), expires_s); !pinned) {
        send_error(to, pinned.error());
      } else {
        send_reply(to, {});
      }
      return {};
    }
    case MessageType::kUnpin: {
      const std::string prefix = in.string();
      const std::string owner = in.string();
      if (!in.complete()) return malformed(to.type);
      const auto removed = service_.unpin(prefix, owner);
      if (!removed) {
        send_error(to, removed.error());
        return {};
      }
      wire::Writer out;
      out.u64(*removed);
      send_reply(to, out.take());
      return {};
    }
    case MessageType::kPins: {
      if (!in.complete()) return malformed(to.type);
      wire::Writer out;
      wire::put(out, service_.pins());
      send_reply(to, out.take());
      return {};
    }
    case MessageType::kRefresh: {
      const std::string prefix = in.string();
      if (!in.complete()) return malformed(to.type);
      wire::Writer out;
      wire::put(out, service_.refresh(prefix));
      send_reply(to, out.take());
      return {};
    }
    default:
      return dispatch_admin(to, in);
  }
}

Result<void> Session::dispatch_admin(Address to, wire::Reader& in) {
  const bool has_text = to.type != MessageType::kStats && to.type != MessageType::kMetrics &&
                        to.type != MessageType::kShutdown;
  std::string text = has_text ? in.string() : std::string();
  std::string mountpoint = to.type == MessageType::kMount ? in.string() : std::string();
  if (!in.complete()) return malformed(to.type);
  switch (to.type) {
    case MessageType::kStats:
      send_reply(to, service_.stats_json());
      return {};
    case MessageType::kMetrics:
      send_reply(to, service_.prometheus_text());
      return {};
    case MessageType::kShutdown:
      send_reply(to, {});
      service_.shutdown();
      return {};
    default:
      break;
  }
  begin(to);
  switch (to.type) {
    case MessageType::kStat:
      service_.stat(std::move(text), answer_with_value<ObjectInfo>(to));
      break;
    case MessageType::kList:
      service_.list(std::move(text),
                    answer<std::vector<ListEntry>>(
                        to, [](Session& self, Address address, std::vector<ListEntry> entries) {
                          wire::Writer out;
                          wire::put(out, to_wire(std::move(entries)));
                          self.send_reply(address, out.take());
                        }));
      break;
    case MessageType::kCached:
      service_.cached_objects(std::move(text), answer_with_value<std::vector<CachedObject>>(to));
      break;
    case MessageType::kMap:
      service_.map(std::move(text), answer_with_value<ObjectMap>(to));
      break;
    case MessageType::kEvict:
      service_.evict(std::move(text), answer_with_value<EvictResult>(to));
      break;
    case MessageType::kMount:
      service_.mount(std::move(text), std::move(mountpoint), answer_with_value<MountInfo>(to));
      break;
    default:  // kUnmount
      service_.unmount(std::move(text), answer_with_value<MountInfo>(to));
      break;
  }
  return {};
}

void Session::open(Address to, std::string url) {
  if (handles_.size() + opens_in_flight_ >= limits_.handles) {
    send_error(to, Error{ErrorCode::kBusy, "this client has " + std::to_string(limits_.handles) +
                                               " files open, the most allowed: close some"});
    return;
  }
  begin(to);
  ++opens_in_flight_;
  service_.open(std::move(url),
                answer<std::shared_ptr<OpenFile>>(
                    to, [](Session& self, Address address, std::shared_ptr<OpenFile> file) {
                      const std::uint64_t handle = self.next_handle_++;
                      wire::Writer out;
                      out.u64(handle);
                      wire::put(out, file->info());
                      self.handles_.emplace(handle, std::move(file));
                      self.send_reply(address, out.take());
                    }));
}

std::shared_ptr<OpenFile> Session::find_handle(Address to, std::uint64_t handle) {
  const auto found = handles_.find(handle);
  if (found != handles_.end()) return found->second;
  send_error(
      to, Error{ErrorCode::kInvalidArgument, "no open file has handle " + std::to_string(handle)});
  return nullptr;
}

void Session::close_handle(Address to, std::uint64_t handle) {
  if (!find_handle(to, handle)) return;
  handles_.erase(handle);
  send_reply(to, {});
}

void Session::start_read(Address to, const std::shared_ptr<OpenFile>& file, ByteRange range,
                         Callback<Slices> done) {
  const std::uint64_t serial = requests_.at(to.id).serial;
  ReadTicket ticket = service_.read(file, range, std::move(done));
  const auto found = requests_.find(to.id);  // answered from within the call: nothing to cancel
  if (found != requests_.end() && found->second.serial == serial) {
    found->second.ticket = std::move(ticket);
  }
}

void Session::read(Address to, std::uint64_t handle, std::uint64_t offset, std::uint32_t length) {
  const auto file = find_handle(to, handle);
  if (!file) return;
  if (length > protocol::kMaxReadLength) {
    send_error(to, Error{ErrorCode::kInvalidArgument, "a READ of more than 4 MiB: split it"});
    return;
  }
  begin(to, length);
  start_read(to, file, ByteRange::at(offset, length),
             answer<Slices>(to, [](Session& self, Address address, Slices slices) {
               self.send_reply(address, {}, std::move(slices));
             }));
}

void Session::lease(Address to, std::uint64_t handle, std::uint64_t offset, std::uint32_t length) {
  const auto file = find_handle(to, handle);
  if (!file) return;
  if (length > protocol::kMaxLeaseLength) {
    send_error(to, Error{ErrorCode::kInvalidArgument, "a LEASE of more than 32 MiB: split it"});
    return;
  }
  if (!may_lease(to)) return;
  begin(to, length);
  start_read(to, file, ByteRange::at(offset, length),
             answer<Slices>(to, [offset](Session& self, Address address, Slices slices) {
               self.send_lease(address, offset, std::move(slices));
             }));
}

bool Session::may_lease(Address to) {
  if (leases_.size() < limits_.leases) return true;
  send_error(to, Error{ErrorCode::kBusy, "this client holds " + std::to_string(limits_.leases) +
                                             " leases, the most allowed: release some"});
  return false;
}

void Session::lease_cached(Address to, std::uint64_t handle, std::uint64_t offset) {
  const auto file = find_handle(to, handle);
  if (!file || !may_lease(to)) return;
  Service::Lendable lendable = service_.lendable(file, offset, protocol::kMaxLeaseFds);
  // Bytes never come inline here: what cannot be lent ends the run.
  const auto end = std::find_if_not(lendable.slices.begin(), lendable.slices.end(),
                                    [](const Slice& slice) { return may_be_leased(slice.fd); });
  lendable.slices.erase(end, lendable.slices.end());
  send_lease(to, lendable.offset, std::move(lendable.slices));
}

void Session::send_lease(Address to, std::uint64_t offset, Slices slices) {
  OutgoingFrame frame;
  wire::LeaseReply reply;
  reply.offset = offset;
  for (Slice& slice : slices) {
    wire::LeaseSlice piece;
    piece.length = slice.length;
    const auto known_fd = std::find(frame.fds.begin(), frame.fds.end(), slice.fd);
    const bool fits = known_fd != frame.fds.end() || frame.fds.size() < protocol::kMaxLeaseFds;
    if (slice.fd >= 0 && fits && may_be_leased(slice.fd)) {
      piece.kind = protocol::kSliceFile;
      piece.fd_index = static_cast<std::uint8_t>(known_fd - frame.fds.begin());
      piece.file_offset = slice.offset;
      if (known_fd == frame.fds.end()) frame.fds.push_back(slice.fd);
      frame.fd_owners.push_back(slice);
    } else {
      frame.body.push_back(std::move(slice));
    }
    reply.slices.push_back(piece);
  }
  if (!frame.fds.empty()) {
    reply.lease_id = next_lease_++;
    leases_.emplace(reply.lease_id, frame.fd_owners);
  }
  wire::Writer out;
  wire::put(out, reply);
  frame.type = to.type;
  frame.flags = protocol::kFlagReply;
  frame.request_id = to.id;
  frame.head = out.take();
  send_(std::move(frame));
}

void Session::release(Address to, std::uint64_t lease) {
  if (leases_.erase(lease) == 0) {
    send_error(to,
               Error{ErrorCode::kInvalidArgument, "no lease has the id " + std::to_string(lease)});
    return;
  }
  send_reply(to, {});
}

void Session::cancel(std::uint64_t id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;  // answered already: the replies crossed
  const Address to{found->second.type, id};
  const std::uint64_t serial = found->second.serial;
  ReadTicket ticket = std::move(found->second.ticket);
  if (end(id, serial)) send_error(to, Error{ErrorCode::kCancelled, "the client gave up"});
  ticket.cancel();  // its callback finds the request ended
}

void Session::close() {
  if (closed_) return;
  closed_ = true;
  auto requests = std::move(requests_);
  requests_.clear();
  for (auto& [id, request] : requests) request.ticket.cancel();
  in_flight_bytes_ = 0;
  handles_.clear();
  leases_.clear();
}

}  // namespace rangecache::daemon
