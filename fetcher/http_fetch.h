#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/origin.h"
#include "fetcher/hedged_request.h"
#include "fetcher/http_endpoint.h"
#include "fetcher/range_response.h"

namespace rangecache::fetcher {

/// One fetch of one range: as many requests as it takes. Lives on the loop's thread; others
/// only call start(), cancel() and resume().
///
///   wanted      |---------------------------|        what the reader asked for
///   delivered   |==========>                         position_: the next byte for the sink
///   request 2              |----------------|        after a broken connection, a short 206
///   body        |..........=================|        a 200 instead: skipped up to position_
class HttpFetch final : public HttpHandler,
                        public Transfer,
                        public std::enable_shared_from_this<HttpFetch> {
 public:
  static std::shared_ptr<Transfer> start(std::shared_ptr<const HttpEndpoint> endpoint,
                                         FetchRequest request, std::shared_ptr<FetchSink> sink);

  HttpFetch(std::shared_ptr<const HttpEndpoint> endpoint, FetchRequest request,
            std::shared_ptr<FetchSink> sink);
  void cancel() override;
  void promote() override;
  void resume() override;

  FetchSink::Verdict on_response(const HttpResponse& response) override;
  FetchSink::Verdict on_data(std::span<const std::byte> data) override;
  void on_end(std::optional<HttpFailure> failure) override;

 private:
  void begin();
  void send(std::int64_t delay_ms);
  bool names_version();
  bool knows_better();
  FetchSink::Verdict accept(const RangeBody& body);
  void retry_or_fail(HttpFailure failure);
  bool may_join_another_response() const;
  void finish(Result<void> result);

  const std::shared_ptr<const HttpEndpoint> endpoint_;
  FetchRequest request_;
  const std::string shown_url_;
  std::shared_ptr<FetchSink> sink_;  ///< null once on_done was called

  std::shared_ptr<HedgedRequest> running_;
  ByteRange wanted_;                   ///< what is to be delivered; cut once the size is known
  std::uint64_t position_ = 0;         ///< of the next byte for the sink
  Validator validator_;                ///< asked for, or learnt from the first response
  std::optional<std::uint64_t> size_;  ///< set with the first head
  int failures_ = 0;                   ///< since the last real progress
  std::uint64_t progress_mark_ = 0;
  std::int64_t tries_began_ns_ = 0;
  std::string version_id_;  ///< of S3: named because the object has another version by now
  bool learnt_ = false;     ///< the signer has seen a refusal

  // Of the response that is arriving:
  std::uint64_t body_at_ = 0;  ///< object offset of the next body byte
  std::uint64_t body_begin_ = 0;
  std::uint64_t body_end_ = 0;
  std::optional<HttpFailure> refusal_;  ///< why its body is not used
  HttpResponse refused_;                ///< and its body, as far as it was read
  std::string refused_body_;
  bool sink_aborted_ = false;
};

}  // namespace rangecache::fetcher
