#include "fetcher/http_exchange.h"

#include <fmt/format.h>

#include <utility>

#include "base/clock.h"
#include "fetcher/http_status.h"
#include "fetcher/url.h"

namespace rangecache::fetcher {
namespace {

class Exchange final : public HttpHandler, public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(std::shared_ptr<const HttpEndpoint> endpoint, HttpRequest request,
           ExchangeOptions options, Callback<HttpAnswer> done)
      : endpoint_(std::move(endpoint)),
        request_(std::move(request)),
        options_(options),
        done_(std::move(done)) {}

  void send(std::int64_t delay_ms) {
    answer_ = {};
    too_long_ = false;
    endpoint_->loop.start(request_, shared_from_this(), delay_ms);
  }

  FetchSink::Verdict on_response(const HttpResponse& response) override {
    answer_.response = response;
    return FetchSink::Verdict::kContinue;
  }

  FetchSink::Verdict on_data(std::span<const std::byte> data) override {
    const std::size_t room = options_.max_body_bytes - answer_.body.size();
    too_long_ = data.size() > room;
    answer_.body.append(reinterpret_cast<const char*>(data.data()), std::min(data.size(), room));
    return too_long_ ? FetchSink::Verdict::kAbort : FetchSink::Verdict::kContinue;
  }

  void on_end(std::optional<HttpFailure> failure) override {
    const bool failed_status = answer_.response.status >= 400;
    if (too_long_ && !options_.cut_body && !failed_status)
      failure = HttpFailure{
          {ErrorCode::kUnsupported, fmt::format("{}: the answer is longer than {} bytes",
                                                request_.shown_url, options_.max_body_bytes)},
          false};
    else if (too_long_)
      failure.reset();
    if (!failure && answer_.response.status >= 300 && request_.signer && !learnt_ &&
        request_.signer->learn_from(answer_.response, answer_.body)) {
      learnt_ = true;
      return send(0);
    }
    if (!failure && failed_status) {
      failure = status_failure(answer_.response, request_.shown_url, endpoint_->clock.unix_s());
      if (!failure->retryable) failure.reset();  // the caller knows what it means
    }
    OriginHealth& health = *endpoint_->health;
    if (!failure) {
      health.succeeded(failures_);
      return done_(std::move(answer_));
    }
    const auto delay_ms =
        health.retry_delay_ms(++failures_, *failure, began_ns_, system_clock().monotonic_ns());
    if (delay_ms) return send(*delay_ms);
    health.gave_up(*failure);
    done_(std::move(failure->error));
  }

 private:
  const std::shared_ptr<const HttpEndpoint> endpoint_;
  const HttpRequest request_;
  const ExchangeOptions options_;
  Callback<HttpAnswer> done_;
  HttpAnswer answer_;
  bool too_long_ = false;
  bool learnt_ = false;  ///< from a refusal, what the signer had to know
  int failures_ = 0;
  const std::int64_t began_ns_ = system_clock().monotonic_ns();
};

}  // namespace

void exchange(std::shared_ptr<const HttpEndpoint> endpoint, HttpRequest request,
              ExchangeOptions options, Callback<HttpAnswer> done) {
  std::make_shared<Exchange>(std::move(endpoint), std::move(request), options, std::move(done))
      ->send(0);
}

}  // namespace rangecache::fetcher
