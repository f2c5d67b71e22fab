#include "weir/net/reactor/internal/epoll_poller.h"

#include <cerrno>

#include "weir/net/reactor/channel.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

namespace {

constexpr Duration kForEver(-1);  // as in epoll_wait(2)

}  // namespace

Result<EpollPoller> EpollPoller::create() {
  auto epoll = sys::epoll_create();
  if (!epoll) return std::unexpected(Error("create an event loop: epoll_create1", epoll.error()));
  return EpollPoller(std::move(*epoll));
}

EpollPoller::EpollPoller(Fd epoll)
    : epoll_(std::move(epoll)), process_(sys::process_generation()) {}

bool EpollPoller::forked() const { return process_ != sys::process_generation(); }

SysResult<void> EpollPoller::control(int operation, Channel& channel, std::uint32_t mask) {
  if (forked()) [[unlikely]]
    return {};
  ++control_calls_;
  return sys::epoll_ctl(epoll_.get(), operation, channel.fd(), mask, channel.id().to_u64());
}

SysResult<void> EpollPoller::commit(Channel& channel) {
  const std::uint32_t mask = Channel::epoll_mask(channel.wanted_);
  if (mask == Channel::epoll_mask(channel.committed_)) return {};
  if (mask == 0) {
    remove(channel);
    return {};
  }
  if (mask & EPOLLEXCLUSIVE) remove(channel);  // MOD is EINVAL, epoll_ctl(2)
  const bool registered = channel.committed_ != 0;
  auto done = control(registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, channel, mask);
  if (!done && registered && done.error() == ENOENT) {
    // The registration ended when the descriptor was closed, and the number was reused.
    done = control(EPOLL_CTL_ADD, channel, mask);
  }
  if (!done) {
    remove(channel);
    return done;
  }
  channel.committed_ = channel.wanted_;
  return {};
}

void EpollPoller::remove(Channel& channel) {
  if (channel.committed_ == 0) return;
  channel.committed_ = 0;
  // EBADF and ENOENT: the descriptor was closed first, which (usually) ended its registration.
  static_cast<void>(control(EPOLL_CTL_DEL, channel, 0));
}

SysResult<std::span<const epoll_event>> EpollPoller::wait(Duration timeout) {
  auto count =
      sys::epoll_wait(epoll_.get(), events_, timeout == Duration::max() ? kForEver : timeout);
  if (!count) return std::unexpected(count.error());
  return std::span<const epoll_event>(events_.data(), *count);
}

SysResult<int> EpollPoller::outer_fd() {
  if (outer_) return outer_.get();
  auto outer = sys::epoll_create();
  if (!outer) return std::unexpected(outer.error());
  auto watched = sys::epoll_ctl(outer->get(), EPOLL_CTL_ADD, epoll_.get(), EPOLLIN, 0);
  if (!watched) return std::unexpected(watched.error());
  outer_ = std::move(*outer);
  return outer_.get();
}

SysResult<void> EpollPoller::reopen() {
  auto fresh = sys::epoll_create();
  if (!fresh) return std::unexpected(fresh.error());
  if (outer_) {
    auto watched = sys::epoll_ctl(outer_.get(), EPOLL_CTL_ADD, fresh->get(), EPOLLIN, 0);
    if (!watched) return watched;
    // Closing the old set would not remove it if a fork keeps it open.
    static_cast<void>(sys::epoll_ctl(outer_.get(), EPOLL_CTL_DEL, epoll_.get(), 0, 0));
  }
  epoll_ = std::move(*fresh);
  return {};
}

}  // namespace weir::internal
