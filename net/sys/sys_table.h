// SysTable: the system calls as C declares them (-1 and errno). Fault tests and the simulated
// network replace the table of a thread; see sys.h. Internal.
#pragma once

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <csignal>
#include <cstddef>
#include <ctime>

namespace weir::internal {

class SysTable {
 public:
  constexpr SysTable() = default;
  SysTable(const SysTable&) = delete;
  SysTable& operator=(const SysTable&) = delete;
  virtual ~SysTable() = default;

  virtual int socket(int domain, int type, int protocol);
  virtual int bind(int fd, const sockaddr* address, socklen_t length);
  virtual int listen(int fd, int backlog);
  virtual int accept4(int fd, sockaddr* address, socklen_t* length, int flags);
  virtual int connect(int fd, const sockaddr* address, socklen_t length);
  virtual int shutdown(int fd, int how);
  virtual int close(int fd);
  virtual int getsockopt(int fd, int level, int name, void* value, socklen_t* length);
  virtual int setsockopt(int fd, int level, int name, const void* value, socklen_t length);
  virtual int getsockname(int fd, sockaddr* address, socklen_t* length);
  virtual int getpeername(int fd, sockaddr* address, socklen_t* length);
  virtual ssize_t recv(int fd, void* data, std::size_t size, int flags);
  virtual ssize_t recvmsg(int fd, msghdr* message, int flags);
  virtual ssize_t send(int fd, const void* data, std::size_t size, int flags);
  virtual ssize_t sendmsg(int fd, const msghdr* message, int flags);
  virtual int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags);
  virtual int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags);
  virtual ssize_t sendfile(int out, int in, off_t* offset, std::size_t count);
  virtual int ioctl(int fd, unsigned long request, int* value);
  virtual int pipe2(int* ends, int flags);
  virtual int socketpair(int domain, int type, int protocol, int* ends);
  virtual int fcntl(int fd, int command, int argument);
  virtual ssize_t splice(int in, int out, std::size_t size, unsigned flags);
  virtual ssize_t read(int fd, void* data, std::size_t size);
  virtual ssize_t pread(int fd, void* data, std::size_t size, off_t offset);
  virtual ssize_t write(int fd, const void* data, std::size_t size);
  virtual int epoll_create1(int flags);
  virtual int epoll_ctl(int epoll, int operation, int fd, epoll_event* event);
  virtual int epoll_wait(int epoll, epoll_event* events, int capacity, int timeout_ms);
  virtual int epoll_pwait2(int epoll, epoll_event* events, int capacity, const timespec* timeout);
  virtual int eventfd(unsigned initial, int flags);
  virtual int signalfd(int fd, const sigset_t* mask, int flags);
  virtual int sigaction(int signal, const struct sigaction* action, struct sigaction* old);
  virtual int open(const char* path, int flags, mode_t mode);
  virtual int openat(int folder, const char* name, int flags);
  virtual int stat(const char* path, struct stat* result);
  virtual int fstat(int fd, struct stat* result);
  virtual int fstatat(int folder, const char* name, struct stat* result, int flags);
  virtual int unlinkat(int folder, const char* name);
  virtual int chmod(const char* path, mode_t mode);
  virtual int fchmod(int fd, mode_t mode);
  virtual int clock_gettime(clockid_t clock, timespec* time);
  // True: clock_gettime() is not the time in which the processor works (a simulation).
  virtual bool time_is_virtual() const { return false; }

  // For process.h: the process and the machine.
  virtual int getrlimit(int resource, rlimit* limit);
  virtual int getrusage(int who, rusage* usage);
  virtual long sysconf(int name);
  virtual ssize_t getrandom(void* data, std::size_t size, unsigned flags);
  virtual unsigned if_nametoindex(const char* name);         // 0 and errno
  virtual char* if_indextoname(unsigned index, char* name);  // null and errno
  // These return the error number and do not set errno, pthreads(7).
  virtual int pthread_create(pthread_t* thread, void* (*body)(void*), void* argument);
  virtual int pthread_kill(pthread_t thread, int signal);
  virtual int pthread_sigmask(int how, const sigset_t* set, sigset_t* before);
};

}  // namespace weir::internal
