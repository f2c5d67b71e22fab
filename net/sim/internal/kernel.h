// Kernel: the simulated system calls, as a SysTable of the thread. It has the table of descriptors,
// gives each call its virtual time, and records a digest of all calls: two runs with equal digests
// did the same. [one thread]
#pragma once

#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/net/sim/internal/epoll_set.h"
#include "weir/net/sim/internal/machine.h"
#include "weir/net/sim/internal/plain_objects.h"
#include "weir/net/sys/sys.h"

namespace weir::internal::sim {

class Kernel final : public weir::internal::SysTable {
 public:
  Kernel(std::uint64_t seed, const weir::sim::Faults& faults) : machine_(seed, faults) {}
  ~Kernel() override;

  Machine& machine() { return machine_; }
  std::size_t open_descriptors() const { return open_; }
  // A descriptor of a file in memory.
  int open_file(std::string contents);

  // The epoll sets that are created from now on belong to this host, or to none.
  void begin_host(int host) { host_ = host; }
  void end_host() { host_ = Object::kNoHost; }
  bool has_events(int host);

  std::uint64_t calls() const { return calls_; }
  std::uint64_t digest() const { return digest_; }
  // True if a loop waited many times in a row although it was always woken at once, and the program
  // did nothing about it.
  bool spins() const { return spins_; }
  // Moves the clock to the next thing that happens.
  void advance_to(TimePoint time);
  // Called with a line for each call.
  void trace(std::function<void(const std::string&)> print) { print_ = std::move(print); }

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
  int open(const char* path, int flags, mode_t mode) override;
  int openat(int folder, const char* name, int flags) override;
  int stat(const char* path, struct stat* result) override;
  int fstat(int fd, struct stat* result) override;
  int fstatat(int folder, const char* name, struct stat* result, int flags) override;
  int unlinkat(int folder, const char* name) override;
  int chmod(const char* path, mode_t mode) override;
  int fchmod(int fd, mode_t mode) override;
  int clock_gettime(clockid_t clock, timespec* time) override;
  bool time_is_virtual() const override { return true; }
  int getrlimit(int resource, rlimit* limit) override;
  int getrusage(int who, rusage* usage) override;
  long sysconf(int name) override;
  ssize_t getrandom(void* data, std::size_t size, unsigned flags) override;
  unsigned if_nametoindex(const char* name) override;
  char* if_indextoname(unsigned index, char* name) override;
  int pthread_create(pthread_t* thread, void* (*body)(void*), void* argument) override;

 private:
  // Far above those of the real kernel, so that a descriptor of one never means a file of the
  // other: one that a program opened before, or one that outlives the simulation.
  static constexpr int kFirstDescriptor = 1'000'000;

  std::shared_ptr<Object> find(int fd) const;
  // The lowest free descriptor, as the kernel assigns them; -EMFILE.
  int install(std::shared_ptr<Object> object);
  void begin_call();
  // Records the call. A negative result becomes -1 and errno.
  template <typename Result>
  Result end_call(std::string_view name, int fd, Result result);
  // A call on an object: -EBADF without one.
  template <typename Action>
  auto on_object(std::string_view name, int fd, Action action);
  static int no_such_file();
  // Moves bytes between a pipe and a socket.
  ssize_t fill_pipe(Object& socket, PipeBytes& pipe, std::size_t size);
  ssize_t drain_pipe(PipeBytes& pipe, Object& socket, std::size_t size);
  int wait(EpollSet& set, std::span<epoll_event> room, std::optional<TimePoint> until);
  std::size_t take_events(EpollSet& set, std::span<epoll_event> room);
  void note_work() { idle_waits_ = idle_turns_ = 0; }
  void record(std::string_view name, int fd, std::int64_t result);

  Machine machine_;
  std::vector<std::shared_ptr<Object>> descriptors_;  // from kFirstDescriptor on
  std::vector<std::weak_ptr<EpollSet>> sets_;         // of all hosts
  std::size_t open_ = 0;
  int host_ = Object::kNoHost;
  std::uint64_t calls_ = 0;
  std::uint64_t digest_ = 14695981039346656037U;  // FNV-1a
  std::uint64_t idle_waits_ = 0;  // that reported events, in a row without a call that succeeded
  std::uint64_t idle_turns_ = 0;  // all waits, in a row without such a call and without sleeping
  bool spins_ = false;
  std::function<void(const std::string&)> print_;
};

template <typename Result>
Result Kernel::end_call(std::string_view name, int fd, Result result) {
  record(name, fd, result);
  if (result >= 0) {
    note_work();
    return result;
  }
  errno = static_cast<int>(-result);
  return -1;
}

template <typename Action>
auto Kernel::on_object(std::string_view name, int fd, Action action) {
  using Result = decltype(action(std::declval<Object&>()));
  begin_call();
  const auto object = find(fd);
  return end_call(name, fd, object == nullptr ? Result(-EBADF) : action(*object));
}

}  // namespace weir::internal::sim
