#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "base/slice.h"
#include "base/wire.h"
#include "rangecache/result.h"

namespace rangecache::daemon {

/// A frame on its way to a client. The header's length and descriptor count are computed.
struct OutgoingFrame {
  protocol::MessageType type = protocol::MessageType::kConnection;
  std::uint16_t flags = 0;
  std::uint64_t request_id = 0;
  std::string head;      ///< the first bytes of the payload
  Slices body;           ///< the rest of it
  std::vector<int> fds;  ///< travel with the frame; each is kept open by `fd_owners`
  Slices fd_owners;
};

/// The frames that one client has not taken yet. Data is not copied unless it stays: memory goes
/// out with sendmsg, chunk files with sendfile. Owned by one ApiConnection; loop thread only.
class OutputQueue {
 public:
  void push(OutgoingFrame frame);
  /// Bytes that are not a frame: the greeting.
  void push_raw(std::string bytes);
  bool empty() const { return pieces_.empty(); }
  std::uint64_t size_bytes() const { return size_bytes_; }

  enum class State { kDrained, kBlocked };
  /// Writes what the socket takes, at most a few MiB, so that one client cannot keep the loop.
  /// An error means that the stream is broken: close the connection.
  Result<State> flush(int socket);
  /// Copies what memory of the cache it holds: a few bytes may hold a whole piece, and who takes
  /// them slowly must not keep others from it.
  void let_go_of_memory();
  /// Bytes that the socket took since the queue was made.
  std::uint64_t written_bytes() const { return written_bytes_; }

 private:
  struct Piece {
    std::string bytes;  ///< when not empty, the piece; else `slice` is
    Slice slice;
    std::vector<int> fds;
    Slices fd_owners;
    std::size_t done = 0;
    std::size_t length() const { return bytes.empty() ? slice.length : bytes.size(); }
    bool in_file() const { return bytes.empty() && slice.fd >= 0; }
    const char* data() const {
      return bytes.empty() ? reinterpret_cast<const char*>(slice.data) : bytes.data();
    }
  };
  Result<std::size_t> write_memory(int socket);
  Result<std::size_t> write_file(int socket);
  void advance(std::size_t count);

  std::deque<Piece> pieces_;
  std::uint64_t size_bytes_ = 0;
  std::uint64_t written_bytes_ = 0;
};

}  // namespace rangecache::daemon
