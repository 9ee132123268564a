#include "fetcher/http_fetch.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "fetcher/digest_headers.h"
#include "fetcher/url.h"

namespace rangecache::fetcher {
namespace {

/// The body of a refused answer is read up to here, to keep the connection; then it is cut.
constexpr std::size_t kMaxDiscardedBytes = 64 * 1024;
/// A connection that brought this much was a good one: failures are counted anew.
constexpr std::uint64_t kProgressBytes = 64 * 1024;
/// A 206 that is shorter than this and than what was asked counts as a failure, so that an origin
/// cannot keep a fetch busy for ever with crumbs.
constexpr std::uint64_t kCrumbBytes = 4 * 1024;

}  // namespace

std::shared_ptr<Transfer> HttpFetch::start(std::shared_ptr<const HttpEndpoint> endpoint,
                                           FetchRequest request, std::shared_ptr<FetchSink> sink) {
  auto fetch = std::make_shared<HttpFetch>(endpoint, std::move(request), std::move(sink));
  if (!endpoint->loop.post([fetch] { fetch->begin(); }))
    fetch->finish(Error{ErrorCode::kShuttingDown, "the program is stopping"});
  return fetch;
}

HttpFetch::HttpFetch(std::shared_ptr<const HttpEndpoint> endpoint, FetchRequest request,
                     std::shared_ptr<FetchSink> sink)
    : endpoint_(std::move(endpoint)),
      request_(std::move(request)),
      shown_url_(endpoint_->shown_url_of(request_.key)),
      sink_(std::move(sink)),
      wanted_(request_.range),
      position_(request_.range.begin),
      validator_(request_.expected),
      progress_mark_(request_.range.begin) {}

void HttpFetch::cancel() {
  endpoint_->loop.post([self = shared_from_this()] {
    if (const auto running = self->running_) running->cancel();
  });
}

void HttpFetch::promote() {
  endpoint_->loop.post([self = shared_from_this()] {
    self->request_.priority = Priority::kDemand;
    if (const auto running = self->running_) running->promote();
  });
}

void HttpFetch::resume() {
  endpoint_->loop.post([self = shared_from_this()] {
    if (const auto running = self->running_) running->resume();
  });
}

void HttpFetch::begin() {
  if (wanted_.empty())
    return finish(
        Error{ErrorCode::kInvalidArgument, shown_url_ + ": an empty range was asked for"});
  // Bytes of a private version can never be joined with another response's.
  if (validator_.kind == Validator::Kind::kPrivate)
    return finish(Error{ErrorCode::kStale,
                        shown_url_ + ": the server gives no validator, so that no more bytes of "
                                     "this version can be had"});
  if (validator_.kind == Validator::Kind::kVersionId)
    return finish(Error{ErrorCode::kInvalidArgument, shown_url_ + ": HTTP knows no version ids"});
  tries_began_ns_ = system_clock().monotonic_ns();
  send(0);
}

void HttpFetch::send(std::int64_t delay_ms) {
  HttpRequest request = endpoint_->request(request_.key);
  if (!version_id_.empty()) request.url += "?versionId=" + encode_segment(version_id_);
  request.traffic = request_.priority == Priority::kDemand ? Traffic::kDemand : Traffic::kReadAhead;
  request.headers.push_back(fmt::format("Range: bytes={}-{}", position_, wanted_.end - 1));
  for (std::string& header : only_if_version(validator_))
    request.headers.push_back(std::move(header));
  refusal_.reset();
  refused_body_.clear();
  body_at_ = body_begin_ = body_end_ = position_;
  running_ =
      HedgedRequest::start(endpoint_->loop, std::move(request), shared_from_this(), delay_ms);
}

FetchSink::Verdict HttpFetch::on_response(const HttpResponse& response) {
  const RangeQuestion question{{position_, wanted_.end}, validator_, size_};
  auto judgement = judge_range_response(response, question, shown_url_, endpoint_->clock.unix_s());
  if (auto* body = std::get_if<RangeBody>(&judgement)) {
    body->attributes.digest = digest_in(response.headers, endpoint_->versions != nullptr);
    if (endpoint_->versions) {
      if (const std::string* id = response.headers.find("x-amz-version-id"))
        endpoint_->versions->remember(request_.key, body->attributes.validator, *id);
    }
    return accept(*body);
  }
  refusal_ = std::get<HttpFailure>(std::move(judgement));
  refused_ = response;
  // A success that is refused may be of any length; an error page is short, and reading it keeps
  // the connection.
  return response.status < 300 ? FetchSink::Verdict::kAbort : FetchSink::Verdict::kContinue;
}

/// After a refusal: true if the next request may fare better.
bool HttpFetch::knows_better() {
  if (refusal_->error.code == ErrorCode::kStale) return names_version();
  if (refused_.status < 300) return false;
  if (endpoint_->signer && !std::exchange(learnt_, true) &&
      endpoint_->signer->learn_from(refused_, refused_body_))
    return true;
  refusal_->error = endpoint_->refusal(refused_, refused_body_, request_.key);
  return false;
}

/// True if the version that is wanted can be had by its id, though it is not the newest.
bool HttpFetch::names_version() {
  if (!endpoint_->versions || !version_id_.empty()) return false;
  if (const auto id = endpoint_->versions->find(request_.key, validator_)) version_id_ = *id;
  return !version_id_.empty();
}

FetchSink::Verdict HttpFetch::accept(const RangeBody& body) {
  body_at_ = body_begin_ = body.range.begin;
  body_end_ = body.range.end;
  if (size_) return FetchSink::Verdict::kContinue;  // a resumption: the head was told already

  size_ = body.attributes.size;
  if (validator_.kind == Validator::Kind::kNone) validator_ = body.attributes.validator;
  if (body.whole_body)
    wanted_ = {0, *size_};
  else
    wanted_ = {std::min(wanted_.begin, *size_), std::min(wanted_.end, *size_)};
  position_ = progress_mark_ = wanted_.begin;
  FetchHead head{body.attributes, wanted_, body.whole_body};
  // What the bytes are tied to: the version asked for, however the answer spells its validators.
  if (request_.expected.kind != Validator::Kind::kNone)
    head.attributes.validator = request_.expected;
  sink_aborted_ = sink_->on_head(head) != FetchSink::Verdict::kContinue;
  return sink_aborted_ ? FetchSink::Verdict::kAbort : FetchSink::Verdict::kContinue;
}

FetchSink::Verdict HttpFetch::on_data(std::span<const std::byte> data) {
  if (refusal_ || !size_) {
    refused_body_.append(reinterpret_cast<const char*>(data.data()), data.size());
    return refused_body_.size() > kMaxDiscardedBytes ? FetchSink::Verdict::kAbort
                                                     : FetchSink::Verdict::kContinue;
  }
  const ByteRange arrived{body_at_, std::min(body_at_ + data.size(), body_end_)};
  const ByteRange fresh = arrived.intersect({position_, wanted_.end});
  if (!fresh.empty()) {
    const auto verdict = sink_->on_data(data.subspan(fresh.begin - arrived.begin, fresh.size()));
    if (verdict == FetchSink::Verdict::kPause)
      return verdict;  // nothing is counted: it comes again
    if (verdict == FetchSink::Verdict::kAbort) {
      sink_aborted_ = true;
      return verdict;
    }
    position_ = fresh.end;
  }
  body_at_ = arrived.end;
  // The rest of a whole body that was only needed up to here is not waited for.
  const bool enough = position_ == wanted_.end && body_at_ < body_end_;
  return enough ? FetchSink::Verdict::kAbort : FetchSink::Verdict::kContinue;
}

void HttpFetch::on_end(std::optional<HttpFailure> failure) {
  running_ = nullptr;
  if (sink_aborted_)
    return finish(Error{ErrorCode::kCancelled, shown_url_ + ": not wanted any more"});
  if (failure && failure->error.code == ErrorCode::kShuttingDown) return finish(failure->error);
  if (refusal_ && knows_better()) return send(0);
  if (refusal_) return retry_or_fail(*refusal_);
  if (size_ && position_ == wanted_.end) return finish({});
  if (failure && failure->error.code == ErrorCode::kCancelled) return finish(failure->error);
  if (failure) return retry_or_fail(std::move(*failure));
  if (body_at_ < body_end_ || body_begin_ == body_end_)
    return retry_or_fail(
        {{ErrorCode::kOriginFailed,
          fmt::format("{}: the body ended at byte {} of {}", shown_url_, body_at_, body_end_)},
         true});
  const std::uint64_t got = body_end_ - body_begin_;
  if (got < kCrumbBytes || !may_join_another_response())
    return retry_or_fail(
        {{ErrorCode::kOriginFailed,
          fmt::format("{}: the server sends only {} bytes at a time", shown_url_, got)},
         true});
  send(0);
}

bool HttpFetch::may_join_another_response() const {
  return position_ == wanted_.begin || validator_.kind == Validator::Kind::kEtag ||
         validator_.kind == Validator::Kind::kLastModified;
}

void HttpFetch::retry_or_fail(HttpFailure failure) {
  const std::int64_t now_ns = system_clock().monotonic_ns();
  if (position_ - progress_mark_ >= kProgressBytes) {
    endpoint_->health->succeeded(failures_);
    failures_ = 0;
    progress_mark_ = position_;
    tries_began_ns_ = now_ns;
  }
  if (failure.retryable && !may_join_another_response())
    return finish(Error{ErrorCode::kStale, failure.error.context +
                                               "; the server gives no validator, so that the rest "
                                               "cannot be joined to what has come"});
  const auto delay_ms =
      endpoint_->health->retry_delay_ms(++failures_, failure, tries_began_ns_, now_ns);
  if (!delay_ms) {
    endpoint_->health->gave_up(failure);
    return finish(std::move(failure.error));
  }
  log_debug("{}; trying again at byte {} in {} ms", failure.error.context, position_, *delay_ms);
  send(*delay_ms);
}

void HttpFetch::finish(Result<void> result) {
  const std::shared_ptr<FetchSink> sink = std::move(sink_);
  if (!sink) return;
  if (result) endpoint_->health->succeeded(failures_);
  sink->on_done(std::move(result));
}

}  // namespace rangecache::fetcher
