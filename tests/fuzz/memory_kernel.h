// A kernel in memory, for one thread: descriptors, epoll, eventfd and a clock that a script moves.
// No call takes time or can block, so an input of a few hundred calls takes microseconds. A wrong
// call of the library (a number closed twice) aborts.
//
// Install it with internal::sys::ScopedTable. Descriptors below kFirst are the real kernel's.
#pragma once

#include <map>
#include <vector>

#include "weir/base/clock.h"
#include "weir/net/sys/sys.h"

namespace weir::fuzz {

class MemoryKernel : public internal::SysTable {
 public:
  static constexpr int kFirst = 1'000'000;

  // A new descriptor that epoll can watch. It is never ready until signal().
  int open_descriptor();
  bool is_open(int fd) const { return descriptors_.contains(fd); }
  std::size_t open_descriptors() const { return descriptors_.size(); }
  // From now on epoll reports these events of the descriptor: to an edge-triggered registration
  // once, if something `happened`. Events that end make no edge.
  void signal(int fd, std::uint32_t events, bool happened = true);
  // The next wait also reports this, whatever is registered.
  void forge(std::uint64_t data, std::uint32_t events) {
    forged_.push_back({events, {.u64 = data}});
  }
  // The next ADD or MOD of a descriptor of the script fails. (A DEL needs nothing that could be
  // missing. The loop sleeps after a failure for its eventfd, so the fuzzer would be slow.)
  void fail_control(int error) { control_error_ = error; }
  void advance(Duration by) { now_ += by; }
  TimePoint now() const { return now_; }
  // Whether epoll_wait(2) would report an event now.
  bool has_events() const;
  // The identity that epoll has for this descriptor; 0: it is not registered.
  std::uint64_t registered(int fd) const;

  int close(int fd) override;
  int fcntl(int fd, int command, int argument) override;
  ssize_t read(int fd, void* data, std::size_t size) override;
  ssize_t write(int fd, const void* data, std::size_t size) override;
  int epoll_create1(int flags) override;
  int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) override;
  int epoll_wait(int epoll, epoll_event* events, int capacity, int timeout_ms) override;
  int epoll_pwait2(int epoll, epoll_event* events, int capacity, const timespec* timeout) override;
  int eventfd(unsigned initial, int flags) override;
  int clock_gettime(clockid_t clock, timespec* time) override;

 private:
  struct Descriptor {
    std::uint32_t ready = 0;
    bool is_counter = false;  // an eventfd
    std::uint64_t count = 0;  // of an eventfd
  };
  struct Interest {
    std::uint32_t events = 0;
    std::uint64_t data = 0;
    bool edge = true;  // not reported yet
  };
  using Interests = std::map<int, Interest>;
  std::uint32_t reported(int fd, const Interest& interest) const;  // 0: nothing

  std::map<int, Descriptor> descriptors_;
  std::map<int, Interests> epolls_;
  std::vector<epoll_event> forged_;
  int next_ = kFirst;
  int control_error_ = 0;
  TimePoint now_{std::chrono::hours(1000)};
};

}  // namespace weir::fuzz
