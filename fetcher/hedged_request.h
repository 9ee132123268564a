#pragma once

#include <array>
#include <memory>
#include <optional>

#include "fetcher/curl_loop.h"

namespace rangecache::fetcher {

/// One request, and a second one for the same if the first is not answered after longer than nearly
/// all before it (J. Dean, L. A. Barroso: The Tail at Scale, 2013). The first good answer is
/// handed on, the other request is cancelled. Everything on the loop's thread.
class HedgedRequest final : public std::enable_shared_from_this<HedgedRequest> {
 public:
  /// After `delay_ms` the request goes out; see CurlLoop::start().
  static std::shared_ptr<HedgedRequest> start(CurlLoop& loop, HttpRequest request,
                                              std::shared_ptr<HttpHandler> handler,
                                              std::int64_t delay_ms);
  HedgedRequest(CurlLoop& loop, HttpRequest request, std::shared_ptr<HttpHandler> handler);

  void cancel();   ///< as CurlLoop::cancel()
  void promote();  ///< as CurlLoop::promote()
  void resume();   ///< as CurlLoop::resume()

 private:
  /// One of the two requests.
  struct Leg final : HttpHandler {
    Leg(std::shared_ptr<HedgedRequest> o, int n) : owner(std::move(o)), number(n) {}
    FetchSink::Verdict on_response(const HttpResponse& response) override;
    FetchSink::Verdict on_data(std::span<const std::byte> data) override;
    void on_end(std::optional<HttpFailure> failure) override;
    const std::shared_ptr<HedgedRequest> owner;
    const int number;
  };

  void send(int leg, std::int64_t delay_ms);
  void look_again_in_ms(std::int64_t delay_ms);
  void consider_second();
  bool other_runs(int leg) const { return running_[1 - leg] != 0; }
  void end(int leg, std::optional<HttpFailure> failure);
  void finish(std::optional<HttpFailure> failure);

  CurlLoop& loop_;
  HttpRequest request_;
  std::shared_ptr<HttpHandler> handler_;          ///< null once on_end was called
  std::array<CurlLoop::RequestId, 2> running_{};  ///< 0: not, or not any more
  std::optional<int> winner_;
  std::optional<EventLoop::TimerId> timer_;  ///< of the second request
};

}  // namespace rangecache::fetcher
