#include "rangecache/error.h"

#include <cerrno>
#include <cstring>

namespace rangecache {
namespace {

struct CodeInfo {
  const char* name;
  int posix_errno;
};

CodeInfo info(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return {"invalid argument", EINVAL};
    case ErrorCode::kNotFound:
      return {"not found", ENOENT};
    case ErrorCode::kPermissionDenied:
      return {"permission denied", EACCES};
    case ErrorCode::kNotDirectory:
      return {"not a directory", ENOTDIR};
    case ErrorCode::kIsDirectory:
      return {"is a directory", EISDIR};
    case ErrorCode::kStale:
      return {"object has changed", ESTALE};
    case ErrorCode::kUnreachable:
      return {"origin unreachable", EIO};
    case ErrorCode::kTimedOut:
      return {"timed out", EIO};
    case ErrorCode::kOriginFailed:
      return {"origin failed", EIO};
    case ErrorCode::kUnsupported:
      return {"not supported", ENOTSUP};
    case ErrorCode::kIo:
      return {"input/output error", EIO};
    case ErrorCode::kNoSpace:
      return {"no space", ENOSPC};
    case ErrorCode::kBusy:
      return {"busy", EBUSY};
    case ErrorCode::kCancelled:
      return {"cancelled", EINTR};
    case ErrorCode::kProtocol:
      return {"protocol error", EPROTO};
    case ErrorCode::kShuttingDown:
      return {"shutting down", EIO};
    case ErrorCode::kInternal:
      return {"internal error", EIO};
    case ErrorCode::kCorrupt:
      return {"corrupt data", EIO};
  }
  return {"unknown error", EIO};
}

}  // namespace

const char* to_string(ErrorCode code) { return info(code).name; }

int to_errno(ErrorCode code) { return info(code).posix_errno; }

std::string Error::message() const {
  // The GNU strerror_r: returns the text, which may not be in the buffer.
  char buffer[128];
  const char* reason = sys_errno ? strerror_r(sys_errno, buffer, sizeof buffer) : to_string(code);
  return context.empty() ? std::string(reason) : context + " (" + reason + ")";
}

}  // namespace rangecache
