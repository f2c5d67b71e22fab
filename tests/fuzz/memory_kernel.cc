#include "fuzz/memory_kernel.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "weir/base/check_format.h"

namespace weir::fuzz {

namespace {

int failed(int error) {
  errno = error;
  return -1;
}

}  // namespace

int MemoryKernel::open_descriptor() {
  descriptors_.emplace(next_, Descriptor{});
  return next_++;
}

void MemoryKernel::signal(int fd, std::uint32_t events, bool happened) {
  const auto found = descriptors_.find(fd);
  if (found == descriptors_.end()) return;
  found->second.ready = events;
  if (!happened) return;
  for (auto& [epoll, interests] : epolls_) {
    if (const auto interest = interests.find(fd); interest != interests.end()) {
      interest->second.edge = true;
    }
  }
}

std::uint64_t MemoryKernel::registered(int fd) const {
  for (const auto& [epoll, interests] : epolls_) {
    if (const auto found = interests.find(fd); found != interests.end()) return found->second.data;
  }
  return 0;
}

int MemoryKernel::close(int fd) {
  if (fd < kFirst) return internal::SysTable::close(fd);
  WEIR_CHECK(descriptors_.erase(fd) == 1, "descriptor {} is closed, but it is not open", fd);
  epolls_.erase(fd);
  for (auto& [epoll, interests] : epolls_) interests.erase(fd);
  return 0;
}

int MemoryKernel::fcntl(int fd, int command, int argument) {
  if (fd < kFirst) return internal::SysTable::fcntl(fd, command, argument);
  if (!is_open(fd)) return failed(EBADF);
  switch (command) {
    case F_GETFD:
      return FD_CLOEXEC;
    case F_GETFL:
      return O_RDWR | O_NONBLOCK;
    default:
      return failed(EINVAL);
  }
}

ssize_t MemoryKernel::read(int fd, void* data, std::size_t size) {
  if (fd < kFirst) return internal::SysTable::read(fd, data, size);
  Descriptor& counter = descriptors_.at(fd);
  if (counter.count == 0) return failed(EAGAIN);
  const std::uint64_t count = std::exchange(counter.count, 0);
  counter.ready = 0;
  WEIR_CHECK(size == sizeof(count), "{} bytes read of an eventfd", size);
  std::memcpy(data, &count, sizeof(count));
  return sizeof(count);
}

ssize_t MemoryKernel::write(int fd, const void* data, std::size_t size) {
  if (fd < kFirst) return internal::SysTable::write(fd, data, size);
  ++descriptors_.at(fd).count;
  signal(fd, EPOLLIN);
  return static_cast<ssize_t>(size);
}

int MemoryKernel::epoll_create1(int) {
  const int epoll = open_descriptor();
  epolls_.emplace(epoll, Interests{});
  return epoll;
}

int MemoryKernel::epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
  Interests& interests = epolls_.at(epoll);
  if (!is_open(fd)) return failed(EBADF);
  const auto found = interests.find(fd);
  if (operation == EPOLL_CTL_ADD && found != interests.end()) return failed(EEXIST);
  if (operation != EPOLL_CTL_ADD && found == interests.end()) return failed(ENOENT);
  if (operation == EPOLL_CTL_DEL) {
    interests.erase(found);
  } else if (control_error_ != 0 && !descriptors_.at(fd).is_counter) {
    return failed(std::exchange(control_error_, 0));
  } else {
    interests.insert_or_assign(fd, Interest{.events = event->events, .data = event->data.u64});
  }
  return 0;
}

std::uint32_t MemoryKernel::reported(int fd, const Interest& interest) const {
  if ((interest.events & EPOLLET) != 0 && !interest.edge) return 0;
  return descriptors_.at(fd).ready & (interest.events | EPOLLERR | EPOLLHUP);
}

bool MemoryKernel::has_events() const {
  for (const auto& [epoll, interests] : epolls_) {
    for (const auto& [fd, interest] : interests) {
      if (reported(fd, interest) != 0) return true;
    }
  }
  return !forged_.empty();
}

int MemoryKernel::epoll_wait(int epoll, epoll_event* events, int capacity, int) {
  int count = 0;
  for (const epoll_event& forged : std::exchange(forged_, {})) {
    if (count < capacity) events[count++] = forged;
  }
  for (auto& [fd, interest] : epolls_.at(epoll)) {
    const std::uint32_t ready = reported(fd, interest);
    if (ready == 0 || count == capacity) continue;
    interest.edge = false;
    events[count++] = {.events = ready, .data = {.u64 = interest.data}};
  }
  return count;
}

int MemoryKernel::epoll_pwait2(int epoll, epoll_event* events, int capacity, const timespec*) {
  return epoll_wait(epoll, events, capacity, 0);
}

int MemoryKernel::eventfd(unsigned, int) {
  const int fd = open_descriptor();
  descriptors_.at(fd).is_counter = true;
  return fd;
}

int MemoryKernel::clock_gettime(clockid_t clock, timespec* time) {
  if (clock != CLOCK_MONOTONIC) return internal::SysTable::clock_gettime(clock, time);
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now_.time_since_epoch());
  time->tv_sec = seconds.count();
  time->tv_nsec = (now_.time_since_epoch() - seconds).count();
  return 0;
}

}  // namespace weir::fuzz
