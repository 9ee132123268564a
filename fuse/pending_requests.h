#pragma once

#include <cstddef>
#include <memory>
#include <unordered_map>

#include "base/mutex.h"
#include "base/read_ticket.h"
#include "base/unique_function.h"
#include "fuse/fuse_api.h"

namespace rangecache::fuse {

class PendingRequests;

/// One kernel request whose answer comes from the backend, later and from any thread. Three may
/// want to answer it: the backend, an interrupt, the unmounting session. The first one does, once;
/// the others find it done. A late backend callback touches nothing but this object.
///
///   begin() ─► issuing ──issued()──► waiting ──finish()──► done
///                 └─ finish(): the answer is kept until issued(), because the issuing thread still
///                    uses the request (libfuse frees it with the reply)
class PendingRequest {
 public:
  using Answer = UniqueFunction<void(fuse_req_t)>;

  /// Answers the request by calling `answer`, unless it was answered already. Any thread. Called
  /// without locks of ours.
  void finish(Answer answer) EXCLUDES(mu_);

 private:
  friend class PendingRequests;
  enum class State { kIssuing, kWaiting, kDone };

  PendingRequest(PendingRequests& owner, fuse_req_t request) : owner_(owner), request_(request) {}
  void give_up(int error) EXCLUDES(mu_);  ///< cancels the backend's work and answers with `error`

  PendingRequests& owner_;    // alive until the request is done; not touched afterwards
  const fuse_req_t request_;  // likewise
  Mutex mu_;
  State state_ GUARDED_BY(mu_) = State::kIssuing;
  Answer answer_ GUARDED_BY(mu_);
  ReadTicket ticket_ GUARDED_BY(mu_);
};
using PendingRequestPtr = std::shared_ptr<PendingRequest>;

/// All requests of a session that wait for the backend. Thread-safe.
class PendingRequests {
 public:
  PendingRequestPtr begin(fuse_req_t request);

  /// The call of the backend has returned; `ticket` cancels it. Answers at once if the backend has
  /// called back already; that path registers nothing. From here on the request is another's.
  void issued(const PendingRequestPtr& pending, ReadTicket ticket) EXCLUDES(mu_);

  /// Answers what waits now, and every request to come that would have to wait, with EIO.
  void close() EXCLUDES(mu_);

  /// Waits until no request is waiting or being answered. After close(), when no thread issues.
  void drain() EXCLUDES(mu_);

  std::size_t waiting() const EXCLUDES(mu_);

 private:
  friend class PendingRequest;
  static void on_interrupt(fuse_req_t request, void* self);
  void start_answering(fuse_req_t request) EXCLUDES(mu_);
  void answered() EXCLUDES(mu_);

  mutable Mutex mu_;
  CondVar changed_;
  std::unordered_map<fuse_req_t, PendingRequestPtr> waiting_ GUARDED_BY(mu_);
  std::size_t answering_ GUARDED_BY(mu_) = 0;
  bool closed_ GUARDED_BY(mu_) = false;
};

}  // namespace rangecache::fuse
