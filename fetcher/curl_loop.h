#pragma once

#include <curl/curl.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "fetcher/http_request.h"
#include "fetcher/transfer_queue.h"

namespace rangecache::fetcher {

struct CurlOptions {
  std::string user_agent;
  int max_transfers = 32;                     ///< of data in flight, of the origin that has most
  int max_metadata_transfers = 16;            ///< of metadata, besides
  std::size_t max_header_bytes = 256 * 1024;  ///< all header lines of one request together
};

/// Sends HTTP requests: one libcurl multi handle on one thread ("rc-fetch"), which also keeps the
/// connections for re-use. Everything but post() and stop() belongs to that thread.
class CurlLoop {
 public:
  using RequestId = std::uint64_t;

  CurlLoop(CurlOptions options, Metrics& metrics);
  ~CurlLoop();

  /// Runs `task` on the loop's thread. Any thread. False after stop(): the task is not run.
  bool post(EventLoop::Task task) EXCLUDES(mu_);
  /// Ends every request with kShuttingDown and joins the thread. Any other thread; idempotent.
  void stop() EXCLUDES(mu_);

  /// Queues a request, after `delay_ms`. The handler is held until on_end returned, and is never
  /// called from within start().
  RequestId start(HttpRequest request, std::shared_ptr<HttpHandler> handler,
                  std::int64_t delay_ms = 0);
  /// on_end(kCancelled) is called from within, unless the request has ended already.
  void cancel(RequestId id);
  /// A read-ahead that a reader waits for now: if it still waits for a place, it goes with the
  /// demand.
  void promote(RequestId id);
  /// After kPause. May call on_data from within.
  void resume(RequestId id);
  /// How long ago a request that runs was sent; nullopt: it is delayed, queued, or over.
  std::optional<std::int64_t> sent_ms_ago(RequestId id) const;
  /// A task for later, on this thread.
  EventLoop::TimerId call_after_ms(std::int64_t delay_ms, EventLoop::Task task);
  void cancel_timer(EventLoop::TimerId timer) { loop_.cancel(timer); }

 private:
  struct Request;

  void prepare(Request& request);
  void queue(Request& request);
  void pump();  ///< starts what has a place
  void begin_or_refuse(RequestId id);
  void begin(Request& request);
  void configure(Request& request);
  void drive(curl_socket_t socket, int events);
  void watch(curl_socket_t socket, std::uint32_t events);
  void unwatch(curl_socket_t socket);
  void collect_finished();
  void arm_watchdog(Request& request, std::int64_t after_ms);
  void check_progress(RequestId id);
  /// Takes the request out of every structure, gives its place and handle back, calls on_end.
  void end(RequestId id, std::optional<HttpFailure> failure);
  void fail_all();
  std::optional<HttpFailure> failure_of(Request& request, CURLcode code);
  bool deliver_response(Request& request);

  static int on_socket(CURL* easy, curl_socket_t socket, int what, void* self, void* known);
  static int on_timer(CURLM* multi, long timeout_ms, void* self);
  static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* request);
  static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* request);
  static curl_socket_t on_open_socket(void* request, curlsocktype purpose, curl_sockaddr* address);
  static CURLcode on_tls_context(CURL*, void* context, void* request);
  static int on_close_socket(void* self, curl_socket_t socket);

  const CurlOptions options_;
  std::string no_proxy_;
  Counter& requests_total_;
  Counter& bytes_total_;
  Histogram& first_byte_;
  Gauge& transfers_;

  CURLM* multi_ = nullptr;
  std::map<RequestId, std::unique_ptr<Request>> requests_;
  RequestId next_id_ = 1;
  TransferQueue queue_;
  bool pumping_ = false;
  bool pump_again_ = false;
  std::vector<CURL*> idle_handles_;
  /// By libcurl's descriptor: a duplicate of ours, so that what is unwatched is certainly open.
  /// libcurl 7.88 closes a socket that is still connecting without a word, and then takes it off.
  std::map<curl_socket_t, UniqueFd> watched_;
  std::optional<EventLoop::TimerId> timer_;

  Mutex mu_;
  bool stopped_ GUARDED_BY(mu_) = false;

  EventLoop loop_;  // last: its thread uses everything above
};

}  // namespace rangecache::fetcher
