#include "weir/net/sys/sys_table.h"

#include <fcntl.h>
#include <net/if.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <unistd.h>

namespace weir::internal {

int SysTable::socket(int domain, int type, int protocol) {
  return ::socket(domain, type, protocol);
}
int SysTable::bind(int fd, const sockaddr* address, socklen_t length) {
  return ::bind(fd, address, length);
}
int SysTable::listen(int fd, int backlog) { return ::listen(fd, backlog); }
int SysTable::accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  return ::accept4(fd, address, length, flags);
}
int SysTable::connect(int fd, const sockaddr* address, socklen_t length) {
  return ::connect(fd, address, length);
}
int SysTable::shutdown(int fd, int how) { return ::shutdown(fd, how); }
int SysTable::close(int fd) { return ::close(fd); }
int SysTable::getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
  return ::getsockopt(fd, level, name, value, length);
}
int SysTable::setsockopt(int fd, int level, int name, const void* value, socklen_t length) {
  return ::setsockopt(fd, level, name, value, length);
}
int SysTable::getsockname(int fd, sockaddr* address, socklen_t* length) {
  return ::getsockname(fd, address, length);
}
int SysTable::getpeername(int fd, sockaddr* address, socklen_t* length) {
  return ::getpeername(fd, address, length);
}
ssize_t SysTable::recv(int fd, void* data, std::size_t size, int flags) {
  return ::recv(fd, data, size, flags);
}
ssize_t SysTable::recvmsg(int fd, msghdr* message, int flags) {
  return ::recvmsg(fd, message, flags);
}
ssize_t SysTable::send(int fd, const void* data, std::size_t size, int flags) {
  return ::send(fd, data, size, flags);
}
ssize_t SysTable::sendmsg(int fd, const msghdr* message, int flags) {
  return ::sendmsg(fd, message, flags);
}
int SysTable::recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  return ::recvmmsg(fd, messages, count, flags, nullptr);
}
int SysTable::sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  return ::sendmmsg(fd, messages, count, flags);
}
ssize_t SysTable::pread(int fd, void* data, std::size_t size, off_t offset) {
  return ::pread(fd, data, size, offset);
}
ssize_t SysTable::sendfile(int out, int in, off_t* offset, std::size_t count) {
  return ::sendfile(out, in, offset, count);
}
int SysTable::ioctl(int fd, unsigned long request, int* value) {
  return ::ioctl(fd, request, value);
}
int SysTable::pipe2(int* ends, int flags) { return ::pipe2(ends, flags); }
int SysTable::socketpair(int domain, int type, int protocol, int* ends) {
  return ::socketpair(domain, type, protocol, ends);
}
int SysTable::fcntl(int fd, int command, int argument) { return ::fcntl(fd, command, argument); }
ssize_t SysTable::splice(int in, int out, std::size_t size, unsigned flags) {
  return ::splice(in, nullptr, out, nullptr, size, flags);
}
ssize_t SysTable::read(int fd, void* data, std::size_t size) { return ::read(fd, data, size); }
ssize_t SysTable::write(int fd, const void* data, std::size_t size) {
  return ::write(fd, data, size);
}
int SysTable::epoll_create1(int flags) { return ::epoll_create1(flags); }
int SysTable::epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
  return ::epoll_ctl(epoll, operation, fd, event);
}
int SysTable::epoll_wait(int epoll, epoll_event* events, int capacity, int timeout_ms) {
  return ::epoll_wait(epoll, events, capacity, timeout_ms);
}
int SysTable::epoll_pwait2(int epoll, epoll_event* events, int capacity, const timespec* timeout) {
  return ::epoll_pwait2(epoll, events, capacity, timeout, nullptr);
}
int SysTable::eventfd(unsigned initial, int flags) { return ::eventfd(initial, flags); }
int SysTable::signalfd(int fd, const sigset_t* mask, int flags) {
  return ::signalfd(fd, mask, flags);
}
int SysTable::sigaction(int signal, const struct sigaction* action, struct sigaction* old) {
  return ::sigaction(signal, action, old);
}
int SysTable::open(const char* path, int flags, mode_t mode) { return ::open(path, flags, mode); }
int SysTable::openat(int folder, const char* name, int flags) {
  return ::openat(folder, name, flags);
}
int SysTable::stat(const char* path, struct stat* result) { return ::stat(path, result); }
int SysTable::fstat(int fd, struct stat* result) { return ::fstat(fd, result); }
int SysTable::fstatat(int folder, const char* name, struct stat* result, int flags) {
  return ::fstatat(folder, name, result, flags);
}
int SysTable::unlinkat(int folder, const char* name) { return ::unlinkat(folder, name, 0); }
int SysTable::chmod(const char* path, mode_t mode) { return ::chmod(path, mode); }
int SysTable::fchmod(int fd, mode_t mode) { return ::fchmod(fd, mode); }
int SysTable::clock_gettime(clockid_t clock, timespec* time) {
  return ::clock_gettime(clock, time);
}

int SysTable::getrlimit(int resource, rlimit* limit) {
  return ::getrlimit(static_cast<__rlimit_resource>(resource), limit);
}
int SysTable::getrusage(int who, rusage* usage) {
  return ::getrusage(static_cast<__rusage_who>(who), usage);
}
long SysTable::sysconf(int name) { return ::sysconf(name); }
ssize_t SysTable::getrandom(void* data, std::size_t size, unsigned flags) {
  return ::getrandom(data, size, flags);
}
unsigned SysTable::if_nametoindex(const char* name) { return ::if_nametoindex(name); }
char* SysTable::if_indextoname(unsigned index, char* name) { return ::if_indextoname(index, name); }
int SysTable::pthread_create(pthread_t* thread, void* (*body)(void*), void* argument) {
  return ::pthread_create(thread, nullptr, body, argument);
}
int SysTable::pthread_kill(pthread_t thread, int signal) { return ::pthread_kill(thread, signal); }
int SysTable::pthread_sigmask(int how, const sigset_t* set, sigset_t* before) {
  return ::pthread_sigmask(how, set, before);
}

}  // namespace weir::internal
