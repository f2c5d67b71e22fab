#include "weir/net/reactor/channel.h"

#include <sys/epoll.h>

#include "weir/base/check_format.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/internal/loop_core.h"

namespace weir {

Channel::Channel(EventLoop& loop, int fd, IoHandler& handler, Trigger trigger)
    : Channel(internal::core_of(loop), fd, handler, trigger) {}

Channel::Channel(internal::LoopCore& core, int fd, IoHandler& handler, Trigger trigger)
    : core_(&core), handler_(&handler), fd_(fd) {
  core.check_thread("Channel::Channel");
  if (trigger == Trigger::edge) wanted_ = kEdge;
  id_ = core.attach(*this);
}

EventLoop& Channel::loop() const { return core_->loop(); }

void Channel::set(std::uint8_t bit, bool on) {
  core_->check_thread("Channel::set_reading, set_writing or watch_errors");
  WEIR_CHECK(!removed(),
             "Channel::set_reading, set_writing or watch_errors on a removed channel (fd {})", fd_);
  const std::uint8_t wanted = static_cast<std::uint8_t>(on ? wanted_ | bit : wanted_ & ~bit);
  if (wanted == wanted_) return;
  wanted_ = wanted;
  core_->interest_changed(*this);
}

void Channel::set_exclusive() {
  core_->check_thread("Channel::set_exclusive");
  WEIR_CHECK(committed_ == 0 && (wanted_ & kWrite) == 0,
             "Channel::set_exclusive after the first interest was set (fd {})", fd_);
  wanted_ |= kExclusive;
}

void Channel::remove() {
  if (removed()) return;
  core_->check_thread("Channel::remove");
  core_->detach(*this);
}

std::uint32_t Channel::epoll_mask(std::uint8_t interest) {
  std::uint32_t mask = 0;
  if (interest & kRead) mask |= EPOLLIN;
  if (interest & kWrite) mask |= EPOLLOUT;
  if (mask == 0) {  // level-triggered, an unhandled hang-up would be reported again and again
    return interest & kErrors ? EPOLLERR | EPOLLHUP | EPOLLET : 0;
  }
  if (interest & kExclusive) return mask | EPOLLEXCLUSIVE;
  if (mask & EPOLLIN) mask |= EPOLLRDHUP;
  if (interest & kEdge) mask |= EPOLLET;
  return mask;
}

}  // namespace weir
