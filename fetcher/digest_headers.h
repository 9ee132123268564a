#pragma once

#include "base/origin.h"
#include "fetcher/http_headers.h"

namespace rangecache::fetcher {

/// The digest of the whole representation that a response tells, also one of a range:
/// `Repr-Digest` with sha-256 (RFC 9530 §3). Of S3 also x-amz-checksum-* of full objects, and an
/// ETag that is the MD5: of objects that were put in one part and are not encrypted with keys of
/// KMS or the client's (Amazon S3 API Reference, "Object": ETag). kNone: nothing usable.
Digest digest_in(const HttpHeaders& headers, bool is_s3);

}  // namespace rangecache::fetcher
