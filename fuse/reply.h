#pragma once

#include <sys/stat.h>

#include <cstdint>

#include "base/slice.h"
#include "fuse/backend.h"
#include "fuse/fuse_api.h"

namespace rangecache::fuse {

/// Answers with the errno of `error`.
void reply_error(fuse_req_t request, const Error& error);

/// Answers a read with exactly `expected_bytes`; EIO if the slices do not hold them. Descriptors
/// are spliced, memory is written from where it is. The slices may go when this returns.
void reply_slices(fuse_req_t request, const Slices& slices, std::uint64_t expected_bytes);

/// Mode 0444 or 0555, owned by this process; st_ino is the object's, whatever its version.
struct stat to_stat(const NodeAttributes& attributes);

/// Seconds for which the kernel may use the attributes unasked. Those of a version never change.
double attribute_timeout_s(const NodeAttributes& attributes);

/// Seconds for which the kernel may take the name for this version unasked.
double entry_timeout_s(const NodeAttributes& attributes);

}  // namespace rangecache::fuse
