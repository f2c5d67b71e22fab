#include "support/fault_table.h"

#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <memory>
#include <utility>

namespace weir::test {

using internal::SysTable;

FaultTable::Rule& FaultTable::Rule::fd(int number) {
  fd_ = number;
  return *this;
}
FaultTable::Rule& FaultTable::Rule::argument(int value) {
  argument_ = value;
  return *this;
}
FaultTable::Rule& FaultTable::Rule::nth(std::uint64_t n) {
  from_ = to_ = n;
  return *this;
}
FaultTable::Rule& FaultTable::Rule::first(std::uint64_t n) {
  from_ = 1;
  to_ = n;
  return *this;
}
FaultTable::Rule& FaultTable::Rule::from(std::uint64_t n) {
  from_ = n;
  return *this;
}
FaultTable::Rule& FaultTable::Rule::between(std::uint64_t from, std::uint64_t to) {
  from_ = from;
  to_ = to;
  return *this;
}

void FaultTable::Rule::fail(int error) {
  error_ = error;
  do_first_ = call_ == Call::close;  // the number is free even if close(2) reports an error
  commit();
}
void FaultTable::Rule::do_then_fail(int error) {
  error_ = error;
  do_first_ = true;
  commit();
}
void FaultTable::Rule::answer(int value) {
  answer_ = value;
  commit();
}
void FaultTable::Rule::limit_bytes(std::size_t n) {
  limit_ = n;
  commit();
}
void FaultTable::Rule::leave_bytes(std::size_t n) {
  leave_ = n;
  commit();
}
void FaultTable::Rule::give_option(int value) {
  option_ = value;
  commit();
}
void FaultTable::Rule::hook(std::function<void()> before) {
  hook_ = std::move(before);
  commit();
}

void FaultTable::Rule::commit() {
  FaultTable& table = table_;
  const std::lock_guard lock(table.mutex_);
  table.rules_.push_back(*this);
  table.scripted_ = true;
}

bool FaultTable::Rule::matches(Call call, int number, int value) const {
  return call == call_ && (!fd_ || *fd_ == number) && (!argument_ || *argument_ == value);
}

void FaultTable::clear() {
  const std::lock_guard lock(mutex_);
  rules_.clear();
  batches_.clear();
  edit_.reset();
  scripted_ = false;
}

void FaultTable::forge_batch(std::vector<Event> events) {
  const std::lock_guard lock(mutex_);
  batches_.push_back(std::move(events));
  scripted_ = true;
}

void FaultTable::edit_batches(std::function<void(std::vector<Event>&)> edit) {
  const std::lock_guard lock(mutex_);
  edit_ = std::make_shared<std::function<void(std::vector<Event>&)>>(std::move(edit));
  scripted_ = true;
}

FaultTable::Verdict FaultTable::judge(Call call, int fd, int argument) {
  ++counts_[index(call)];
  Verdict verdict;
  if (!scripted_) return verdict;
  std::vector<std::function<void()>> hooks;
  {
    const std::lock_guard lock(mutex_);
    bool decided = false;
    for (Rule& rule : rules_) {
      if (!rule.matches(call, fd, argument)) continue;
      ++rule.seen_;
      if (rule.seen_ < rule.from_ || rule.seen_ > rule.to_) continue;
      if (rule.hook_) hooks.push_back(rule.hook_);
      verdict.limit = std::min(verdict.limit, rule.limit_);
      verdict.leave = std::max(verdict.leave, rule.leave_);
      if (decided || (rule.error_ == 0 && !rule.answer_ && !rule.option_)) continue;
      decided = true;
      verdict.error = rule.error_;
      verdict.do_first = rule.do_first_;
      verdict.answer = rule.answer_;
      verdict.option = rule.option_;
    }
  }
  if (verdict.error != 0) ++failures_[index(call)];
  for (const auto& before : hooks) before();
  return verdict;
}

template <typename Real>
auto FaultTable::run(Call call, int fd, int argument, Real real) {
  using Answer = decltype(real());
  const Verdict verdict = judge(call, fd, argument);
  if (verdict.error != 0) {
    if (verdict.do_first) static_cast<void>(real());
    errno = verdict.error;
    return static_cast<Answer>(-1);
  }
  if (verdict.answer) return static_cast<Answer>(*verdict.answer);
  return real();
}

namespace {

// For a call that receives: it transfers the bytes that wait in the descriptor.
constexpr std::size_t kWaiting = std::numeric_limits<std::size_t>::max();

std::size_t waiting_in(int fd) {
  int bytes = 0;
  return ::ioctl(fd, FIONREAD, &bytes) == 0 && bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
}

}  // namespace

template <typename Real>
ssize_t FaultTable::transfer(Call call, int fd, std::size_t offered, Real real) {
  Verdict verdict = judge(call, fd, 0);
  if (verdict.leave > 0) {
    const std::size_t whole = offered == kWaiting ? waiting_in(fd) : offered;
    const std::size_t rest = whole > verdict.leave ? whole - verdict.leave : 1;
    verdict.limit = std::min(verdict.limit, rest);
  }
  if (verdict.error != 0) {
    if (verdict.do_first) static_cast<void>(real(verdict.limit));
    errno = verdict.error;
    return -1;
  }
  if (verdict.answer) return *verdict.answer;
  return real(verdict.limit);
}

namespace {

// A copy of the message whose vectors add up to at most `limit`.
struct Shortened {
  msghdr message;
  std::vector<iovec> vectors;

  Shortened(const msghdr& original, std::size_t limit)
      : message(original), vectors(original.msg_iov, original.msg_iov + original.msg_iovlen) {
    for (iovec& vector : vectors) {
      vector.iov_len = std::min(vector.iov_len, limit);
      limit -= vector.iov_len;
    }
    message.msg_iov = vectors.data();
  }
};

std::size_t offered_by(const msghdr& message) {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < message.msg_iovlen; ++i) bytes += message.msg_iov[i].iov_len;
  return bytes;
}

bool is_socket(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();

}  // namespace

ssize_t FaultTable::recv(int fd, void* data, std::size_t size, int flags) {
  return transfer(Call::recv, fd, kWaiting, [&](std::size_t limit) {
    return SysTable::recv(fd, data, std::min(size, limit), flags);
  });
}
ssize_t FaultTable::recvmsg(int fd, msghdr* message, int flags) {
  return transfer(Call::recvmsg, fd, kWaiting, [&](std::size_t limit) {
    if (limit == kNoLimit) return SysTable::recvmsg(fd, message, flags);
    Shortened less(*message, limit);
    return SysTable::recvmsg(fd, &less.message, flags);
  });
}
ssize_t FaultTable::send(int fd, const void* data, std::size_t size, int flags) {
  return transfer(Call::send, fd, size, [&](std::size_t limit) {
    return SysTable::send(fd, data, std::min(size, limit), flags);
  });
}
ssize_t FaultTable::sendmsg(int fd, const msghdr* message, int flags) {
  return transfer(Call::sendmsg, fd, offered_by(*message), [&](std::size_t limit) {
    if (limit == kNoLimit) return SysTable::sendmsg(fd, message, flags);
    const Shortened less(*message, limit);
    return SysTable::sendmsg(fd, &less.message, flags);
  });
}
int FaultTable::recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  return static_cast<int>(transfer(Call::recvmmsg, fd, kWaiting, [&](std::size_t limit) -> ssize_t {
    const auto most = static_cast<unsigned>(std::min<std::size_t>(count, limit));
    return SysTable::recvmmsg(fd, messages, most, flags);
  }));
}
int FaultTable::sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  return static_cast<int>(transfer(Call::sendmmsg, fd, count, [&](std::size_t limit) -> ssize_t {
    const auto most = static_cast<unsigned>(std::min<std::size_t>(count, limit));
    return SysTable::sendmmsg(fd, messages, most, flags);
  }));
}
ssize_t FaultTable::sendfile(int out, int in, off_t* offset, std::size_t count) {
  return transfer(Call::sendfile, out, count, [&](std::size_t limit) {
    return SysTable::sendfile(out, in, offset, std::min(count, limit));
  });
}
ssize_t FaultTable::splice(int in, int out, std::size_t size, unsigned flags) {
  const auto real = [&](std::size_t limit) {
    return SysTable::splice(in, out, std::min(size, limit), flags);
  };
  const std::size_t offered = std::min(size, waiting_in(in));
  return transfer(Call::splice, is_socket(in) ? in : out, offered, real);
}
ssize_t FaultTable::read(int fd, void* data, std::size_t size) {
  return transfer(Call::read, fd, size, [&](std::size_t limit) {
    return SysTable::read(fd, data, std::min(size, limit));
  });
}
ssize_t FaultTable::pread(int fd, void* data, std::size_t size, off_t offset) {
  return transfer(Call::pread, fd, size, [&](std::size_t limit) {
    return SysTable::pread(fd, data, std::min(size, limit), offset);
  });
}
ssize_t FaultTable::write(int fd, const void* data, std::size_t size) {
  return transfer(Call::write, fd, size, [&](std::size_t limit) {
    return SysTable::write(fd, data, std::min(size, limit));
  });
}

int FaultTable::getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
  const Verdict verdict = judge(Call::getsockopt, fd, name);
  if (verdict.error != 0) {
    errno = verdict.error;
    return -1;
  }
  if (verdict.option && *length >= sizeof(int)) {
    *static_cast<int*>(value) = *verdict.option;
    *length = sizeof(int);
    return 0;
  }
  return SysTable::getsockopt(fd, level, name, value, length);
}

template <typename Real>
int FaultTable::wait(Call call, int epoll, epoll_event* events, int capacity, Real real) {
  const Verdict verdict = judge(call, epoll, 0);
  if (verdict.error != 0) {
    errno = verdict.error;
    return -1;
  }
  if (verdict.answer) return *verdict.answer;
  std::shared_ptr<std::function<void(std::vector<Event>&)>> edit;
  std::vector<Event> batch;
  bool forged = false;
  if (scripted_) {
    const std::lock_guard lock(mutex_);
    edit = edit_;
    if (!batches_.empty()) {
      forged = true;
      batch = std::move(batches_.front());
      batches_.pop_front();
    }
  }
  if (!forged) {
    const int count = real();
    if (count <= 0 || !edit) return count;
    for (int i = 0; i < count; ++i) {
      batch.push_back({SlotId::from_u64(events[i].data.u64), events[i].events});
    }
  }
  if (edit) (*edit)(batch);
  const auto count = std::min(batch.size(), static_cast<std::size_t>(capacity));
  for (std::size_t i = 0; i < count; ++i) {
    events[i].events = batch[i].events;
    events[i].data.u64 = batch[i].id.to_u64();
  }
  return static_cast<int>(count);
}

int FaultTable::epoll_wait(int epoll, epoll_event* events, int capacity, int timeout_ms) {
  last_timeout_ = Duration(std::chrono::milliseconds(timeout_ms)).count();
  return wait(Call::epoll_wait, epoll, events, capacity,
              [&] { return SysTable::epoll_wait(epoll, events, capacity, timeout_ms); });
}

int FaultTable::epoll_pwait2(int epoll, epoll_event* events, int capacity,
                             const timespec* timeout) {
  last_timeout_ =
      timeout == nullptr
          ? -1
          : Duration(std::chrono::seconds(timeout->tv_sec) + Duration(timeout->tv_nsec)).count();
  return wait(Call::epoll_pwait2, epoll, events, capacity,
              [&] { return SysTable::epoll_pwait2(epoll, events, capacity, timeout); });
}

int FaultTable::clock_gettime(clockid_t clock, timespec* time) {
  return run(Call::clock_gettime, -1, clock, [&] {
    if (SysTable::clock_gettime(clock, time) < 0) return -1;
    std::int64_t offset = 0;
    if (clock == CLOCK_MONOTONIC) offset = monotonic_offset_;
    if (clock == CLOCK_REALTIME) offset = wall_offset_;
    constexpr std::int64_t kSecond = 1'000'000'000;
    const std::int64_t total = time->tv_sec * kSecond + time->tv_nsec + offset;
    time->tv_sec = total / kSecond;
    time->tv_nsec = total % kSecond;
    return 0;
  });
}

// -- calls that only succeed or fail -------------------------------------------------------

int FaultTable::socket(int domain, int type, int protocol) {
  return run(Call::socket, -1, domain, [&] { return SysTable::socket(domain, type, protocol); });
}
int FaultTable::bind(int fd, const sockaddr* address, socklen_t length) {
  return run(Call::bind, fd, 0, [&] { return SysTable::bind(fd, address, length); });
}
int FaultTable::listen(int fd, int backlog) {
  return run(Call::listen, fd, 0, [&] { return SysTable::listen(fd, backlog); });
}
int FaultTable::accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  return run(Call::accept4, fd, 0, [&] { return SysTable::accept4(fd, address, length, flags); });
}
int FaultTable::connect(int fd, const sockaddr* address, socklen_t length) {
  return run(Call::connect, fd, 0, [&] { return SysTable::connect(fd, address, length); });
}
int FaultTable::shutdown(int fd, int how) {
  return run(Call::shutdown, fd, how, [&] { return SysTable::shutdown(fd, how); });
}
int FaultTable::close(int fd) {
  return run(Call::close, fd, 0, [&] { return SysTable::close(fd); });
}
int FaultTable::setsockopt(int fd, int level, int name, const void* value, socklen_t length) {
  return run(Call::setsockopt, fd, name,
             [&] { return SysTable::setsockopt(fd, level, name, value, length); });
}
int FaultTable::getsockname(int fd, sockaddr* address, socklen_t* length) {
  return run(Call::getsockname, fd, 0, [&] { return SysTable::getsockname(fd, address, length); });
}
int FaultTable::getpeername(int fd, sockaddr* address, socklen_t* length) {
  return run(Call::getpeername, fd, 0, [&] { return SysTable::getpeername(fd, address, length); });
}
int FaultTable::epoll_create1(int flags) {
  return run(Call::epoll_create1, -1, 0, [&] { return SysTable::epoll_create1(flags); });
}
int FaultTable::epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
  return run(Call::epoll_ctl, fd, operation,
             [&] { return SysTable::epoll_ctl(epoll, operation, fd, event); });
}
int FaultTable::ioctl(int fd, unsigned long request, int* value) {
  return run(Call::ioctl, fd, static_cast<int>(request),
             [&] { return SysTable::ioctl(fd, request, value); });
}
int FaultTable::pipe2(int* ends, int flags) {
  return run(Call::pipe2, -1, 0, [&] { return SysTable::pipe2(ends, flags); });
}
int FaultTable::socketpair(int domain, int type, int protocol, int* ends) {
  return run(Call::socketpair, -1, domain,
             [&] { return SysTable::socketpair(domain, type, protocol, ends); });
}
int FaultTable::fcntl(int fd, int command, int argument) {
  return run(Call::fcntl, fd, command, [&] { return SysTable::fcntl(fd, command, argument); });
}
int FaultTable::eventfd(unsigned initial, int flags) {
  return run(Call::eventfd, -1, 0, [&] { return SysTable::eventfd(initial, flags); });
}
int FaultTable::signalfd(int fd, const sigset_t* mask, int flags) {
  return run(Call::signalfd, fd, 0, [&] { return SysTable::signalfd(fd, mask, flags); });
}
int FaultTable::sigaction(int signal, const struct sigaction* action, struct sigaction* old) {
  return run(Call::sigaction, -1, signal, [&] { return SysTable::sigaction(signal, action, old); });
}
int FaultTable::open(const char* path, int flags, mode_t mode) {
  return run(Call::open, -1, 0, [&] { return SysTable::open(path, flags, mode); });
}
int FaultTable::openat(int folder, const char* name, int flags) {
  return run(Call::openat, folder, 0, [&] { return SysTable::openat(folder, name, flags); });
}
int FaultTable::stat(const char* path, struct stat* result) {
  return run(Call::stat, -1, 0, [&] { return SysTable::stat(path, result); });
}
int FaultTable::fstat(int fd, struct stat* result) {
  return run(Call::fstat, fd, 0, [&] { return SysTable::fstat(fd, result); });
}
int FaultTable::fstatat(int folder, const char* name, struct stat* result, int flags) {
  return run(Call::fstatat, folder, 0,
             [&] { return SysTable::fstatat(folder, name, result, flags); });
}
int FaultTable::unlinkat(int folder, const char* name) {
  return run(Call::unlinkat, folder, 0, [&] { return SysTable::unlinkat(folder, name); });
}
int FaultTable::chmod(const char* path, mode_t mode) {
  return run(Call::chmod, -1, 0, [&] { return SysTable::chmod(path, mode); });
}
int FaultTable::fchmod(int fd, mode_t mode) {
  return run(Call::fchmod, fd, 0, [&] { return SysTable::fchmod(fd, mode); });
}

// -- of the process and the machine --------------------------------------------------------

int FaultTable::getrlimit(int resource, rlimit* limit) {
  return run(Call::getrlimit, -1, resource, [&] { return SysTable::getrlimit(resource, limit); });
}
int FaultTable::getrusage(int who, rusage* usage) {
  return run(Call::getrusage, -1, who, [&] { return SysTable::getrusage(who, usage); });
}
long FaultTable::sysconf(int name) {
  return run(Call::sysconf, -1, name, [&] { return SysTable::sysconf(name); });
}
ssize_t FaultTable::getrandom(void* data, std::size_t size, unsigned flags) {
  return run(Call::getrandom, -1, 0, [&] { return SysTable::getrandom(data, size, flags); });
}
unsigned FaultTable::if_nametoindex(const char* name) {
  unsigned index = 0;
  static_cast<void>(run(Call::if_nametoindex, -1, 0, [&] {
    index = SysTable::if_nametoindex(name);
    return index == 0 ? -1 : 0;
  }));
  return index;
}
char* FaultTable::if_indextoname(unsigned index, char* name) {
  const int done = run(Call::if_indextoname, -1, static_cast<int>(index),
                       [&] { return SysTable::if_indextoname(index, name) == nullptr ? -1 : 0; });
  return done < 0 ? nullptr : name;
}

template <typename Real>
int FaultTable::run_pthread(Call call, int argument, Real real) {
  const int kept = errno;
  int error = 0;
  const int done = run(call, -1, argument, [&] {
    error = real();
    return 0;
  });
  if (done < 0) error = errno;
  errno = kept;
  return error;
}
int FaultTable::pthread_create(pthread_t* thread, void* (*body)(void*), void* argument) {
  return run_pthread(Call::pthread_create, 0,
                     [&] { return SysTable::pthread_create(thread, body, argument); });
}
int FaultTable::pthread_kill(pthread_t thread, int signal) {
  return run_pthread(Call::pthread_kill, signal,
                     [&] { return SysTable::pthread_kill(thread, signal); });
}
int FaultTable::pthread_sigmask(int how, const sigset_t* set, sigset_t* before) {
  return run_pthread(Call::pthread_sigmask, how,
                     [&] { return SysTable::pthread_sigmask(how, set, before); });
}

}  // namespace weir::test
