#include <string>

#include "origin_fixture.h"

namespace rangecache::fetcher {
namespace {

using HttpFetch = OriginTest;

std::string text_of(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i * 7 + i / 251) % 26);
  return text;
}

TEST_F(HttpFetch, DeliversTheRangeAndWhatTheHeadersSay) {
  serve({{http_reply("206 Partial Content",
                     {"ETag: \"v1\"", "Content-Range: bytes 2-5/10", "Cache-Control: max-age=60",
                      "Last-Modified: Fri, 20 Nov 2026 09:15:30 GMT"},
                     "cdef")}});
  auto sink = fetch({2, 6});
  ASSERT_TRUE(sink->wait()) << sink->wait().error().message();
  EXPECT_EQ(sink->data(), "cdef");
  ASSERT_TRUE(sink->head());
  EXPECT_EQ(sink->head()->attributes.size, 10u);
  EXPECT_EQ(sink->head()->attributes.validator, kV1);
  EXPECT_EQ(sink->head()->attributes.modified_s, 1795166130);
  EXPECT_EQ(sink->head()->attributes.freshness.lifetime_s, 60);
  EXPECT_EQ(sink->head()->range, (ByteRange{2, 6}));
  EXPECT_FALSE(sink->head()->whole_body);
  EXPECT_EQ(header(0, "range"), "bytes=2-5");
  EXPECT_EQ(header(0, "accept-encoding"), "identity");
  EXPECT_EQ(header(0, "if-match"), "");
}

TEST_F(HttpFetch, EndBeyondTheObjectIsCut) {
  serve({{partial(8, "ij", 10)}});
  auto sink = fetch({8, 4096});
  ASSERT_TRUE(sink->wait());
  EXPECT_EQ(sink->data(), "ij");
  EXPECT_EQ(sink->head()->range, (ByteRange{8, 10}));
}

TEST_F(HttpFetch, SendsTheExpectedValidator) {
  serve({{partial(0, "ab", 2)},
         {http_reply("206 Partial Content",
                     {"Last-Modified: Fri, 20 Nov 2026 09:15:30 GMT", "Content-Range: bytes 0-1/2"},
                     "ab")}});
  ASSERT_TRUE(fetch({0, 2}, kV1)->wait());
  const Validator date{Validator::Kind::kLastModified, "Fri, 20 Nov 2026 09:15:30 GMT"};
  auto sink = fetch({0, 2}, date);
  ASSERT_TRUE(sink->wait());
  EXPECT_EQ(sink->head()->attributes.validator, date);
  EXPECT_EQ(header(0, "if-match"), "\"v1\"");
  EXPECT_EQ(header(1, "if-unmodified-since"), date.value);
}

TEST_F(HttpFetch, KeepsTheConnection) {
  serve({{partial(0, "ab", 4)}, {http_reply("404 Not Found", {}, "no")}, {partial(2, "cd", 4)}});
  EXPECT_TRUE(fetch({0, 2})->wait());
  EXPECT_FALSE(fetch({0, 2})->wait());
  EXPECT_TRUE(fetch({2, 4})->wait());
  EXPECT_EQ(server_->requests().back().connection, 1);
}

TEST_F(HttpFetch, HT01_WholeBodyIsUsedFromItsBegin) {
  serve({{http_reply("200 OK", {"ETag: \"v1\""}, "abcdefghij")}});
  auto sink = fetch({4, 6});
  ASSERT_TRUE(sink->wait());
  EXPECT_EQ(sink->data(), "abcdefghij");
  EXPECT_TRUE(sink->head()->whole_body);
  EXPECT_EQ(sink->head()->range, (ByteRange{0, 10}));
}

TEST_F(HttpFetch, HT03_RestOfAShorterAnswerIsAskedForUnderTheSameValidator) {
  const std::string body = text_of(12000);
  serve({{partial(0, body.substr(0, 8000), 12000)}, {partial(8000, body.substr(8000), 12000)}});
  auto sink = fetch({0, 12000});
  ASSERT_TRUE(sink->wait()) << sink->wait().error().message();
  EXPECT_EQ(sink->data(), body);
  EXPECT_EQ(sink->heads(), 1);
  EXPECT_EQ(sink->head()->range, (ByteRange{0, 12000}));
  EXPECT_EQ(header(1, "range"), "bytes=8000-11999");
  EXPECT_EQ(header(1, "if-match"), "\"v1\"");
}

TEST_F(HttpFetch, HT10_BrokenBodyIsResumedAtTheByteWhereItBroke) {
  const std::string body = text_of(1000);
  for (const std::size_t cut : {0, 1, 500, 999}) {
    for (const Then then : {Then::kClose, Then::kReset}) {
      const std::string first = partial(0, body, 1000);
      serve({{first.substr(0, first.size() - 1000 + cut), then}});
      auto sink = fetch({0, 1000}, {}, {});
      // A reset may swallow bytes that were sent before it: answer what is really asked for.
      ASSERT_TRUE(server_->wait_for_requests(2)) << cut;
      EXPECT_FALSE(sink->wait());  // the script has no third answer
      const std::string range = header(1, "range");
      const std::size_t begin = std::stoul(range.substr(6));
      EXPECT_EQ(header(1, "if-match"), begin > 0 || sink->heads() ? "\"v1\"" : "");
      EXPECT_EQ(sink->data(), body.substr(0, begin));
      if (then == Then::kClose) {
        EXPECT_EQ(begin, cut);
      }
    }
  }
}

TEST_F(HttpFetch, HT10_ResumedBytesAreContiguous) {
  const std::string body = text_of(1000);
  const std::string first = partial(0, body, 1000);
  serve({{first.substr(0, first.size() - 400), Then::kClose},
         {partial(600, body.substr(600), 1000)}});
  auto sink = fetch({0, 1000});
  ASSERT_TRUE(sink->wait());
  EXPECT_EQ(sink->data(), body);
  EXPECT_EQ(sink->heads(), 1);
  EXPECT_EQ(sink->dones(), 1);
  EXPECT_EQ(header(1, "range"), "bytes=600-999");
}

TEST_F(HttpFetch, ResumptionSkipsWhatAServerWithoutRangesSendsAgain) {
  const std::string body = text_of(1000);
  const std::string whole = http_reply("200 OK", {"ETag: \"v1\""}, body);
  serve({{whole.substr(0, whole.size() - 300), Then::kClose}, {whole}});
  auto sink = fetch({100, 200});
  ASSERT_TRUE(sink->wait());
  EXPECT_EQ(sink->data(), body);
}

TEST_F(HttpFetch, ResumptionOfAnotherVersionIsStale) {
  const std::string body = text_of(1000);
  const std::string whole = http_reply("200 OK", {"ETag: \"v1\""}, body);
  serve({{whole.substr(0, whole.size() - 300), Then::kClose},
         {http_reply("200 OK", {"ETag: \"v2\""}, body)}});
  auto sink = fetch({0, 1000});
  const auto result = sink->wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kStale);
  EXPECT_EQ(sink->data(), body.substr(0, 700));
}

TEST_F(HttpFetch, HT49_WithoutAValidatorABrokenBodyIsNotJoinedToAnother) {
  const std::string whole = http_reply("200 OK", {}, text_of(1000));
  serve({{whole.substr(0, whole.size() - 300), Then::kClose}, {whole}});
  const auto result = fetch({0, 1000})->wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kStale);
  EXPECT_EQ(server_->requests().size(), 1u);
}

TEST_F(HttpFetch, HT12_ChunkedBodyWithoutItsLastChunkIsIncomplete) {
  serve({{http_reply("206 Partial Content",
                     {"Content-Range: bytes 0-9/10", "Transfer-Encoding: chunked", "ETag: \"v1\""},
                     "5\r\nabcde\r\n"),
          Then::kClose},
         {partial(5, "fghij", 10)}});
  auto sink = fetch({0, 10});
  ASSERT_TRUE(sink->wait());
  EXPECT_EQ(sink->data(), "abcdefghij");
}

TEST_F(HttpFetch, HT13_CloseDelimitedBodyIsMeasuredByItsContentRange) {
  serve({{http_reply("206 Partial Content",
                     {"Content-Range: bytes 0-9/10", "Connection: close", "ETag: \"v1\""}, "abcde"),
          Then::kClose},
         {partial(5, "fghij", 10)}});
  auto sink = fetch({0, 10});
  ASSERT_TRUE(sink->wait());
  EXPECT_EQ(sink->data(), "abcdefghij");
}

TEST_F(HttpFetch, HT15_WithoutALengthTheUrlIsNamed) {
  serve({{http_reply("200 OK", {"Connection: close"}, "abc"), Then::kClose}});
  const auto result = fetch({0, 10})->wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(result.error().context.find(server_->url("/file")), std::string::npos);
  EXPECT_NE(result.error().context.find("does not tell the object's length"), std::string::npos);
}

TEST_F(HttpFetch, HT16_WeakTagIsNeverSent) {
  const std::string first = partial(0, "abcdefghij", 10, "W/\"a\"");
  serve({{first.substr(0, first.size() - 5), Then::kClose}, {partial(5, "fghij", 10, "W/\"a\"")}});
  auto sink = fetch({0, 10});
  const auto result = sink->wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kStale);
  EXPECT_EQ(sink->head()->attributes.validator.kind, Validator::Kind::kNone);
}

TEST_F(HttpFetch, HT19_PreconditionFailedIsStale) {
  serve({{http_reply("412 Precondition Failed", {}, "changed")}});
  const auto result = fetch({0, 10}, kV1)->wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kStale);
}

TEST_F(HttpFetch, HT21_ChangeIsSeenThoughIfMatchIsIgnored) {
  serve({{partial(0, "ab", 10, "\"v2\"")}});
  auto sink = fetch({0, 2}, kV1);
  const auto result = sink->wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kStale);
  EXPECT_EQ(sink->data(), "");
}

TEST_F(HttpFetch, HT22_ChangedWholeBodyIsDroppedEarly) {
  std::string reply = http_reply("200 OK", {"ETag: \"v2\"", "Content-Length: 10000000000"}, "x");
  serve({{reply}});  // the rest never comes: only a dropped connection can end this
  const auto result = fetch({0, 10}, kV1)->wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kStale);
}

TEST_F(HttpFetch, HT26_UnaskedNotModifiedIsAnError) {
  serve({{http_reply("304 Not Modified", {"ETag: \"v1\"", "Content-Length: 0"}, "")}});
  auto sink = fetch({0, 10});
  const auto result = sink->wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kOriginFailed);
  EXPECT_FALSE(sink->head());
}

TEST_F(HttpFetch, HT28_DefinitiveAnswersAreNotAskedAgain) {
  const std::pair<const char*, ErrorCode> cases[] = {
      {"404 Not Found", ErrorCode::kNotFound},
      {"410 Gone", ErrorCode::kNotFound},
      {"401 Unauthorized", ErrorCode::kPermissionDenied},
      {"403 Forbidden", ErrorCode::kPermissionDenied}};
  for (const auto& [status, code] : cases) {
    serve({{http_reply(status, {}, "")}});
    const auto result = fetch({0, 10})->wait();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, code) << status;
    EXPECT_EQ(server_->requests().size(), 1u);
  }
}

TEST_F(HttpFetch, HT29_ServerErrorsAreRetriedAndNeverMeanAbsence) {
  const Reply error{http_reply("503 Service Unavailable", {}, "busy")};
  serve({error, error, error, {partial(0, "ab", 2)}});
  EXPECT_TRUE(fetch({0, 2})->wait());
  serve({error, error, error, error, error, error, {partial(0, "ab", 2)}});
  const auto result = fetch({0, 2})->wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kOriginFailed);
  EXPECT_EQ(server_->requests().size(), 6u);
  EXPECT_EQ(metrics_.counter("rangecache_origin_retries_total", "").value(), 8u);
  EXPECT_EQ(metrics_.counter("rangecache_origin_errors_total", "").value(), 1u);
}

TEST_F(HttpFetch, HT32_EmptyObjectIsSuccessWhicheverWayItIsSaid) {
  serve({{http_reply("416 Range Not Satisfiable", {"Content-Range: bytes */0"}, "empty")},
         {http_reply("200 OK", {}, "")}});
  for (int i = 0; i < 2; ++i) {
    auto sink = fetch({0, 10});
    ASSERT_TRUE(sink->wait()) << i;
    EXPECT_EQ(sink->head()->attributes.size, 0u);
    EXPECT_TRUE(sink->head()->range.empty());
    EXPECT_EQ(sink->data(), "");
  }
}

TEST_F(HttpFetch, HT40_InterimAnswersAreSkipped) {
  serve({{"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + partial(0, "ab", 2)}});
  auto sink = fetch({0, 2});
  ASSERT_TRUE(sink->wait());
  EXPECT_EQ(sink->data(), "ab");
}

TEST_F(HttpFetch, HT42_EndlessHeadersAreCut) {
  std::string reply = "HTTP/1.1 200 OK\r\n";
  for (int i = 0; i < 6000; ++i)
    reply += "X-Header-Number-" + std::to_string(i) + ": " + std::string(80, 'x') + "\r\n";
  serve({{reply}});
  const auto result = fetch({0, 2})->wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kOriginFailed);
}

TEST_F(HttpFetch, HT43_MalformedHeaderFieldsAreRefused) {
  for (const std::string bad : {"X y: 1", "X: a\x01z", " folded", "no colon"}) {
    serve({{http_reply("206 Partial Content", {"A: b", bad, "Content-Range: bytes 0-1/2"}, "ab")}});
    const auto result = fetch({0, 2})->wait();
    ASSERT_FALSE(result) << bad;
    EXPECT_EQ(result.error().code, ErrorCode::kOriginFailed);
  }
}

TEST_F(HttpFetch, HT44_StrangeReasonPhrasesAreFine) {
  std::string reply = partial(0, "ab", 2);
  reply.replace(0, reply.find("\r\n"), "HTTP/1.1 206");
  serve({{reply}});
  EXPECT_TRUE(fetch({0, 2})->wait());
}

TEST_F(HttpFetch, HT45_RedirectsAreFollowedButNotForEver) {
  for (const std::string status : {"301 Moved", "302 Found", "307 Temporary", "308 Permanent"}) {
    serve({{http_reply(status, {"Location: /elsewhere"}, "moved")}, {partial(0, "ab", 2)}});
    auto sink = fetch({0, 2});
    ASSERT_TRUE(sink->wait()) << status;
    EXPECT_EQ(sink->data(), "ab");
    EXPECT_EQ(server_->requests()[1].target, "/elsewhere");
    EXPECT_EQ(header(1, "range"), "bytes=0-1");
  }
  const Reply circle{http_reply("302 Found", {"Location: /file"}, "")};
  serve(std::vector<Reply>(20, circle));
  const auto result = fetch({0, 2})->wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kOriginFailed);
  EXPECT_EQ(server_->requests().size(), 6u);
}

TEST_F(HttpFetch, HT45_RedirectWithoutLocationIsAnError) {
  serve({{http_reply("302 Found", {}, "")}});
  EXPECT_FALSE(fetch({0, 2})->wait());
}

TEST_F(HttpFetch, HT51_BytesBeyondTheLengthAreNotTheNextAnswer) {
  serve({{partial(0, "ab", 4) + partial(2, "XX", 4)}, {partial(2, "cd", 4)}});
  EXPECT_TRUE(fetch({0, 2})->wait());
  auto sink = fetch({2, 4});
  ASSERT_TRUE(sink->wait());
  EXPECT_EQ(sink->data(), "cd");
}

TEST_F(HttpFetch, SE17_RedirectToLinkLocalIsRefusedBeforeConnecting) {
  for (const std::string host : {"169.254.169.254", "[fe80::1]", "[fd00:ec2::254]",
                                 "[::ffff:169.254.169.254]", "2852039166", "0xa9fea9fe"}) {
    serve({{http_reply("302 Found", {"Location: http://" + host + "/latest"}, "")}});
    const auto result = fetch({0, 2})->wait();
    ASSERT_FALSE(result) << host;
    EXPECT_NE(result.error().context.find("link-local"), std::string::npos)
        << result.error().context;
  }
}

TEST_F(HttpFetch, SE19_RedirectToAnotherSchemeIsRefused) {
  for (const std::string target :
       {"file:///etc/passwd", "gopher://127.0.0.1/", "ftp://127.0.0.1/"}) {
    serve({{http_reply("302 Found", {"Location: " + target}, "")}});
    const auto result = fetch({0, 2})->wait();
    ASSERT_FALSE(result) << target;
    EXPECT_EQ(result.error().code, ErrorCode::kOriginFailed);
  }
}

TEST_F(HttpFetch, CredentialsAreSentButNotShownAndNotHandedOn) {
  ScriptedServer other({{partial(0, "ab", 2)}});
  serve({{http_reply("302 Found", {"Location: " + other.url("/x")}, "")},
         {http_reply("403 Forbidden", {}, "")}});
  std::string url = server_->url("/file?token=hush");
  url.insert(7, "me:secret@");
  const auto address = origins_->resolve(url);
  ASSERT_TRUE(address);
  auto first = std::make_shared<RecordingSink>();
  address->origin->fetch({address->key, {0, 2}}, first);
  ASSERT_TRUE(first->wait());
  EXPECT_NE(header(0, "authorization"), "");
  EXPECT_EQ(other.requests()[0].headers.count("authorization"), 0u);
  auto second = std::make_shared<RecordingSink>();
  address->origin->fetch({address->key, {0, 2}}, second);
  const std::string message = second->wait().error().message();
  EXPECT_EQ(message.find("secret"), std::string::npos) << message;
  EXPECT_EQ(message.find("hush"), std::string::npos) << message;
  EXPECT_EQ(address->origin->id().find("secret"), std::string::npos);
}

TEST_F(HttpFetch, UnreachableServerIsNamedWithARemedy) {
  serve({});
  const std::string url = server_->url("/file");
  server_ = nullptr;
  const auto address = origins_->resolve(url);
  auto sink = std::make_shared<RecordingSink>();
  address->origin->fetch({address->key, {0, 2}}, sink);
  const auto result = sink->wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kUnreachable);
  EXPECT_NE(result.error().context.find("check the address"), std::string::npos);
  EXPECT_NE(result.error().context.find(url), std::string::npos);
}

TEST_F(HttpFetch, PauseHoldsBytesBackUntilResume) {
  const std::string body = text_of(3'000'000);
  serve({{partial(0, body, body.size())}});
  auto sink = fetch({0, body.size()}, {}, {.pause_after_bytes = 100'000});
  sink->wait_until_paused();
  EXPECT_EQ(sink->dones(), 0);
  transfer_->resume();
  ASSERT_TRUE(sink->wait());
  EXPECT_EQ(sink->data(), body);
}

TEST_F(HttpFetch, PausedTransferIsNotTakenForStalled) {
  OriginsOptions quick = options();
  quick.each.connection.stall_timeout_ms = 150;
  origins_ = std::make_unique<Origins>(quick, metrics_);
  const std::string body = text_of(3'000'000);
  serve({{partial(0, body, body.size())}, {http_reply("503 Busy", {}, "")}});
  auto sink = fetch({0, body.size()}, {}, {.pause_after_bytes = 100'000});
  sink->wait_until_paused();
  std::promise<void> later;  // several time-outs pass while nothing is taken
  EXPECT_EQ(later.get_future().wait_for(std::chrono::milliseconds(500)),
            std::future_status::timeout);
  EXPECT_EQ(sink->dones(), 0);
  transfer_->resume();
  ASSERT_TRUE(sink->wait());
  EXPECT_EQ(sink->data(), body);
  EXPECT_EQ(server_->requests().size(), 1u);
}

TEST_F(HttpFetch, StalledBodyIsResumedOnAnotherConnection) {
  OriginsOptions quick = options();
  quick.each.connection.stall_timeout_ms = 50;
  origins_ = std::make_unique<Origins>(quick, metrics_);
  const std::string first = partial(0, "abcdefghij", 10);
  serve({{first.substr(0, first.size() - 5)}, {partial(5, "fghij", 10)}});
  auto sink = fetch({0, 10});
  ASSERT_TRUE(sink->wait()) << sink->wait().error().message();
  EXPECT_EQ(sink->data(), "abcdefghij");
  EXPECT_EQ(server_->requests()[1].connection, 2);
}

TEST_F(HttpFetch, SilentServerTimesOut) {
  OriginsOptions quick = options();
  quick.each.connection.first_byte_timeout_ms = 30;
  quick.each.limits.retry.max_attempts = 2;
  origins_ = std::make_unique<Origins>(quick, metrics_);
  serve({{""}, {""}});
  const auto result = fetch({0, 10})->wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kTimedOut);
  EXPECT_EQ(server_->requests().size(), 2u);
}

TEST_F(HttpFetch, AnOriginMayHaveItsOwnTimeOut) {
  serve({{""}, {""}});
  OriginsOptions own = options();  // whose time-out is half a minute
  OriginOptions& quick = own.by_url[server_->url("")] = own.each;
  quick.connection.first_byte_timeout_ms = 30;
  quick.limits.retry.max_attempts = 2;
  origins_ = std::make_unique<Origins>(own, metrics_);
  const auto result = fetch({0, 10})->wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kTimedOut);
}

TEST_F(HttpFetch, CancelEndsAStalledFetchOnce) {
  serve({{""}});
  auto sink = fetch({0, 10});
  ASSERT_TRUE(server_->wait_for_requests(1));
  transfer_->cancel();
  transfer_->cancel();
  const auto result = sink->wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kCancelled);
  origins_->stop();
  EXPECT_EQ(sink->dones(), 1);
}

TEST_F(HttpFetch, CancelEndsAPausedFetch) {
  const std::string body = text_of(3'000'000);
  serve({{partial(0, body, body.size())}});
  auto sink = fetch({0, body.size()}, {}, {.pause_after_bytes = 1});
  sink->wait_until_paused();
  transfer_->cancel();
  EXPECT_EQ(sink->wait().error().code, ErrorCode::kCancelled);
}

TEST_F(HttpFetch, SinkMayAbort) {
  const std::string body = text_of(3'000'000);
  serve({{partial(0, body, body.size())}, {partial(0, body, body.size())}});
  EXPECT_EQ(fetch({0, body.size()}, {}, {.abort_at_head = true})->wait().error().code,
            ErrorCode::kCancelled);
  EXPECT_EQ(fetch({0, body.size()}, {}, {.abort_after_bytes = 1})->wait().error().code,
            ErrorCode::kCancelled);
}

TEST_F(HttpFetch, StopEndsWhatRunsAndRefusesWhatComes) {
  serve({{""}});
  auto running = fetch({0, 10});
  ASSERT_TRUE(server_->wait_for_requests(1));
  const auto address = origins_->resolve(server_->url("/file"));
  origins_->stop();
  EXPECT_EQ(running->wait().error().code, ErrorCode::kShuttingDown);
  auto late = std::make_shared<RecordingSink>();
  address->origin->fetch({address->key, {0, 10}}, late);
  EXPECT_EQ(late->wait().error().code, ErrorCode::kShuttingDown);
  EXPECT_FALSE(origins_->resolve("http://127.0.0.1/"));
}

TEST_F(HttpFetch, PrivateVersionCannotBeAskedFor) {
  serve({});
  const auto result = fetch({0, 10}, {Validator::Kind::kPrivate, "1"})->wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kStale);
  EXPECT_TRUE(server_->requests().empty());
}

TEST_F(HttpFetch, SlowOriginDoesNotTakeAnothersPlaces) {
  OriginsOptions narrow = options();
  narrow.each.connection.max_transfers = 2;
  origins_ = std::make_unique<Origins>(narrow, metrics_);
  serve({{""}, {""}});
  std::vector<std::shared_ptr<RecordingSink>> stuck;
  for (int i = 0; i < 5; ++i) stuck.push_back(fetch({0, 10}));
  ASSERT_TRUE(server_->wait_for_requests(2));
  ScriptedServer other({{partial(0, "ab", 2)}});
  const auto address = origins_->resolve(other.url("/x"));
  auto sink = std::make_shared<RecordingSink>();
  address->origin->fetch({address->key, {0, 2}}, sink);
  EXPECT_TRUE(sink->wait());
  EXPECT_EQ(server_->requests().size(), 2u);
  origins_->stop();
  for (const auto& each : stuck) EXPECT_EQ(each->wait().error().code, ErrorCode::kShuttingDown);
}

TEST_F(HttpFetch, AReadAheadThatSomebodyWaitsForGoesBeforeTheOthers) {
  OriginsOptions narrow = options();
  narrow.each.connection.max_transfers = 1;
  origins_ = std::make_unique<Origins>(narrow, metrics_);
  serve({{""}, {http_reply("200 OK", {"ETag: \"v1\""}, "")}, {""}});
  const auto address = origins_->resolve(server_->url("/x"));
  const auto ahead = [&](ByteRange range) {
    return address->origin->fetch({address->key, range, {}, Priority::kReadAhead},
                                  std::make_shared<RecordingSink>());
  };
  const auto running = ahead({0, 10});
  ASSERT_TRUE(server_->wait_for_requests(1));
  const auto queued = ahead({10, 20});
  const auto wanted = ahead({20, 30});
  EXPECT_TRUE(stat("/other"));  // by then both stand in the queue
  wanted->promote();
  running->cancel();
  ASSERT_TRUE(server_->wait_for_requests(3));
  EXPECT_EQ(header(2, "range"), "bytes=20-29");
  wanted->promote();  // it runs already
  origins_->stop();
}

TEST_F(HttpFetch, AStatDoesNotWaitForStalledReads) {
  OriginsOptions narrow = options();
  narrow.each.connection.max_transfers = 1;
  origins_ = std::make_unique<Origins>(narrow, metrics_);
  serve({{""}, {http_reply("200 OK", {"ETag: \"v1\""}, "")}});
  auto stuck = fetch({0, 10});
  ASSERT_TRUE(server_->wait_for_requests(1));
  EXPECT_TRUE(stat("/other"));
  origins_->stop();
  EXPECT_EQ(stuck->wait().error().code, ErrorCode::kShuttingDown);
}

/// An origin that has answered often enough for telling what is late.
class HedgedFetch : public OriginTest {
 protected:
  void serve_after_a_while(std::vector<Reply> script) {
    OriginsOptions eager = options();
    eager.each.limits.hedge_floor_ms = 20;
    origins_ = std::make_unique<Origins>(eager, metrics_);
    script.insert(script.begin(), kUsual, {partial(0, "ab", 10)});
    serve(std::move(script));
    for (std::size_t i = 0; i < kUsual; ++i) ASSERT_TRUE(fetch({0, 2})->wait());
  }
  std::uint64_t counted(const std::string& name) {
    return metrics_.counter("rangecache_origin_" + name + "_total", "").value();
  }
  static constexpr std::size_t kUsual = 20;
};

TEST_F(HedgedFetch, LateAnswerIsAskedForASecondTimeAndTheFirstAnswerCounts) {
  serve_after_a_while({{""}, {partial(0, "abcdefghij", 10)}});
  auto sink = fetch({0, 10});
  ASSERT_TRUE(sink->wait()) << sink->wait().error().message();
  EXPECT_EQ(sink->data(), "abcdefghij");
  EXPECT_EQ(sink->dones(), 1);
  EXPECT_EQ(counted("hedges"), 1u);
  EXPECT_EQ(counted("hedges_won"), 1u);
  EXPECT_EQ(counted("retries"), 0u);
  origins_->stop();  // the loser is gone, or goes now: no callback comes twice
  EXPECT_EQ(sink->dones(), 1);
  EXPECT_EQ(metrics_.gauge("rangecache_origin_transfers", "").value(), 0);
}

TEST_F(HedgedFetch, AFailureOfTheSecondRequestDoesNotFailTheFirst) {
  serve_after_a_while({{partial(0, "abcdefghij", 10), Then::kKeep, /*held=*/true},
                       {http_reply("503 Busy", {}, "busy")}});
  auto sink = fetch({0, 10});
  ASSERT_TRUE(server_->wait_for_requests(kUsual + 2));
  server_->release();
  ASSERT_TRUE(sink->wait()) << sink->wait().error().message();
  EXPECT_EQ(sink->data(), "abcdefghij");
  EXPECT_EQ(counted("hedges_won"), 0u);
}

TEST_F(HedgedFetch, BothMayFail) {
  serve_after_a_while({{http_reply("404 Not Found", {}, ""), Then::kKeep, /*held=*/true},
                       {http_reply("404 Not Found", {}, "")}});
  auto sink = fetch({0, 10});
  ASSERT_TRUE(server_->wait_for_requests(kUsual + 2));
  server_->release();
  EXPECT_EQ(sink->wait().error().code, ErrorCode::kNotFound);
  EXPECT_EQ(sink->dones(), 1);
}

TEST_F(HedgedFetch, CancelEndsBoth) {
  serve_after_a_while({{""}, {""}});
  auto sink = fetch({0, 10});
  ASSERT_TRUE(server_->wait_for_requests(kUsual + 2));
  transfer_->cancel();
  EXPECT_EQ(sink->wait().error().code, ErrorCode::kCancelled);
  origins_->stop();
  EXPECT_EQ(sink->dones(), 1);
  EXPECT_EQ(metrics_.gauge("rangecache_origin_transfers", "").value(), 0);
}

TEST_F(HttpFetch, ServerThatIsDownFailsAtOnceAfterAWhileAndIsTriedAgain) {
  OriginsOptions quick = options();
  quick.each.limits.breaker = {.failures = 3, .lasting_ns = 0, .first_pause_ns = 100'000'000};
  origins_ = std::make_unique<Origins>(quick, metrics_);
  const Reply silent{"", Then::kReset};
  serve({silent, silent, silent, {partial(0, "ab", 2)}});
  const auto first = fetch({0, 2})->wait();
  ASSERT_FALSE(first);
  EXPECT_NE(first.error().context.find("does not answer"), std::string::npos)
      << first.error().context;
  EXPECT_EQ(server_->requests().size(), 3u);
  // Whoever asks now is told at once; after the pause one request finds that it works again.
  Result<void> result = first;
  while (!result) {
    result = fetch({0, 2})->wait();
    ASSERT_LE(server_->requests().size(), 4u);
  }
  EXPECT_GE(metrics_.counter("rangecache_origin_refused_total", "").value(), 1u);
}

TEST_F(HttpFetch, CountsBytesAndRequests) {
  serve({{partial(0, "abcd", 4)}});
  ASSERT_TRUE(fetch({0, 4})->wait());
  EXPECT_EQ(metrics_.counter("rangecache_origin_requests_total", "").value(), 1u);
  EXPECT_EQ(metrics_.counter("rangecache_origin_bytes_total", "").value(), 4u);
  EXPECT_EQ(metrics_.histogram("rangecache_origin_first_byte_seconds", "").count(), 1u);
  EXPECT_EQ(metrics_.gauge("rangecache_origin_transfers", "").value(), 0);
}

}  // namespace
}  // namespace rangecache::fetcher
