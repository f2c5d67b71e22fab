// A table of system calls that fail, for as long as a test wants.
#pragma once

#include <cerrno>
#include <cstddef>

#include "weir/net/socket/sys.h"

namespace weir::test {

using internal::SysTable;

// A table whose every call answers -1 and `error` while `failures` last, and counts the calls.
class FailingTable : public SysTable {
 public:
  FailingTable(int error, int failures) : error_(error), failures_(failures) {}
  int calls = 0;

  int socket(int a, int b, int c) override {
    return turn([&] { return SysTable::socket(a, b, c); });
  }
  int bind(int a, const sockaddr* b, socklen_t c) override {
    return turn([&] { return SysTable::bind(a, b, c); });
  }
  int listen(int a, int b) override {
    return turn([&] { return SysTable::listen(a, b); });
  }
  int accept4(int a, sockaddr* b, socklen_t* c, int d) override {
    return turn([&] { return SysTable::accept4(a, b, c, d); });
  }
  int connect(int a, const sockaddr* b, socklen_t c) override {
    return turn([&] { return SysTable::connect(a, b, c); });
  }
  int shutdown(int a, int b) override {
    return turn([&] { return SysTable::shutdown(a, b); });
  }
  int getsockopt(int a, int b, int c, void* d, socklen_t* e) override {
    return turn([&] { return SysTable::getsockopt(a, b, c, d, e); });
  }
  int setsockopt(int a, int b, int c, const void* d, socklen_t e) override {
    return turn([&] { return SysTable::setsockopt(a, b, c, d, e); });
  }
  int getsockname(int a, sockaddr* b, socklen_t* c) override {
    return turn([&] { return SysTable::getsockname(a, b, c); });
  }
  int getpeername(int a, sockaddr* b, socklen_t* c) override {
    return turn([&] { return SysTable::getpeername(a, b, c); });
  }
  ssize_t recv(int a, void* b, std::size_t c, int d) override {
    return turn([&] { return SysTable::recv(a, b, c, d); });
  }
  ssize_t recvmsg(int a, msghdr* b, int c) override {
    return turn([&] { return SysTable::recvmsg(a, b, c); });
  }
  ssize_t send(int a, const void* b, std::size_t c, int d) override {
    return turn([&] { return SysTable::send(a, b, c, d); });
  }
  ssize_t sendmsg(int a, const msghdr* b, int c) override {
    return turn([&] { return SysTable::sendmsg(a, b, c); });
  }
  ssize_t sendfile(int a, int b, off_t* c, std::size_t d) override {
    return turn([&] { return SysTable::sendfile(a, b, c, d); });
  }
  ssize_t read(int a, void* b, std::size_t c) override {
    return turn([&] { return SysTable::read(a, b, c); });
  }
  ssize_t write(int a, const void* b, std::size_t c) override {
    return turn([&] { return SysTable::write(a, b, c); });
  }
  int epoll_create1(int a) override {
    return turn([&] { return SysTable::epoll_create1(a); });
  }
  int epoll_ctl(int a, int b, int c, epoll_event* d) override {
    return turn([&] { return SysTable::epoll_ctl(a, b, c, d); });
  }
  int epoll_wait(int a, epoll_event* b, int c, int d) override {
    return turn([&] { return SysTable::epoll_wait(a, b, c, d); });
  }
  int epoll_pwait2(int a, epoll_event* b, int c, const timespec* d) override {
    return turn([&] { return SysTable::epoll_pwait2(a, b, c, d); });
  }
  int eventfd(unsigned a, int b) override {
    return turn([&] { return SysTable::eventfd(a, b); });
  }
  int signalfd(int a, const sigset_t* b, int c) override {
    return turn([&] { return SysTable::signalfd(a, b, c); });
  }
  int open(const char* a, int b, mode_t c) override {
    return turn([&] { return SysTable::open(a, b, c); });
  }
  int stat(const char* a, struct stat* b) override {
    return turn([&] { return SysTable::stat(a, b); });
  }
  int lstat(const char* a, struct stat* b) override {
    return turn([&] { return SysTable::lstat(a, b); });
  }
  int fstat(int a, struct stat* b) override {
    return turn([&] { return SysTable::fstat(a, b); });
  }
  int unlink(const char* a) override {
    return turn([&] { return SysTable::unlink(a); });
  }
  int chmod(const char* a, mode_t b) override {
    return turn([&] { return SysTable::chmod(a, b); });
  }
  int fchmod(int a, mode_t b) override {
    return turn([&] { return SysTable::fchmod(a, b); });
  }
  int close(int a) override {
    ++closes;
    const int answer = SysTable::close(a);
    if (error_ == 0) return answer;
    errno = error_;
    return -1;
  }
  int closes = 0;

 private:
  template <typename Call>
  auto turn(Call call) -> decltype(call()) {
    ++calls;
    if (failures_ == 0) return call();
    --failures_;
    errno = error_;
    return -1;
  }

  int error_;
  int failures_;
};

template <typename T>
Errno errno_of(const SysResult<T>& result) {
  return result ? Errno() : result.error();
}

}  // namespace weir::test
