// EpollPoller: the epoll set of one loop. Internal to the reactor. [loop]
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <span>

#include "weir/base/clock.h"
#include "weir/base/fd.h"
#include "weir/base/result.h"

namespace weir {
class Channel;
}

namespace weir::internal {

class EpollPoller {
 public:
  // The maximum number of events taken from the kernel in one turn. With 512 and 10,000 busy
  // connections there are 0.02 calls of epoll_wait for each message, and a turn takes a few
  // milliseconds.
  static constexpr std::size_t kMaxEventsPerTurn = 512;

  static Result<EpollPoller> create();

  // Makes the kernel's mask equal to the interest of the channel: ADD, MOD, DEL or no call at all.
  // On error, which is returned, the channel is not registered.
  SysResult<void> commit(Channel& channel);
  // DEL now. If the kernel keeps the registration (see LoopCore::dispatch_event), it later reports
  // an event with an unknown id.
  void remove(Channel& channel);

  // Waits for at most `timeout`; Duration::max(): no limit. The batch is valid until the next call.
  // 0 events on timeout; EINTR is an error value.
  SysResult<std::span<const epoll_event>> wait(Duration timeout);

  // A descriptor that is readable while wait() would find an event, and that never changes: a
  // second epoll set, created by the first call, which watches the one that reopen() replaces.
  SysResult<int> outer_fd();

  // A new, empty epoll set; the caller commits its channels again.
  SysResult<void> reopen();

  std::uint64_t control_calls() const { return control_calls_; }
  // This process is a fork of the one that created the epoll set. Both share the set, so this
  // process does not change it.
  bool forked() const;

 private:
  explicit EpollPoller(Fd epoll);
  SysResult<void> control(int operation, Channel& channel, std::uint32_t mask);

  Fd epoll_;
  Fd outer_;               // watches epoll_; usually empty
  std::uint32_t process_;  // the creator of epoll_: sys::process_generation()
  std::uint64_t control_calls_ = 0;
  std::array<epoll_event, kMaxEventsPerTurn> events_{};
};

}  // namespace weir::internal
