#include <algorithm>
#include <utility>

#include "base/messages.h"
#include "client/file_impl.h"

namespace rangecache {
namespace {

using protocol::MessageType;

std::string read_request(std::uint64_t handle, std::uint64_t offset, std::uint64_t length) {
  wire::Writer out;
  out.u64(handle);
  out.u64(offset);
  out.u32(static_cast<std::uint32_t>(length));
  return out.take();
}

std::string one_number(std::uint64_t value) {
  wire::Writer out;
  out.u64(value);
  return out.take();
}

void ignore(Result<client::Reply>) {}

// A read that was split: collects its parts, on the connection's thread and the starter's.
class SplitRead {
 public:
  SplitRead(std::size_t parts, File::ReadCallback done)
      : delivered_(parts, 0), left_(parts), done_(std::move(done)) {}

  void set_part_size(std::size_t size) { part_size_ = size; }
  void add_request(std::uint64_t id) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    requests_.push_back(id);
  }
  std::vector<std::uint64_t> requests() EXCLUDES(mu_) {
    MutexLock lock(mu_);
    return requests_;
  }

  void finish_part(std::size_t part, Result<client::Reply> reply) EXCLUDES(mu_) {
    File::ReadCallback done;
    Result<std::size_t> result = std::size_t{0};
    {
      MutexLock lock(mu_);
      if (reply) {
        delivered_[part] = reply->delivered;
      } else if (!error_) {
        error_ = reply.error();
      }
      if (--left_ > 0) return;
      done = std::move(done_);
      if (error_) {
        result = *error_;
      } else {
        result = contiguous_locked();
      }
    }
    done(std::move(result));
  }

 private:
  // A part that is short ends the file: what lies behind it is not there.
  std::size_t contiguous_locked() const REQUIRES(mu_) {
    std::size_t total = 0;
    for (const std::size_t part : delivered_) {
      total += part;
      if (part < part_size_) break;
    }
    return total;
  }

  std::size_t part_size_ = 0;
  Mutex mu_;
  std::vector<std::size_t> delivered_ GUARDED_BY(mu_);
  std::size_t left_ GUARDED_BY(mu_);
  std::optional<Error> error_ GUARDED_BY(mu_);
  std::vector<std::uint64_t> requests_ GUARDED_BY(mu_);
  File::ReadCallback done_ GUARDED_BY(mu_);
};

}  // namespace

File::Impl::~Impl() {
  if (connection) connection->send(MessageType::kClose, one_number(handle), ignore);
}

File::File(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
File::File(File&&) noexcept = default;
File& File::operator=(File&&) noexcept = default;
File::~File() = default;
const ObjectInfo& File::info() const { return impl_->info; }

void PendingRead::cancel() {
  if (cancel_) cancel_();
}

PendingRead File::read_async(std::uint64_t offset, std::span<std::byte> buffer,
                             ReadCallback done) const {
  // What lies behind the end of the version needs no asking.
  const ByteRange wanted =
      ByteRange::at(offset, buffer.size()).intersect(ByteRange{0, impl_->info.size});
  if (wanted.empty()) {
    done(std::size_t{0});
    return {};
  }
  const auto& connection = impl_->connection;
  const std::size_t total = wanted.size();
  const std::size_t part_size =
      std::min(protocol::kMaxReadLength, std::max(connection->daemon().max_read_length, 4096u));
  const std::size_t parts = (total + part_size - 1) / part_size;
  const auto job = std::make_shared<SplitRead>(parts, std::move(done));
  job->set_part_size(part_size);
  for (std::size_t part = 0; part < parts; ++part) {
    const std::size_t begin = part * part_size;
    const std::size_t length = std::min(part_size, total - begin);
    job->add_request(connection->send(
        MessageType::kRead, read_request(impl_->handle, offset + begin, length),
        [job, part](Result<client::Reply> reply) { job->finish_part(part, std::move(reply)); },
        buffer.subspan(begin, length)));
  }
  return PendingRead([job, weak = std::weak_ptr(connection)] {
    const auto alive = weak.lock();
    if (!alive) return;
    for (const std::uint64_t request : job->requests()) alive->cancel(request);
  });
}

Result<std::size_t> File::read(std::uint64_t offset, std::span<std::byte> buffer) const {
  struct Wait {
    Mutex mu;
    CondVar changed;
    std::optional<Result<std::size_t>> result GUARDED_BY(mu);
  };
  const auto wait = std::make_shared<Wait>();
  read_async(offset, buffer, [wait](Result<std::size_t> result) {
    MutexLock lock(wait->mu);
    wait->result.emplace(std::move(result));
    wait->changed.notify_one();
  });
  MutexLock lock(wait->mu);
  while (!wait->result) wait->changed.wait(wait->mu);
  return std::move(*wait->result);
}

Result<Lease> File::lease(ByteRange range) const {
  const ByteRange wanted = range.intersect(ByteRange{0, impl_->info.size});
  const std::uint64_t length =
      std::min<std::uint64_t>(wanted.size(), impl_->connection->daemon().max_lease_length);
  auto lease = std::make_unique<Lease::Impl>();
  lease->range = {range.begin, range.begin};
  if (length == 0) return Lease(std::move(lease));
  RC_ASSIGN(client::Reply reply,
            impl_->connection->call(MessageType::kLease,
                                    read_request(impl_->handle, wanted.begin, length)));
  lease->connection = impl_->connection;
  lease->reply = std::move(reply.payload);
  lease->fds = std::move(reply.fds);
  const auto malformed = [] {
    return Error{ErrorCode::kProtocol, "the daemon sent a lease that cannot be understood"};
  };
  wire::Reader in(lease->reply);
  const wire::LeaseReply head = wire::get_lease_reply(in);
  if (!in.ok() || head.offset != wanted.begin) return malformed();
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
  if (!in.complete() || at - head.offset > length) return malformed();
  lease->range = {head.offset, at};
  return Lease(std::move(lease));
}

}  // namespace rangecache
