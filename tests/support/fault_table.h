// FaultTable: weir's system calls, with scripted faults, counts, and a clock that can be moved.
//
//   FaultTable faults;                          // calls the kernel, unless a rule applies
//   ScopedFaults use(faults);                   // on this thread, and on threads that weir starts
//   faults.on(Call::accept4).nth(3).fail(EMFILE);
//   faults.on(Call::sendmsg).always().fail(ENOBUFS);
//   faults.on(Call::recv).fd(7).limit_bytes(1);
//   EXPECT_EQ(faults.count(Call::epoll_ctl), 2u);
//
// It must outlive every thread that uses it. All members are [any].
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "weir/base/clock.h"
#include "weir/base/slot_map.h"
#include "weir/net/sys/sys.h"

namespace weir::test {

enum class Call : std::uint8_t {
  socket,
  bind,
  listen,
  accept4,
  connect,
  shutdown,
  close,
  getsockopt,
  setsockopt,
  getsockname,
  getpeername,
  recv,
  recvmsg,
  send,
  sendmsg,
  recvmmsg,
  sendmmsg,
  sendfile,
  ioctl,
  pipe2,
  socketpair,
  fcntl,
  splice,
  read,
  pread,
  write,
  epoll_create1,
  epoll_ctl,
  epoll_wait,
  epoll_pwait2,
  eventfd,
  signalfd,
  sigaction,
  open,
  openat,
  stat,
  fstat,
  fstatat,
  unlinkat,
  chmod,
  fchmod,
  clock_gettime,
  getrlimit,
  getrusage,
  sysconf,
  getrandom,
  if_nametoindex,
  if_indextoname,
  pthread_create,
  pthread_kill,
  pthread_sigmask,
};
inline constexpr std::size_t kCalls = static_cast<std::size_t>(Call::pthread_sigmask) + 1;

class FaultTable : public internal::SysTable {
 public:
  // Selects the calls of a rule, then sets what happens to them. The rule is in force from the call
  // that sets it (fail, ...). When several rules match a call, the oldest one applies.
  class Rule {
   public:
    // Only calls on this descriptor (epoll_ctl: the one that is watched; splice: the socket).
    Rule& fd(int number);
    // Only with this operation (epoll_ctl), option name (getsockopt, setsockopt), way (shutdown),
    // domain (socket), command (fcntl), clock (clock_gettime), resource (getrlimit) or signal
    // (sigaction, pthread_kill).
    Rule& argument(int value);
    // Calls are counted from 1, and from the moment at which the rule is in force. The default is
    // always().
    Rule& nth(std::uint64_t n);
    Rule& first(std::uint64_t n);
    Rule& from(std::uint64_t n);
    Rule& between(std::uint64_t from, std::uint64_t to);
    Rule& always() { return *this; }

    // The call is not made and fails. (close: it is made, and fails.)
    void fail(int error);
    // The call is made, and fails nevertheless.
    void do_then_fail(int error);
    // The call is not made and returns this.
    void answer(int value);
    // Calls such as recv, read, send, write and splice move at most n bytes; recvmmsg and sendmmsg
    // at most n messages.
    void limit_bytes(std::size_t n);
    // A transfer moves n bytes less than it would, at least one: of the bytes that wait in a socket
    // or pipe, or that the caller offers. Not for recvmmsg and sendmmsg.
    void leave_bytes(std::size_t n);
    // getsockopt gives this integer, such as an errno for SO_ERROR.
    void give_option(int value);
    // Called before the call, on the thread that makes it.
    void hook(std::function<void()> before);

   private:
    friend class FaultTable;
    explicit Rule(FaultTable& table, Call call) : table_(table), call_(call) {}
    void commit();
    bool matches(Call call, int number, int value) const;

    std::reference_wrapper<FaultTable> table_;
    Call call_;
    std::optional<int> fd_;
    std::optional<int> argument_;
    std::uint64_t from_ = 1;
    std::uint64_t to_ = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t seen_ = 0;
    int error_ = 0;
    bool do_first_ = false;
    std::optional<int> answer_;
    std::optional<int> option_;
    std::size_t limit_ = std::numeric_limits<std::size_t>::max();
    std::size_t leave_ = 0;
    std::function<void()> hook_;
  };

  Rule on(Call call) { return Rule(*this, call); }
  // Ends all rules and forged events; counts and clock stay.
  void clear();

  // The number of calls, and of calls that failed because of a rule.
  std::uint64_t count(Call call) const { return counts_[index(call)].load(); }
  std::uint64_t failed(Call call) const { return failures_[index(call)].load(); }
  // Returns of epoll_wait and epoll_pwait2.
  std::uint64_t waits() const { return count(Call::epoll_wait) + count(Call::epoll_pwait2); }
  // The timeout of the last wait; negative: for ever.
  Duration last_timeout() const { return Duration(last_timeout_.load()); }

  // The next wait returns exactly these instead of asking the kernel. Several are queued.
  struct Event {
    SlotId id;
    std::uint32_t events;
  };
  void forge_batch(std::vector<Event> events);
  // Is called with the events of every wait, and may change them.
  void edit_batches(std::function<void(std::vector<Event>&)> edit);

  // Moves CLOCK_MONOTONIC, or CLOCK_REALTIME, for weir from now on. A wait that has begun does not
  // return earlier.
  void advance_clock(Duration by) { monotonic_offset_.fetch_add(by.count()); }
  void advance_wall_clock(Duration by) { wall_offset_.fetch_add(by.count()); }

  int socket(int domain, int type, int protocol) override;
  int bind(int fd, const sockaddr* address, socklen_t length) override;
  int listen(int fd, int backlog) override;
  int accept4(int fd, sockaddr* address, socklen_t* length, int flags) override;
  int connect(int fd, const sockaddr* address, socklen_t length) override;
  int shutdown(int fd, int how) override;
  int close(int fd) override;
  int getsockopt(int fd, int level, int name, void* value, socklen_t* length) override;
  int setsockopt(int fd, int level, int name, const void* value, socklen_t length) override;
  int getsockname(int fd, sockaddr* address, socklen_t* length) override;
  int getpeername(int fd, sockaddr* address, socklen_t* length) override;
  ssize_t recv(int fd, void* data, std::size_t size, int flags) override;
  ssize_t recvmsg(int fd, msghdr* message, int flags) override;
  ssize_t send(int fd, const void* data, std::size_t size, int flags) override;
  ssize_t sendmsg(int fd, const msghdr* message, int flags) override;
  int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags) override;
  int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) override;
  ssize_t sendfile(int out, int in, off_t* offset, std::size_t count) override;
  int ioctl(int fd, unsigned long request, int* value) override;
  int pipe2(int* ends, int flags) override;
  int socketpair(int domain, int type, int protocol, int* ends) override;
  int fcntl(int fd, int command, int argument) override;
  ssize_t splice(int in, int out, std::size_t size, unsigned flags) override;
  ssize_t read(int fd, void* data, std::size_t size) override;
  ssize_t pread(int fd, void* data, std::size_t size, off_t offset) override;
  ssize_t write(int fd, const void* data, std::size_t size) override;
  int epoll_create1(int flags) override;
  int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) override;
  int epoll_wait(int epoll, epoll_event* events, int capacity, int timeout_ms) override;
  int epoll_pwait2(int epoll, epoll_event* events, int capacity, const timespec* timeout) override;
  int eventfd(unsigned initial, int flags) override;
  int signalfd(int fd, const sigset_t* mask, int flags) override;
  int sigaction(int signal, const struct sigaction* action, struct sigaction* old) override;
  int open(const char* path, int flags, mode_t mode) override;
  int openat(int folder, const char* name, int flags) override;
  int stat(const char* path, struct stat* result) override;
  int fstat(int fd, struct stat* result) override;
  int fstatat(int folder, const char* name, struct stat* result, int flags) override;
  int unlinkat(int folder, const char* name) override;
  int chmod(const char* path, mode_t mode) override;
  int fchmod(int fd, mode_t mode) override;
  int clock_gettime(clockid_t clock, timespec* time) override;
  int getrlimit(int resource, rlimit* limit) override;
  int getrusage(int who, rusage* usage) override;
  long sysconf(int name) override;
  ssize_t getrandom(void* data, std::size_t size, unsigned flags) override;
  unsigned if_nametoindex(const char* name) override;
  char* if_indextoname(unsigned index, char* name) override;
  int pthread_create(pthread_t* thread, void* (*body)(void*), void* argument) override;
  int pthread_kill(pthread_t thread, int signal) override;
  int pthread_sigmask(int how, const sigset_t* set, sigset_t* before) override;

 private:
  // The effect of the rules on one call.
  struct Verdict {
    int error = 0;
    bool do_first = false;
    std::optional<int> answer;
    std::optional<int> option;
    std::size_t limit = std::numeric_limits<std::size_t>::max();
    std::size_t leave = 0;
  };
  static std::size_t index(Call call) { return static_cast<std::size_t>(call); }
  Verdict judge(Call call, int fd, int argument);
  template <typename Real>
  auto run(Call call, int fd, int argument, Real real);
  // For a call that returns its error: the result of run(), or errno where that is -1.
  template <typename Real>
  int run_pthread(Call call, int argument, Real real);
  template <typename Real>
  ssize_t transfer(Call call, int fd, std::size_t offered, Real real);
  template <typename Real>
  int wait(Call call, int epoll, epoll_event* events, int capacity, Real real);

  std::array<std::atomic<std::uint64_t>, kCalls> counts_{};
  std::array<std::atomic<std::uint64_t>, kCalls> failures_{};
  std::atomic<std::int64_t> monotonic_offset_{0};
  std::atomic<std::int64_t> wall_offset_{0};
  std::atomic<std::int64_t> last_timeout_{0};

  std::atomic<bool> scripted_{false};  // there are rules, forged batches or an edit
  std::mutex mutex_;
  std::deque<Rule> rules_;                                          // mutex_
  std::deque<std::vector<Event>> batches_;                          // mutex_
  std::shared_ptr<std::function<void(std::vector<Event>&)>> edit_;  // mutex_
};

// Installs a FaultTable on this thread for a scope. Descriptors that were opened with the table may
// be closed after the scope, where nothing counts the close.
class ScopedFaults {
 public:
  explicit ScopedFaults(FaultTable& faults) : scope_(&faults) {}

 private:
  internal::sys::ScopedTable scope_;
};

}  // namespace weir::test
