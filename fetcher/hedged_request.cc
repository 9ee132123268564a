#include "fetcher/hedged_request.h"

#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "fetcher/origin_health.h"

namespace rangecache::fetcher {

std::shared_ptr<HedgedRequest> HedgedRequest::start(CurlLoop& loop, HttpRequest request,
                                                    std::shared_ptr<HttpHandler> handler,
                                                    std::int64_t delay_ms) {
  auto hedged = std::make_shared<HedgedRequest>(loop, std::move(request), std::move(handler));
  hedged->send(0, delay_ms);
  // Read-ahead is early anyway; and a server that just failed is not asked twice.
  const bool may_hedge = hedged->request_.traffic != Traffic::kReadAhead && delay_ms == 0;
  const auto hedge_ms = hedged->request_.health->hedge_delay_ms();
  if (may_hedge && hedge_ms) hedged->look_again_in_ms(*hedge_ms);
  return hedged;
}

HedgedRequest::HedgedRequest(CurlLoop& loop, HttpRequest request,
                             std::shared_ptr<HttpHandler> handler)
    : loop_(loop), request_(std::move(request)), handler_(std::move(handler)) {}

void HedgedRequest::send(int leg, std::int64_t delay_ms) {
  running_[leg] = loop_.start(request_, std::make_shared<Leg>(shared_from_this(), leg), delay_ms);
}

void HedgedRequest::look_again_in_ms(std::int64_t delay_ms) {
  timer_ = loop_.call_after_ms(delay_ms, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->consider_second();
  });
}

void HedgedRequest::consider_second() {
  timer_.reset();
  if (!handler_ || winner_) return;
  const auto delay_ms = request_.health->hedge_delay_ms();
  if (!delay_ms) return;
  // The time in the queue does not count: a second request would only wait there, too.
  const std::int64_t waited_ms = loop_.sent_ms_ago(running_[0]).value_or(0);
  if (waited_ms < *delay_ms) return look_again_in_ms(*delay_ms - waited_ms);
  if (!request_.health->may_hedge(system_clock().monotonic_ns())) return;
  log_debug("{}: no answer after {} ms, asking a second time", request_.shown_url, waited_ms);
  send(1, 0);
}

void HedgedRequest::cancel() {
  if (handler_) finish(HttpFailure{{ErrorCode::kCancelled, "cancelled"}, false});
}

void HedgedRequest::promote() {
  request_.traffic = Traffic::kDemand;
  loop_.promote(running_[0]);
}

void HedgedRequest::resume() {
  if (handler_ && winner_) loop_.resume(running_[*winner_]);
}

FetchSink::Verdict HedgedRequest::Leg::on_response(const HttpResponse& response) {
  HedgedRequest& all = *owner;
  if (!all.handler_ || all.winner_) return FetchSink::Verdict::kAbort;
  // Not good enough as long as the other one may be.
  if (response.status >= 400 && all.other_runs(number)) return FetchSink::Verdict::kAbort;
  all.winner_ = number;
  if (number == 1) all.request_.health->hedge_won();
  if (all.other_runs(number))
    all.loop_.post(
        [self = owner, loser = 1 - number] { self->loop_.cancel(self->running_[loser]); });
  return all.handler_->on_response(response);
}

FetchSink::Verdict HedgedRequest::Leg::on_data(std::span<const std::byte> data) {
  if (!owner->handler_ || owner->winner_ != number) return FetchSink::Verdict::kAbort;
  return owner->handler_->on_data(data);
}

void HedgedRequest::Leg::on_end(std::optional<HttpFailure> failure) {
  owner->end(number, std::move(failure));
}

void HedgedRequest::end(int leg, std::optional<HttpFailure> failure) {
  running_[leg] = 0;
  if (!handler_) return;
  const bool is_loser = winner_ ? *winner_ != leg : other_runs(leg);
  if (!is_loser) finish(std::move(failure));
}

void HedgedRequest::finish(std::optional<HttpFailure> failure) {
  const std::shared_ptr<HttpHandler> handler = std::move(handler_);
  handler_ = nullptr;
  if (timer_) loop_.cancel_timer(*std::exchange(timer_, std::nullopt));
  for (const CurlLoop::RequestId id : running_) loop_.cancel(id);
  handler->on_end(std::move(failure));
}

}  // namespace rangecache::fetcher
