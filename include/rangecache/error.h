#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace rangecache {

/// What went wrong, in the project's own terms. The values are part of the wire protocol
/// (docs/PROTOCOL.md): append, never renumber.
enum class ErrorCode : std::uint16_t {
  kInvalidArgument = 1,   ///< the request makes no sense; asking again will not help
  kNotFound = 2,          ///< the origin said so (404, 410, or a complete listing)
  kPermissionDenied = 3,  ///< the origin refused (401, 403) or the local system did
  kNotDirectory = 4,
  kIsDirectory = 5,
  kStale = 6,          ///< the object changed and its old version cannot be had any more
  kUnreachable = 7,    ///< no connection to the origin (name, route, refused, TLS)
  kTimedOut = 8,       ///< the origin did not answer, or stopped sending, in time
  kOriginFailed = 9,   ///< the origin answered 5xx, broke the connection, or lied
  kUnsupported = 10,   ///< the origin, the kernel or this version cannot do it
  kIo = 11,            ///< a local disk or system call failed
  kNoSpace = 12,       ///< the local disk, or the configured limit, is full
  kBusy = 13,          ///< in use by another: cache directory, mount point, limit of a client
  kCancelled = 14,     ///< the reader gave up (interrupt, closed connection)
  kProtocol = 15,      ///< the peer on the socket does not speak this protocol
  kShuttingDown = 16,  ///< the daemon is stopping
  kInternal = 17,      ///< a defect in this program
  kCorrupt = 18,       ///< stored bytes do not match their checksum or identity
};

/// The short name of a code ("not found"), for messages and logs.
const char* to_string(ErrorCode code);

/// The errno that best says `code` to a POSIX program (ENOENT, ESTALE, EIO, ...).
int to_errno(ErrorCode code);

/// Whether asking the origin again might help: only then may a request be retried, and never
/// may such an error be taken for "the object does not exist".
constexpr bool is_transient(ErrorCode code) {
  return code == ErrorCode::kUnreachable || code == ErrorCode::kTimedOut ||
         code == ErrorCode::kOriginFailed;
}

/// An error: its code, the errno behind it (0 if none), and a sentence that names the object
/// concerned and, where there is one, the remedy. Never contains secrets.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  int sys_errno = 0;
  std::string context;

  Error() = default;
  Error(ErrorCode error_code, std::string error_context, int system_errno = 0)
      : code(error_code), sys_errno(system_errno), context(std::move(error_context)) {}

  /// "<context> (<strerror or code>)": what a person should read.
  std::string message() const;
};

}  // namespace rangecache
