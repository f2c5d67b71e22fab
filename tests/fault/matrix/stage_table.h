// The system calls of one run: those of the kernel with one fault, in virtual time, and a record of
// the descriptors that are open.
//
// A wait never sleeps: when no descriptor is ready, the clock moves to the end of the wait. Another
// thread that acts meanwhile is played by a function (while_waiting).
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "faults.h"
#include "support/fault_table.h"
#include "weir/base/clock.h"

namespace weir::test::matrix {

class StageTable final : public FaultTable {
 public:
  // A persistent fault ends after this time.
  static constexpr Duration kPersistence = std::chrono::seconds(10);

  StageTable();

  // The nth call of `site` from now on has the fault, and with `persistent` those after it.
  void inject(const Site& site, const Fault& fault, std::uint64_t nth, bool persistent);
  void end_faults();
  // Counts the calls of each site from now on.
  void count_sites();
  const std::vector<std::uint64_t>& site_counts() const { return site_counts_; }

  // Calls that had the fault, and the most of them at one instant of the virtual clock.
  std::uint64_t hits() const { return hits_; }
  std::uint64_t most_hits_at_once() const { return most_hits_at_once_; }
  std::uint64_t sleeps() const { return sleeps_; }
  Duration elapsed() const { return elapsed_; }

  // The next wait that would sleep calls `act` instead. Several are queued.
  void while_waiting(std::function<void()> act) { acts_.push_back(std::move(act)); }
  // Whenever a wait on another epoll set than this loop's would sleep, `act` is called first: the
  // work of the other process. Empty: no more.
  void while_blocked(std::function<void()> act) { while_blocked_ = std::move(act); }

  // The descriptor is weir's from now on, though the test has opened it.
  void give(int fd) { opened(fd, "the test"); }
  // "7 of accept4"; empty: none is open.
  std::string open_descriptors() const;
  // Descriptors that were closed though they were not open.
  const std::vector<int>& wrong_closes() const { return wrong_closes_; }

  int socket(int domain, int type, int protocol) override;
  int accept4(int fd, sockaddr* address, socklen_t* length, int flags) override;
  int close(int fd) override;
  ssize_t recv(int fd, void* data, std::size_t size, int flags) override;
  ssize_t recvmsg(int fd, msghdr* message, int flags) override;
  ssize_t send(int fd, const void* data, std::size_t size, int flags) override;
  ssize_t sendmsg(int fd, const msghdr* message, int flags) override;
  int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags) override;
  int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) override;
  ssize_t sendfile(int out, int in, off_t* offset, std::size_t count) override;
  ssize_t splice(int in, int out, std::size_t size, unsigned flags) override;
  ssize_t read(int fd, void* data, std::size_t size) override;
  int pipe2(int* ends, int flags) override;
  int socketpair(int domain, int type, int protocol, int* ends) override;
  int fcntl(int fd, int command, int argument) override;
  int epoll_create1(int flags) override;
  int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) override;
  int epoll_wait(int epoll, epoll_event* events, int capacity, int timeout_ms) override;
  int epoll_pwait2(int epoll, epoll_event* events, int capacity, const timespec* timeout) override;
  int eventfd(unsigned initial, int flags) override;
  int signalfd(int fd, const sigset_t* mask, int flags) override;
  int open(const char* path, int flags, mode_t mode) override;
  int openat(int folder, const char* name, int flags) override;
  int clock_gettime(clockid_t clock, timespec* time) override;

 private:
  static constexpr std::size_t kMostDescriptors = 1024;

  int opened(int fd, const char* call);
  void hit();
  void advance(Duration time);
  // After a call that failed with EAGAIN because of the fault: the descriptor becomes ready again
  // later, and edge-triggered epoll reports that.
  template <typename Answer>
  Answer ready_again(int fd, std::uint64_t hits_before, Answer answer);
  template <typename Wait>
  int wait(int epoll, epoll_event* events, int capacity, Duration timeout, Wait judged);
  // The peer of a socket has not acknowledged all.
  bool bytes_in_flight();
  int poll(int epoll, epoll_event* events, int capacity, Duration time);

  Duration start_{};
  Duration elapsed_{};
  std::uint64_t sleeps_ = 0;
  bool rested_ = false;  // for kLongestRest, since an event came
  int loop_epoll_ = -1;  // the first that was made
  std::deque<std::function<void()>> acts_;
  std::function<void()> while_blocked_;

  std::uint64_t hits_ = 0;
  std::uint64_t hits_here_ = 0;
  std::uint64_t most_hits_at_once_ = 0;
  Duration hit_at_{-1};
  Duration first_hit_{-1};
  bool persistent_ = false;
  bool refuse_next_ = false;
  bool late_ = false;  // Fault::Kind::late_error
  std::vector<std::uint64_t> site_counts_;

  std::array<const char*, kMostDescriptors> open_{};  // by the call that opened it
  std::vector<int> wrong_closes_;
  struct Watch {
    int epoll = -1;
    std::uint32_t events = 0;
    std::uint64_t data = 0;
  };
  std::array<Watch, kMostDescriptors> watched_{};
};

}  // namespace weir::test::matrix
