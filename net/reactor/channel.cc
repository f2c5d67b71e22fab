#include "weir/net/reactor/channel.h"

#include <sys/epoll.h>

#include "weir/base/check_format.h"
#include "weir/net/reactor/event_loop.h"

namespace weir {

Channel::Channel(EventLoop& loop, int fd, IoHandler& handler, Trigger trigger)
    : loop_(&loop), handler_(&handler), fd_(fd) {
  loop.check_thread("Channel::Channel");
  if (trigger == Trigger::edge) wanted_ = kEdge;
  id_ = loop.attach(*this);
}

void Channel::set(std::uint8_t bit, bool on) {
  loop_->check_thread("Channel::set_reading, set_writing or watch_errors");
  WEIR_CHECK(!removed(),
             "Channel::set_reading, set_writing or watch_errors on a removed channel (fd {})", fd_);
  const std::uint8_t wanted = static_cast<std::uint8_t>(on ? wanted_ | bit : wanted_ & ~bit);
  if (wanted == wanted_) return;
  wanted_ = wanted;
  loop_->interest_changed(*this);
}

void Channel::set_exclusive() {
  loop_->check_thread("Channel::set_exclusive");
  WEIR_CHECK(!registered_ && (wanted_ & kWrite) == 0,
             "Channel::set_exclusive after the first interest was set (fd {})", fd_);
  wanted_ |= kExclusive;
}

void Channel::remove() {
  if (removed()) return;
  loop_->check_thread("Channel::remove");
  loop_->detach(*this);
}

std::uint32_t Channel::epoll_mask() const {
  std::uint32_t mask = 0;
  if (wanted_ & kRead) mask |= EPOLLIN;
  if (wanted_ & kWrite) mask |= EPOLLOUT;
  if (mask == 0) {  // level-triggered, a hang-up that nobody uses would be reported for ever
    return wanted_ & kErrors ? EPOLLERR | EPOLLHUP | EPOLLET : 0;
  }
  if (wanted_ & kExclusive) return mask | EPOLLEXCLUSIVE;
  if (mask & EPOLLIN) mask |= EPOLLRDHUP;
  if (wanted_ & kEdge) mask |= EPOLLET;
  return mask;
}

}  // namespace weir
