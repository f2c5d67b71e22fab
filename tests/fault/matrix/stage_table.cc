#include "stage_table.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "support/allocations.h"

namespace weir::test::matrix {

using internal::SysTable;

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
// A wait without a limit.
constexpr Duration kForever = std::chrono::seconds(1);
// Real time that the kernel gets before the clock moves: its softirq thread may still have to
// deliver what was sent over the loopback.
constexpr Duration kShortRest = std::chrono::microseconds(10);
constexpr Duration kLongRest = std::chrono::microseconds(200);
constexpr Duration kLongSleep = std::chrono::milliseconds(100);
// Before a sleep that only a deadline or nothing at all would end: TCP may delay an ACK, and the
// data that waits for it, by 40 ms of real time.
constexpr Duration kLongestRest = std::chrono::milliseconds(100);
constexpr Duration kLongestSleep = std::chrono::seconds(1);

// More than the other process needs to answer. Turns that had the fault are not counted.
constexpr int kTurnsWhileBlocked = 5;

bool is_open(int fd) { return SysTable().fcntl(fd, F_GETFD, 0) >= 0; }

}  // namespace

StageTable::StageTable() {
  timespec now{};
  SysTable::clock_gettime(CLOCK_MONOTONIC, &now);
  start_ = Duration(now.tv_sec * kSecond + now.tv_nsec);
}

// -- the fault -----------------------------------------------------------------------------

void StageTable::inject(const Site& site, const Fault& fault, std::uint64_t nth, bool persistent) {
  persistent_ = persistent;
  late_ = fault.kind == Fault::Kind::late_error;
  const std::uint64_t last = persistent ? nth + fault.most - 1 : nth;
  const auto rule = [&] {
    Rule made = on(site.call);
    if (site.argument) made.argument(*site.argument);
    made.between(nth, last);
    return made;
  };
  rule().hook([this] { hit(); });
  switch (fault.kind) {
    case Fault::Kind::error:
      return rule().fail(fault.value);
    case Fault::Kind::late_error:
      // An accept4(2) that fails for the sake of a connection takes that from the queue.
      if (site.call == Call::accept4) rule().hook([this] { refuse_next_ = true; });
      return site.call == Call::accept4 ? rule().fail(fault.value)
                                        : rule().do_then_fail(fault.value);
    case Fault::Kind::limit:
      return rule().limit_bytes(static_cast<std::size_t>(fault.value));
    case Fault::Kind::leave:
      return rule().leave_bytes(static_cast<std::size_t>(fault.value));
    case Fault::Kind::result:
      return rule().answer(fault.value);
    case Fault::Kind::option:
      return rule().give_option(fault.value);
    case Fault::Kind::wall_clock:
      return rule().hook([this, &fault] { advance_wall_clock(std::chrono::hours(fault.value)); });
    case Fault::Kind::no_memory:
      return;  // FailAllocation
  }
}

void StageTable::end_faults() { clear(); }

void StageTable::count_sites() {
  const auto all = sites();
  site_counts_.assign(all.size(), 0);
  for (std::size_t i = 0; i < all.size(); ++i) {
    Rule counting = on(all[i].call);
    if (all[i].argument) counting.argument(*all[i].argument);
    counting.hook([this, i] { ++site_counts_[i]; });
  }
}

void StageTable::hit() {
  if (hits_ == 0) first_hit_ = elapsed_;
  ++hits_;
  hits_here_ = hit_at_ == elapsed_ ? hits_here_ + 1 : 1;
  hit_at_ = elapsed_;
  most_hits_at_once_ = std::max(most_hits_at_once_, hits_here_);
}

template <typename Answer>
Answer StageTable::ready_again(int fd, std::uint64_t hits_before, Answer answer) {
  if (hits_ == hits_before) return answer;
  const int error = errno;
  const auto number = static_cast<std::size_t>(fd);
  if (const Watch& watch = watched_[number]; watch.epoll >= 0) {
    epoll_event event{};
    event.events = watch.events;
    event.data.u64 = watch.data;
    SysTable::epoll_ctl(watch.epoll, EPOLL_CTL_MOD, fd, &event);
  }
  errno = error;
  return answer;
}

ssize_t StageTable::recv(int fd, void* data, std::size_t size, int flags) {
  const std::uint64_t before = hits_;
  return ready_again(fd, before, FaultTable::recv(fd, data, size, flags));
}
ssize_t StageTable::send(int fd, const void* data, std::size_t size, int flags) {
  const std::uint64_t before = hits_;
  return ready_again(fd, before, FaultTable::send(fd, data, size, flags));
}
ssize_t StageTable::sendmsg(int fd, const msghdr* message, int flags) {
  const std::uint64_t before = hits_;
  return ready_again(fd, before, FaultTable::sendmsg(fd, message, flags));
}
int StageTable::recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  const std::uint64_t before = hits_;
  return ready_again(fd, before, FaultTable::recvmmsg(fd, messages, count, flags));
}
int StageTable::sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  const std::uint64_t before = hits_;
  return ready_again(fd, before, FaultTable::sendmmsg(fd, messages, count, flags));
}
ssize_t StageTable::sendfile(int out, int in, off_t* offset, std::size_t count) {
  const std::uint64_t before = hits_;
  return ready_again(out, before, FaultTable::sendfile(out, in, offset, count));
}
ssize_t StageTable::splice(int in, int out, std::size_t size, unsigned flags) {
  const std::uint64_t before = hits_;
  const ssize_t moved = ready_again(in, before, FaultTable::splice(in, out, size, flags));
  return ready_again(out, before, moved);
}
ssize_t StageTable::read(int fd, void* data, std::size_t size) {
  const std::uint64_t before = hits_;
  return ready_again(fd, before, FaultTable::read(fd, data, size));
}

// -- time ----------------------------------------------------------------------------------

int StageTable::clock_gettime(clockid_t clock, timespec* time) {
  const int answer = FaultTable::clock_gettime(clock, time);
  if (answer != 0 || clock != CLOCK_MONOTONIC) return answer;
  const std::int64_t now = (start_ + elapsed_).count();
  time->tv_sec = now / kSecond;
  time->tv_nsec = now % kSecond;
  return 0;
}

void StageTable::advance(Duration time) {
  elapsed_ += time;
  if (persistent_ && hits_ > 0 && elapsed_ - first_hit_ >= kPersistence) end_faults();
}

int StageTable::poll(int epoll, epoll_event* events, int capacity, Duration time) {
  const timespec rest{.tv_sec = 0, .tv_nsec = time.count()};
  return SysTable::epoll_pwait2(epoll, events, capacity, &rest);
}

bool StageTable::bytes_in_flight() {
  for (std::size_t fd = 0; fd < kMostDescriptors; ++fd) {
    int bytes = 0;
    if (open_[fd] != nullptr && ::ioctl(static_cast<int>(fd), SIOCOUTQ, &bytes) == 0 && bytes > 0) {
      return true;
    }
  }
  return false;
}

// `judged` asks the kernel without waiting.
template <typename Wait>
int StageTable::wait(int epoll, epoll_event* events, int capacity, Duration timeout, Wait judged) {
  const std::uint64_t before = hits_;
  const int first = judged();
  if (first > 0) rested_ = false;
  if (first != 0 || timeout == Duration::zero() || hits_ != before) return first;
  ++sleeps_;
  const Duration sleep = timeout < Duration::zero() ? kForever : timeout;
  if (epoll != loop_epoll_ && while_blocked_) {
    std::uint64_t hits = hits_ - 1;
    for (int i = 0; i < kTurnsWhileBlocked || hits != hits_; ++i) {
      hits = hits_;
      while_blocked_();
      const int ready = poll(epoll, events, capacity, Duration::zero());
      if (ready != 0) return ready;
    }
  }
  while (!acts_.empty()) {
    {
      const SpareAllocations of_the_test;
      const auto act = std::move(acts_.front());
      acts_.pop_front();
      act();
    }
    const int ready = poll(epoll, events, capacity, Duration::zero());
    if (ready != 0) return ready;
  }
  ::sched_yield();
  Duration rest = sleep < kLongSleep ? kShortRest : kLongRest;
  if (sleep >= kLongestSleep && !rested_ && bytes_in_flight()) {
    rest = kLongestRest;
    rested_ = true;
  }
  const int ready = poll(epoll, events, capacity, rest);
  if (ready != 0) {
    rested_ = false;
    return ready;
  }
  advance(sleep);
  return 0;
}

int StageTable::epoll_wait(int epoll, epoll_event* events, int capacity, int timeout_ms) {
  return wait(epoll, events, capacity, std::chrono::milliseconds(timeout_ms),
              [&] { return FaultTable::epoll_wait(epoll, events, capacity, 0); });
}

int StageTable::epoll_pwait2(int epoll, epoll_event* events, int capacity,
                             const timespec* timeout) {
  const timespec none{};
  const Duration time =
      timeout == nullptr ? Duration(-1) : Duration(timeout->tv_sec * kSecond + timeout->tv_nsec);
  return wait(epoll, events, capacity, time,
              [&] { return FaultTable::epoll_pwait2(epoll, events, capacity, &none); });
}

// -- descriptors ---------------------------------------------------------------------------

int StageTable::opened(int fd, const char* call) {
  if (fd >= 0 && static_cast<std::size_t>(fd) < kMostDescriptors) {
    open_[static_cast<std::size_t>(fd)] = call;
    watched_[static_cast<std::size_t>(fd)] = {};
  }
  return fd;
}

std::string StageTable::open_descriptors() const {
  std::string list;
  for (std::size_t fd = 0; fd < kMostDescriptors; ++fd) {
    if (open_[fd] == nullptr) continue;
    list += (list.empty() ? "" : ", ") + std::to_string(fd) + " of " + open_[fd];
    if (!is_open(static_cast<int>(fd))) list += " (closed elsewhere)";
  }
  return list;
}

int StageTable::close(int fd) {
  const auto number = static_cast<std::size_t>(fd);
  if (fd < 0 || number >= kMostDescriptors || open_[number] == nullptr) {
    const SpareAllocations of_the_test;
    wrong_closes_.push_back(fd);
  } else {
    open_[number] = nullptr;
    watched_[number] = {};
  }
  return FaultTable::close(fd);
}

int StageTable::epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
  const std::uint64_t before = hits_;
  const int answer = FaultTable::epoll_ctl(epoll, operation, fd, event);
  if (hits_ != before && late_ && operation == EPOLL_CTL_MOD) {  // ENOENT: it is not registered
    SysTable::epoll_ctl(epoll, EPOLL_CTL_DEL, fd, nullptr);
    errno = ENOENT;
  }
  const auto number = static_cast<std::size_t>(fd);
  if (answer != 0 || number >= kMostDescriptors) return answer;
  if (operation == EPOLL_CTL_DEL) {
    watched_[number] = {};
  } else if ((event->events & EPOLLEXCLUSIVE) == 0) {  // which EPOLL_CTL_MOD refuses
    watched_[number] = {.epoll = epoll, .events = event->events, .data = event->data.u64};
  }
  return answer;
}

int StageTable::socket(int domain, int type, int protocol) {
  return opened(FaultTable::socket(domain, type, protocol), "socket");
}
int StageTable::accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  const std::uint64_t before = hits_;
  const int accepted = opened(FaultTable::accept4(fd, address, length, flags), "accept4");
  if (std::exchange(refuse_next_, false)) {
    const int error = errno;
    const int refused = SysTable::accept4(fd, nullptr, nullptr, flags);
    if (refused >= 0) SysTable::close(refused);
    errno = refused >= 0 ? error : EAGAIN;
    return -1;
  }
  return ready_again(fd, before, accepted);
}
ssize_t StageTable::recvmsg(int fd, msghdr* message, int flags) {
  const std::uint64_t before = hits_;
  const ssize_t got = ready_again(fd, before, FaultTable::recvmsg(fd, message, flags));
  if (got < 0 || message->msg_control == nullptr) return got;
  for (cmsghdr* part = CMSG_FIRSTHDR(message); part != nullptr; part = CMSG_NXTHDR(message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int passed = -1;
      std::memcpy(&passed, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      opened(passed, "recvmsg");
    }
  }
  return got;
}
int StageTable::pipe2(int* ends, int flags) {
  const int answer = FaultTable::pipe2(ends, flags);
  if (answer == 0) {
    opened(ends[0], "pipe2");
    opened(ends[1], "pipe2");
  }
  return answer;
}
int StageTable::socketpair(int domain, int type, int protocol, int* ends) {
  const int answer = FaultTable::socketpair(domain, type, protocol, ends);
  if (answer == 0) {
    opened(ends[0], "socketpair");
    opened(ends[1], "socketpair");
  }
  return answer;
}
int StageTable::fcntl(int fd, int command, int argument) {
  const int answer = FaultTable::fcntl(fd, command, argument);
  return command == F_DUPFD_CLOEXEC ? opened(answer, "fcntl") : answer;
}
int StageTable::epoll_create1(int flags) {
  const int fd = opened(FaultTable::epoll_create1(flags), "epoll_create1");
  if (loop_epoll_ < 0) loop_epoll_ = fd;
  return fd;
}
int StageTable::eventfd(unsigned initial, int flags) {
  return opened(FaultTable::eventfd(initial, flags), "eventfd");
}
int StageTable::signalfd(int fd, const sigset_t* mask, int flags) {
  return opened(FaultTable::signalfd(fd, mask, flags), "signalfd");
}
int StageTable::open(const char* path, int flags, mode_t mode) {
  return opened(FaultTable::open(path, flags, mode), "open");
}
int StageTable::openat(int folder, const char* name, int flags) {
  return opened(FaultTable::openat(folder, name, flags), "openat");
}

}  // namespace weir::test::matrix
