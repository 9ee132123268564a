#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/origin.h"
#include "base/unique_function.h"
#include "fetcher/http_headers.h"

namespace rangecache::fetcher {

class OriginHealth;
struct HttpRequest;
struct HttpResponse;

/// How an origin is reached.
struct ConnectionOptions {
  std::int64_t connect_timeout_ms = 10'000;
  std::int64_t first_byte_timeout_ms = 30'000;  ///< from the start of a request to its headers
  std::int64_t stall_timeout_ms = 30'000;       ///< without a byte, while not paused
  int max_transfers = 32;                       ///< of data in flight
  std::string ca_file;                          ///< PEM; trusted besides the system's; empty: none
  std::string proxy;                            ///< empty: as the environment says
};

/// Which places of its origin a request takes: those of one kind never wait for another's.
enum class Traffic : std::uint8_t { kMetadata, kDemand, kReadAhead };

/// Proves to an origin who asks. The loop's thread.
class RequestSigner {
 public:
  virtual ~RequestSigner() = default;
  /// Gets what sign() needs. `done` comes once, from any thread, possibly from within.
  virtual void prepare(UniqueFunction<void(Result<void>)> done) = 0;
  /// Adds headers, and may send the request to another host of the service. Called right before
  /// it goes out, so that its time is true however long it waited.
  virtual void sign(HttpRequest& request) = 0;
  /// A refusal. True if it told what was wrong (the region, the time, the credentials) and that can
  /// be mended: then ask once more.
  virtual bool learn_from(const HttpResponse& refusal, std::string_view body) = 0;
};

/// One HTTP request as CurlLoop sends it. Nothing is retried. Redirects are followed, but not with
/// a signature: it holds for one host only.
struct HttpRequest {
  std::shared_ptr<OriginHealth> health;  ///< of the origin, whose places in the queue it takes
  std::shared_ptr<const ConnectionOptions> connection;  ///< of the origin
  Traffic traffic = Traffic::kMetadata;
  std::string url;        ///< without user and password
  std::string shown_url;  ///< what people call it: no secrets
  std::string user;       ///< sent to this host only, never to one that it redirects to
  std::string password;
  bool head = false;                      ///< HEAD instead of GET
  std::vector<std::string> headers;       ///< "Name: value"
  std::shared_ptr<RequestSigner> signer;  ///< null: nothing is signed
};

struct HttpResponse {
  int status = 0;
  HttpHeaders headers;
  std::string url;  ///< that it came from, after redirects
};

/// Why no whole response came.
struct HttpFailure {
  Error error;
  bool retryable = false;
  std::optional<std::int64_t> retry_after_s{};  ///< what the origin asked for
  bool unsent = false;  ///< nothing was sent: the origin does not answer of late
};

/// Takes one response on the loop's thread. Must not call CurlLoop from on_response or on_data;
/// may do so from on_end.
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  /// Status and headers of the final response. kContinue or kAbort.
  virtual FetchSink::Verdict on_response(const HttpResponse& response) = 0;
  /// After kPause the same bytes come again, perhaps in other pieces.
  virtual FetchSink::Verdict on_data(std::span<const std::byte> data) = 0;
  /// Last call, exactly once. nullopt: the response came whole, as far as HTTP can tell. After
  /// kAbort the failure is kCancelled.
  virtual void on_end(std::optional<HttpFailure> failure) = 0;
};

}  // namespace rangecache::fetcher
