#include <algorithm>
#include <utility>

#include "base/messages.h"
#include "client/awaited.h"
#include "client/file_impl.h"
#include "client/held_lease.h"

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

std::string two_numbers(std::uint64_t first, std::uint64_t second) {
  wire::Writer out;
  out.u64(first);
  out.u64(second);
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
  SplitRead(std::size_t parts, std::size_t part_size, File::ReadCallback done)
      : part_size_(part_size), delivered_(parts, 0), left_(parts), done_(std::move(done)) {}

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

  const std::size_t part_size_;
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

std::span<std::byte> File::Impl::within(std::uint64_t offset, std::span<std::byte> buffer) const {
  return buffer.first(
      ByteRange::at(offset, buffer.size()).intersect(ByteRange{0, info.size}).size());
}

PendingRead File::Impl::ask(std::uint64_t offset, std::span<std::byte> buffer,
                            ReadCallback callback) {
  ReadCallback done = [kept = leases, offset,
                       callback = std::move(callback)](Result<std::size_t> result) {
    const bool had = static_cast<bool>(result);
    callback(std::move(result));
    if (had) kept->missed(offset);
  };
  const std::size_t part_size =
      std::min(protocol::kMaxReadLength, std::max(connection->daemon().max_read_length, 4096u));
  const std::size_t parts = (buffer.size() + part_size - 1) / part_size;
  const auto job = std::make_shared<SplitRead>(parts, part_size, std::move(done));
  const client::Connection::Cork together(*connection);
  for (std::size_t part = 0; part < parts; ++part) {
    const std::size_t begin = part * part_size;
    const std::size_t length = std::min(part_size, buffer.size() - begin);
    job->add_request(connection->send(
        MessageType::kRead, read_request(handle, offset + begin, length),
        [job, part](Result<client::Reply> reply) { job->finish_part(part, std::move(reply)); },
        buffer.subspan(begin, length)));
  }
  return PendingRead([job, weak = std::weak_ptr(connection)] {
    const auto alive = weak.lock();
    if (!alive) return;
    for (const std::uint64_t request : job->requests()) alive->cancel(request);
  });
}

PendingRead File::read_async(std::uint64_t offset, std::span<std::byte> buffer,
                             ReadCallback done) const {
  // A callback that reads on, and finds its bytes at hand each time, must not fill the stack.
  constexpr int kMaxDepth = 8;
  static thread_local int depth = 0;
  // What lies behind the end of the version needs no asking.
  const std::span<std::byte> wanted = impl_->within(offset, buffer);
  const bool at_hand =
      wanted.empty() ||
      (depth < kMaxDepth && impl_->leases->read(offset, wanted, client::KeptLeases::Wait::kNever));
  if (!at_hand) return impl_->ask(offset, wanted, std::move(done));
  ++depth;
  done(wanted.size());
  --depth;
  return {};
}

Result<std::size_t> File::read(std::uint64_t offset, std::span<std::byte> buffer) const {
  const std::span<std::byte> wanted = impl_->within(offset, buffer);
  if (wanted.empty() || impl_->leases->read(offset, wanted, client::KeptLeases::Wait::kForDisk)) {
    return wanted.size();
  }
  const auto result = std::make_shared<client::Awaited<Result<std::size_t>>>();
  impl_->ask(offset, wanted, [result](Result<std::size_t> got) { result->set(std::move(got)); });
  return result->wait();
}

namespace {

// Collects the results of a batch, on the connection's thread and the starter's.
class Batch {
 public:
  Batch(std::size_t parts, File::BatchCallback done)
      : results_(parts, Result<std::size_t>(std::size_t{0})),
        left_(parts + 1),
        done_(std::move(done)) {}

  void finish_part(std::size_t part, Result<std::size_t> result) EXCLUDES(mu_) {
    {
      MutexLock lock(mu_);
      results_[part] = std::move(result);
    }
    finish_one();
  }
  /// Once for each part, and once for the start.
  void finish_one() EXCLUDES(mu_) {
    {
      MutexLock lock(mu_);
      if (--left_ > 0) return;
    }
    done_(take());
  }

 private:
  std::vector<Result<std::size_t>> take() EXCLUDES(mu_) {
    MutexLock lock(mu_);
    return std::move(results_);
  }

  Mutex mu_;
  std::vector<Result<std::size_t>> results_ GUARDED_BY(mu_);
  std::size_t left_ GUARDED_BY(mu_);
  const File::BatchCallback done_;
};

}  // namespace

PendingRead File::read_batch_async(std::span<const ReadPart> parts, BatchCallback done) const {
  const auto batch = std::make_shared<Batch>(parts.size(), std::move(done));
  const auto pending = std::make_shared<std::vector<PendingRead>>();
  {
    const client::Connection::Cork together(*impl_->connection);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      pending->push_back(read_async(
          parts[i].offset, parts[i].buffer,
          [batch, i](Result<std::size_t> result) { batch->finish_part(i, std::move(result)); }));
    }
  }
  batch->finish_one();
  return PendingRead([pending] {
    for (PendingRead& read : *pending) read.cancel();
  });
}

std::vector<Result<std::size_t>> File::read_batch(std::span<const ReadPart> parts) const {
  const auto results = std::make_shared<client::Awaited<std::vector<Result<std::size_t>>>>();
  read_batch_async(
      parts, [results](std::vector<Result<std::size_t>> got) { results->set(std::move(got)); });
  return results->wait();
}

Result<std::unique_ptr<client::HeldLease>> File::Impl::lease(ByteRange wanted) const {
  const std::uint64_t length =
      std::min<std::uint64_t>(wanted.size(), connection->daemon().max_lease_length);
  RC_ASSIGN(auto held,
            client::HeldLease::parse(
                connection->call(MessageType::kLease, read_request(handle, wanted.begin, length)),
                connection));
  if (held->range.begin != wanted.begin || held->range.size() > length)
    return client::HeldLease::malformed();
  return held;
}

Result<std::unique_ptr<client::HeldLease>> File::Impl::lease_around(std::uint64_t offset,
                                                                    std::uint64_t end) const {
  auto cached = client::HeldLease::parse(
      connection->call(MessageType::kLeaseCached, two_numbers(handle, offset)), connection);
  if (cached && (*cached)->range.contains(offset)) return cached;
  return lease({offset, end});
}

Result<Lease> File::lease(ByteRange range) const {
  const ByteRange wanted = range.intersect(ByteRange{0, impl_->info.size});
  if (wanted.empty()) {
    auto nothing = std::make_unique<client::HeldLease>();
    nothing->range = {range.begin, range.begin};
    return Lease(std::move(nothing));
  }
  RC_ASSIGN(auto held, impl_->lease(wanted));
  return Lease(std::move(held));
}

}  // namespace rangecache
