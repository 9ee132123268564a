#include "fuse/pending_requests.h"

#include <cerrno>
#include <utility>
#include <vector>

namespace rangecache::fuse {

void PendingRequest::finish(Answer answer) {
  {
    MutexLock lock(mu_);
    if (state_ == State::kDone) return;
    if (state_ == State::kIssuing) {
      if (!answer_) answer_ = std::move(answer);
      return;
    }
    state_ = State::kDone;
  }
  owner_.start_answering(request_);
  answer(request_);
  owner_.answered();
}

void PendingRequest::give_up(int error) {
  ReadTicket ticket;
  {
    MutexLock lock(mu_);
    ticket = std::exchange(ticket_, ReadTicket());
  }
  ticket.cancel();
  // Not left to the backend: an interrupt or an unmount must not wait for anything.
  finish([error](fuse_req_t request) { fuse_reply_err(request, error); });
}

PendingRequestPtr PendingRequests::begin(fuse_req_t request) {
  return PendingRequestPtr(new PendingRequest(*this, request));
}

void PendingRequests::issued(const PendingRequestPtr& pending, ReadTicket ticket) {
  PendingRequest& p = *pending;
  const fuse_req_t request = p.request_;
  PendingRequest::Answer answer;
  {
    MutexLock lock(p.mu_);
    if (p.answer_) {
      p.state_ = PendingRequest::State::kDone;
      answer = std::move(p.answer_);
    } else {
      p.ticket_ = std::move(ticket);
    }
  }
  if (answer) {
    answer(request);
    return;
  }

  bool closed = false;
  {
    MutexLock lock(mu_);
    waiting_[request] = pending;
    closed = closed_;
  }
  if (closed) p.give_up(EIO);
  // Calls on_interrupt from within when the interrupt came first: the state is still kIssuing, so
  // the request cannot be freed under libfuse's feet.
  fuse_req_interrupt_func(request, on_interrupt, this);
  {
    MutexLock lock(p.mu_);
    if (p.answer_) {
      p.state_ = PendingRequest::State::kDone;
      answer = std::move(p.answer_);
    } else {
      p.state_ = PendingRequest::State::kWaiting;
    }
  }
  if (answer) {
    start_answering(request);
    answer(request);
    answered();
  }
}

void PendingRequests::on_interrupt(fuse_req_t request, void* self) {
  // libfuse calls this with the request's own lock held and a reference to it, but another thread
  // may have answered it meanwhile: so the request is looked up, and never carried as a pointer.
  // While we are here its address cannot be given to a new request.
  auto* requests = static_cast<PendingRequests*>(self);
  PendingRequestPtr pending;
  {
    MutexLock lock(requests->mu_);
    const auto found = requests->waiting_.find(request);
    if (found == requests->waiting_.end()) return;
    pending = found->second;
  }
  pending->give_up(EINTR);
}

void PendingRequests::start_answering(fuse_req_t request) {
  PendingRequestPtr removed;  // destroyed after the lock is released
  MutexLock lock(mu_);
  const auto found = waiting_.find(request);
  if (found != waiting_.end()) {
    removed = std::move(found->second);
    waiting_.erase(found);  // before the reply: libfuse may then use the address again
  }
  ++answering_;
}

void PendingRequests::answered() {
  MutexLock lock(mu_);
  --answering_;
  changed_.notify_all();
}

void PendingRequests::close() {
  std::vector<PendingRequestPtr> all;
  {
    MutexLock lock(mu_);
    closed_ = true;
    for (const auto& [request, pending] : waiting_) all.push_back(pending);
  }
  for (const PendingRequestPtr& pending : all) pending->give_up(EIO);
}

void PendingRequests::drain() {
  MutexLock lock(mu_);
  while (!waiting_.empty() || answering_ > 0) changed_.wait(mu_);
}

std::size_t PendingRequests::waiting() const {
  MutexLock lock(mu_);
  return waiting_.size();
}

}  // namespace rangecache::fuse
