#include "fetcher/curl_loop.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "fetcher/curl_errors.h"
#include "fetcher/origin_health.h"
#include "fetcher/redirect_guard.h"
#include "fetcher/url.h"

namespace rangecache::fetcher {
namespace {

constexpr long kMaxIdleConnections = 256;  // of all origins together

void init_curl_once() {
  static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  CHECK(code == CURLE_OK);
}

/// A proxy from the environment is used as for other programs, but never for this machine.
std::string no_proxy_list() {
  std::string list = "localhost,127.0.0.1,::1";
  for (const char* name : {"no_proxy", "NO_PROXY"}) {
    const char* value = std::getenv(name);
    if (value && *value) return list + "," + value;
  }
  return list;
}

template <typename T>
void set_option(CURL* easy, CURLoption option, T value) {
  CHECK(curl_easy_setopt(easy, option, value) == CURLE_OK);
}

}  // namespace

struct CurlLoop::Request {
  CurlLoop& loop;
  RequestId id;
  HttpRequest request;
  std::shared_ptr<HttpHandler> handler;

  enum class State { kDelayed, kQueued, kPlaced, kRunning } state = State::kDelayed;
  std::optional<EventLoop::TimerId> timer;  ///< the delay, later the watchdog
  CURL* easy = nullptr;
  curl_slist* header_list = nullptr;
  std::array<char, CURL_ERROR_SIZE> error_text{};

  HttpResponse response;
  std::size_t header_bytes = 0;
  bool redirected = false;
  bool guard_redirects = true;
  bool delivered_response = false;
  bool paused = false;
  bool in_callback = false;
  std::optional<HttpFailure> verdict;  ///< why a callback ended the transfer
  std::int64_t started_ns = 0;
  std::int64_t last_progress_ns = 0;
  bool got_header = false;
  std::int64_t first_byte_ns = 0;

  ~Request() { curl_slist_free_all(header_list); }
  const std::string& shown_url() const { return request.shown_url; }
};

CurlLoop::CurlLoop(CurlOptions options, Metrics& metrics)
    : options_(std::move(options)),
      no_proxy_(no_proxy_list()),
      requests_total_(metrics.counter("rangecache_origin_requests_total",
                                      "Requests sent to origins, retries included")),
      bytes_total_(metrics.counter("rangecache_origin_bytes_total",
                                   "Bytes of response bodies received from origins")),
      first_byte_(metrics.histogram("rangecache_origin_first_byte_seconds",
                                    "Time from the start of a request to its first header")),
      transfers_(metrics.gauge("rangecache_origin_transfers", "Requests in flight")),
      queue_(options_.max_transfers, options_.max_metadata_transfers),
      loop_("rc-fetch") {
  init_curl_once();
  post([this] {
    multi_ = curl_multi_init();
    CHECK(multi_ != nullptr);
    curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &CurlLoop::on_socket);
    curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
    curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &CurlLoop::on_timer);
    curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
    // By default four for each transfer under way, however few those are: after a burst of small
    // files most connections would be closed, and made anew for the next one.
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, kMaxIdleConnections);
    curl_multi_setopt(multi_, CURLMOPT_MAX_HOST_CONNECTIONS,
                      static_cast<long>(options_.max_transfers + options_.max_metadata_transfers));
    curl_multi_setopt(multi_, CURLMOPT_PIPELINING, static_cast<long>(CURLPIPE_MULTIPLEX));
  });
}

CurlLoop::~CurlLoop() { stop(); }

bool CurlLoop::post(EventLoop::Task task) {
  MutexLock lock(mu_);  // held while posting: what is accepted comes before stop()'s last task
  if (stopped_) return false;
  loop_.post(std::move(task));
  return true;
}

void CurlLoop::stop() {
  {
    MutexLock lock(mu_);
    if (!std::exchange(stopped_, true)) loop_.post([this] { fail_all(); });
  }
  loop_.stop();
}

void CurlLoop::fail_all() {
  while (!requests_.empty())
    end(requests_.begin()->first,
        HttpFailure{{ErrorCode::kShuttingDown, "the program is stopping"}, false});
  for (CURL* easy : idle_handles_) curl_easy_cleanup(easy);
  idle_handles_.clear();
  curl_multi_cleanup(multi_);
  multi_ = nullptr;
  if (timer_) loop_.cancel(*timer_);
}

CurlLoop::RequestId CurlLoop::start(HttpRequest request, std::shared_ptr<HttpHandler> handler,
                                    std::int64_t delay_ms) {
  const RequestId id = next_id_++;
  auto owned =
      std::unique_ptr<Request>(new Request{*this, id, std::move(request), std::move(handler)});
  Request& entry = *owned;
  requests_.emplace(id, std::move(owned));
  // Also without a delay: a timer, so that the handler is never called from within.
  entry.timer = loop_.call_after_ms(delay_ms, [this, id] {
    const auto found = requests_.find(id);
    if (found == requests_.end()) return;
    found->second->timer.reset();
    prepare(*found->second);
  });
  return id;
}

void CurlLoop::prepare(Request& request) {
  if (!request.request.signer) return queue(request);
  const auto proceed = [this, id = request.id](const Result<void>& ready) {
    const auto found = requests_.find(id);
    if (found == requests_.end()) return;
    if (!ready) return end(id, HttpFailure{ready.error(), false});
    queue(*found->second);
  };
  request.request.signer->prepare([this, proceed](Result<void> ready) {
    if (loop_.in_loop_thread()) return proceed(ready);
    post([proceed, ready = std::move(ready)] { proceed(ready); });
  });
}

void CurlLoop::queue(Request& request) {
  request.state = Request::State::kQueued;
  const OriginHealth& health = *request.request.health;
  queue_.set_places(&health, health.places());
  queue_.push(&health, request.request.traffic, request.id);
  pump();
}

void CurlLoop::promote(RequestId id) {
  const auto found = requests_.find(id);
  if (found == requests_.end() || found->second->state > Request::State::kQueued) return;
  Request& request = *found->second;
  request.request.traffic = Traffic::kDemand;
  if (request.state != Request::State::kQueued) return;
  queue_.erase(request.request.health.get(), id);
  queue_.push(request.request.health.get(), Traffic::kDemand, id);
  pump();
}

void CurlLoop::pump() {
  // What ends here gives its place back and wants to pump, too: not from within.
  pump_again_ = true;
  if (std::exchange(pumping_, true)) return;
  while (multi_ != nullptr && std::exchange(pump_again_, false)) {
    for (const RequestId id : queue_.take_ready()) begin_or_refuse(id);
  }
  pumping_ = false;
}

void CurlLoop::begin_or_refuse(RequestId id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;  // cancelled by one that was refused before it
  Request& request = *found->second;
  request.state = Request::State::kPlaced;
  const auto refusal = request.request.health->refusal(system_clock().monotonic_ns());
  if (refusal) return end(id, HttpFailure{.error = *refusal, .unsent = true});
  begin(request);
}

EventLoop::TimerId CurlLoop::call_after_ms(std::int64_t delay_ms, EventLoop::Task task) {
  return loop_.call_after_ms(delay_ms, std::move(task));
}

void CurlLoop::begin(Request& request) {
  request.state = Request::State::kRunning;
  requests_total_.add();
  transfers_.add(1);
  if (idle_handles_.empty()) {
    request.easy = curl_easy_init();
    CHECK(request.easy != nullptr);
  } else {
    request.easy = idle_handles_.back();
    idle_handles_.pop_back();
  }
  configure(request);
  request.started_ns = request.last_progress_ns = system_clock().monotonic_ns();
  arm_watchdog(request, request.request.connection->first_byte_timeout_ms);
  CHECK(curl_multi_add_handle(multi_, request.easy) == CURLM_OK);
}

void CurlLoop::configure(Request& request) {
  CURL* easy = request.easy;
  if (request.request.signer) request.request.signer->sign(request.request);
  const HttpRequest& wanted = request.request;
  set_option(easy, CURLOPT_URL, wanted.url.c_str());
  set_option(easy, CURLOPT_PATH_AS_IS, 1L);
  set_option(easy, CURLOPT_PRIVATE, static_cast<void*>(&request));
  set_option(easy, CURLOPT_ERRORBUFFER, request.error_text.data());
  set_option(easy, CURLOPT_NOSIGNAL, 1L);
  // Refused on a handle that holds a buffer already; then that one will do.
  static_cast<void>(curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 512L * 1024));
  set_option(easy, CURLOPT_TCP_NODELAY, 1L);
  set_option(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  set_option(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
  set_option(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  set_option(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  set_option(easy, CURLOPT_FOLLOWLOCATION, wanted.signer ? 0L : 1L);
  set_option(easy, CURLOPT_MAXREDIRS, 5L);
  set_option(easy, CURLOPT_UNRESTRICTED_AUTH, 0L);
  set_option(easy, CURLOPT_HTTP_CONTENT_DECODING, 0L);
  const ConnectionOptions& connection = *wanted.connection;
  set_option(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(connection.connect_timeout_ms));
  if (connection.proxy.empty()) {
    set_option(easy, CURLOPT_NOPROXY, no_proxy_.c_str());
  } else {
    set_option(easy, CURLOPT_PROXY, connection.proxy.c_str());
    set_option(easy, CURLOPT_NOPROXY, "");
  }
  if (!connection.ca_file.empty()) {
    set_option(easy, CURLOPT_SSL_CTX_FUNCTION, &CurlLoop::on_tls_context);
    set_option(easy, CURLOPT_SSL_CTX_DATA, static_cast<void*>(&request));
  }
  set_option(easy, CURLOPT_USERAGENT, options_.user_agent.c_str());
  set_option(easy, CURLOPT_NOBODY, wanted.head ? 1L : 0L);
  if (!wanted.user.empty()) {
    set_option(easy, CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_BASIC));
    set_option(easy, CURLOPT_USERNAME, wanted.user.c_str());
    set_option(easy, CURLOPT_PASSWORD, wanted.password.c_str());
  }
  for (const std::string& header : wanted.headers)
    request.header_list = curl_slist_append(request.header_list, header.c_str());
  set_option(easy, CURLOPT_HTTPHEADER, request.header_list);
  set_option(easy, CURLOPT_HEADERFUNCTION, &CurlLoop::on_header);
  set_option(easy, CURLOPT_HEADERDATA, static_cast<void*>(&request));
  set_option(easy, CURLOPT_WRITEFUNCTION, &CurlLoop::on_body);
  set_option(easy, CURLOPT_WRITEDATA, static_cast<void*>(&request));
  set_option(easy, CURLOPT_OPENSOCKETFUNCTION, &CurlLoop::on_open_socket);
  set_option(easy, CURLOPT_OPENSOCKETDATA, static_cast<void*>(&request));
  set_option(easy, CURLOPT_CLOSESOCKETFUNCTION, &CurlLoop::on_close_socket);
  set_option(easy, CURLOPT_CLOSESOCKETDATA, static_cast<void*>(this));

  // An origin that was configured at such an address may redirect to itself.
  const std::size_t host = wanted.url.find("://") + 3;
  std::string literal = wanted.url.substr(host, wanted.url.find_first_of(":/", host) - host);
  if (wanted.url.compare(host, 1, "[") == 0)
    literal = wanted.url.substr(host + 1, wanted.url.find(']', host) - host - 1);
  request.guard_redirects = !is_forbidden_redirect_target(literal);
}

void CurlLoop::arm_watchdog(Request& request, std::int64_t after_ms) {
  if (request.timer) loop_.cancel(*request.timer);
  request.timer = loop_.call_after_ms(std::max<std::int64_t>(after_ms, 1),
                                      [this, id = request.id] { check_progress(id); });
}

/// The time-out is ours and not libcurl's, which counts whole seconds.
void CurlLoop::check_progress(RequestId id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;
  Request& request = *found->second;
  const ConnectionOptions& connection = *request.request.connection;
  const std::int64_t limit_ms =
      request.got_header ? connection.stall_timeout_ms : connection.first_byte_timeout_ms;
  const std::int64_t idle_ms =
      (system_clock().monotonic_ns() - request.last_progress_ns) / 1'000'000;
  if (request.paused) return arm_watchdog(request, limit_ms);  // it is the reader who waits
  if (idle_ms < limit_ms) return arm_watchdog(request, limit_ms - idle_ms);
  const std::string text =
      request.got_header
          ? fmt::format("{}: the server stopped sending for {} ms", request.shown_url(), idle_ms)
          : fmt::format("{}: the server did not answer within {} ms", request.shown_url(), idle_ms);
  end(id, HttpFailure{{ErrorCode::kTimedOut, text}, true});
}

void CurlLoop::cancel(RequestId id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;
  CHECK(!found->second->in_callback);
  end(id, HttpFailure{{ErrorCode::kCancelled, "cancelled"}, false});
}

void CurlLoop::resume(RequestId id) {
  const auto found = requests_.find(id);
  if (found == requests_.end() || !found->second->paused) return;
  found->second->paused = false;
  found->second->last_progress_ns = system_clock().monotonic_ns();
  curl_easy_pause(found->second->easy, CURLPAUSE_CONT);
  collect_finished();
}

std::optional<std::int64_t> CurlLoop::sent_ms_ago(RequestId id) const {
  const auto found = requests_.find(id);
  if (found == requests_.end() || found->second->state != Request::State::kRunning)
    return std::nullopt;
  return (system_clock().monotonic_ns() - found->second->started_ns) / 1'000'000;
}

void CurlLoop::end(RequestId id, std::optional<HttpFailure> failure) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;
  const std::unique_ptr<Request> request = std::move(found->second);
  requests_.erase(found);
  if (request->timer) loop_.cancel(*request->timer);
  const HttpRequest& wanted = request->request;
  OriginHealth& health = *wanted.health;
  if (request->state == Request::State::kQueued) queue_.erase(&health, id);
  if (request->state == Request::State::kRunning) {
    if (failure)
      health.failed(failure->error, request->delivered_response, request->started_ns,
                    system_clock().monotonic_ns());
    curl_multi_remove_handle(multi_, request->easy);
    if (failure) {
      curl_easy_cleanup(request->easy);  // libcurl may leave it half-way
    } else {
      curl_easy_reset(request->easy);
      idle_handles_.push_back(request->easy);
    }
    transfers_.add(-1);
  }
  if (request->state >= Request::State::kPlaced) {
    queue_.release(&health, wanted.traffic);
    queue_.set_places(&health, health.places());
  }
  request->handler->on_end(std::move(failure));
  pump();
}

// ---- what libcurl calls ---------------------------------------------------------------------

int CurlLoop::on_socket(CURL*, curl_socket_t socket, int what, void* self, void*) {
  auto& loop = *static_cast<CurlLoop*>(self);
  if (what == CURL_POLL_REMOVE) {
    loop.unwatch(socket);
    return 0;
  }
  std::uint32_t events = 0;
  if (what & CURL_POLL_IN) {
    events |= EPOLLIN;
    // The request is out. A server that writes head and body apart and does not set TCP_NODELAY
    // (Ceph's gateway) sends the body only when the head is acknowledged, which Linux delays by 40
    // ms on a connection that answers back and forth: 44 ms a request instead of 1, measured. The
    // option holds until data are sent again (tcp(7): it "is not permanent").
    const int on = 1;
    static_cast<void>(::setsockopt(socket, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on));
  }
  if (what & CURL_POLL_OUT) events |= EPOLLOUT;
  loop.watch(socket, events);
  return 0;
}

void CurlLoop::watch(curl_socket_t socket, std::uint32_t events) {
  UniqueFd& own = watched_[socket];
  if (own) return loop_.modify(own.get(), events);
  own.reset(::fcntl(socket, F_DUPFD_CLOEXEC, 0));
  // Without descriptors nothing can be waited for: the request's time-out ends it.
  if (!own) return void(watched_.erase(socket));
  loop_.watch(own.get(), events, [this, socket](std::uint32_t ready) {
    int mask = 0;
    if (ready & (EPOLLIN | EPOLLHUP)) mask |= CURL_CSELECT_IN;
    if (ready & EPOLLOUT) mask |= CURL_CSELECT_OUT;
    if (ready & EPOLLERR) mask |= CURL_CSELECT_ERR;
    drive(socket, mask);
  });
}

void CurlLoop::unwatch(curl_socket_t socket) {
  const auto found = watched_.find(socket);
  if (found == watched_.end()) return;
  loop_.unwatch(found->second.get());
  watched_.erase(found);
}

int CurlLoop::on_timer(CURLM*, long timeout_ms, void* self) {
  auto& loop = *static_cast<CurlLoop*>(self);
  if (loop.timer_) loop.loop_.cancel(*loop.timer_);
  loop.timer_.reset();
  if (timeout_ms < 0) return 0;
  loop.timer_ = loop.loop_.call_after_ms(timeout_ms, [&loop] {
    loop.timer_.reset();
    loop.drive(CURL_SOCKET_TIMEOUT, 0);
  });
  return 0;
}

void CurlLoop::drive(curl_socket_t socket, int events) {
  int running = 0;
  curl_multi_socket_action(multi_, socket, events, &running);
  collect_finished();
}

void CurlLoop::collect_finished() {
  int left = 0;
  while (multi_ != nullptr) {
    const CURLMsg* message = curl_multi_info_read(multi_, &left);
    if (message == nullptr) return;
    if (message->msg != CURLMSG_DONE) continue;
    char* data = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &data);
    Request& request = *reinterpret_cast<Request*>(data);
    const CURLcode code = message->data.result;
    // A response without a body is delivered here; on_data has delivered all others.
    if (code == CURLE_OK && !request.delivered_response) deliver_response(request);
    end(request.id, failure_of(request, code));
  }
}

std::optional<HttpFailure> CurlLoop::failure_of(Request& request, CURLcode code) {
  if (request.verdict) return request.verdict;
  if (code == CURLE_OK) return std::nullopt;
  return curl_failure(code, request.shown_url(), request.error_text.data());
}

std::size_t CurlLoop::on_header(char* data, std::size_t, std::size_t count, void* opaque) {
  Request& request = *static_cast<Request*>(opaque);
  CurlLoop& loop = request.loop;
  request.last_progress_ns = system_clock().monotonic_ns();
  if (!std::exchange(request.got_header, true)) {
    request.first_byte_ns = request.last_progress_ns;
    loop.first_byte_.record_ns(request.last_progress_ns - request.started_ns);
    // From now on another limit.
    loop.arm_watchdog(request, request.request.connection->stall_timeout_ms);
  }
  const auto refuse = [&](const char* why) -> std::size_t {
    request.verdict = HttpFailure{
        {ErrorCode::kOriginFailed, fmt::format("{}: the answer has {}", request.shown_url(), why)},
        false};
    return 0;  // ends the transfer
  };
  request.header_bytes += count;
  if (request.header_bytes > loop.options_.max_header_bytes) return refuse("too many header bytes");
  std::string_view line(data, count);
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
  if (request.delivered_response || line.empty()) return count;  // a trailer, or the end
  if (line.substr(0, 5) == "HTTP/") {
    if (request.response.status >= 300 && request.response.status < 400) request.redirected = true;
    request.response.headers = {};
    const std::size_t space = line.find(' ');
    const std::string_view code = space == std::string_view::npos ? "" : line.substr(space + 1, 3);
    request.response.status = static_cast<int>(parse_decimal(code).value_or(0));
    return count;
  }
  const auto field = parse_header_line(line);
  if (!field) return refuse("a malformed header field");
  request.response.headers.add(field->first, field->second);
  // Known before libcurl connects to the next hop, which is when on_open_socket asks.
  if (request.response.status >= 300 && request.response.status < 400 &&
      request.response.headers.find("location"))
    request.redirected = true;
  return count;
}

bool CurlLoop::deliver_response(Request& request) {
  request.delivered_response = true;
  const char* url = nullptr;
  curl_easy_getinfo(request.easy, CURLINFO_EFFECTIVE_URL, &url);
  request.response.url = url ? url : request.request.url;
  request.request.health->answered(request.response.status, request.started_ns,
                                   request.first_byte_ns,
                                   request.request.traffic != Traffic::kMetadata);
  // A kept connection is not opened again: look at its address too.
  const char* address = nullptr;
  curl_easy_getinfo(request.easy, CURLINFO_PRIMARY_IP, &address);
  if (request.redirected && request.guard_redirects && address &&
      is_forbidden_redirect_target(std::string(address))) {
    request.verdict = refused_redirect(request.shown_url());
    return false;
  }
  if (request.handler->on_response(request.response) == FetchSink::Verdict::kContinue) return true;
  request.verdict = HttpFailure{{ErrorCode::kCancelled, "cancelled"}, false};
  return false;
}

std::size_t CurlLoop::on_body(char* data, std::size_t, std::size_t count, void* opaque) {
  Request& request = *static_cast<Request*>(opaque);
  request.last_progress_ns = system_clock().monotonic_ns();
  request.in_callback = true;
  FetchSink::Verdict verdict = FetchSink::Verdict::kContinue;
  if (!request.delivered_response && !request.loop.deliver_response(request))
    verdict = FetchSink::Verdict::kAbort;
  if (verdict == FetchSink::Verdict::kContinue)
    verdict = request.handler->on_data({reinterpret_cast<const std::byte*>(data), count});
  request.in_callback = false;
  switch (verdict) {
    case FetchSink::Verdict::kContinue:
      request.loop.bytes_total_.add(count);
      return count;
    case FetchSink::Verdict::kPause:
      request.paused = true;
      return CURL_WRITEFUNC_PAUSE;
    case FetchSink::Verdict::kAbort:
      request.loop.bytes_total_.add(count);
      break;
  }
  if (!request.verdict) request.verdict = HttpFailure{{ErrorCode::kCancelled, "cancelled"}, false};
  return 0;
}

curl_socket_t CurlLoop::on_open_socket(void* opaque, curlsocktype, curl_sockaddr* address) {
  Request& request = *static_cast<Request*>(opaque);
  if (request.redirected && request.guard_redirects &&
      is_forbidden_redirect_target(&address->addr)) {
    request.verdict = refused_redirect(request.shown_url());
    return CURL_SOCKET_BAD;
  }
  const int made = ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  request.loop.unwatch(made);  // whatever had this number is gone
  return made;
}

/// CURLOPT_CAINFO would replace what the system trusts. libcurl does not see that origins differ in
/// this and may re-use a connection across them: only after a redirect from one to the other,
/// whose own settings have then vouched for that host.
CURLcode CurlLoop::on_tls_context(CURL*, void* context, void* opaque) {
  Request& request = *static_cast<Request*>(opaque);
  const std::string& file = request.request.connection->ca_file;
  if (SSL_CTX_load_verify_locations(static_cast<SSL_CTX*>(context), file.c_str(), nullptr) == 1)
    return CURLE_OK;
  request.verdict = HttpFailure{{ErrorCode::kInvalidArgument,
                                 fmt::format("{}: --ca-file {} holds no certificates in PEM form",
                                             request.shown_url(), file)},
                                false};
  return CURLE_SSL_CACERT_BADFILE;
}

int CurlLoop::on_close_socket(void* self, curl_socket_t socket) {
  auto& loop = *static_cast<CurlLoop*>(self);
  loop.unwatch(socket);
  return ::close(socket);
}

}  // namespace rangecache::fetcher
