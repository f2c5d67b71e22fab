// A connection that reads and writes its socket itself; the event library only reports readiness.
// The common part of raw_epoll, libev and libevent's plain events, whose manuals leave the I/O to
// the program.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "rivals/settings.h"

namespace rival {

class OwnBuffers;

// The data shared by the connections of one server.
struct Crowd {
  Crowd(const Settings& settings_given, std::size_t block_size_given, bool coalesce_given)
      : settings(settings_given),
        coalesce(coalesce_given),
        block_size(block_size_given),
        block(make_block(block_size)) {
    if (coalesce) gathered.reserve(block_size + settings.size);
  }
  ~Crowd();
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;

  void broadcast(std::string_view message);
  // Frees the closed connections. Must not be called inside one of them.
  void bury();

  const Settings settings;
  const bool coalesce;  // one write for all answers to a read
  const std::size_t block_size;
  const Block block;              // filled by recv()
  std::string gathered;           // the answers, if they are coalesced
  std::vector<OwnBuffers*> all;   // owned
  std::vector<OwnBuffers*> dead;  // owned
};

class OwnBuffers {
 public:
  enum class Interest : std::uint8_t { none, read, write };

  OwnBuffers(Crowd& crowd, int fd) : crowd_(crowd), fd_(fd), index_(crowd.all.size()) {
    crowd.all.push_back(this);
  }
  virtual ~OwnBuffers() {
    if (fd_ >= 0) ::close(fd_);
  }
  OwnBuffers(const OwnBuffers&) = delete;
  OwnBuffers& operator=(const OwnBuffers&) = delete;

  // The socket is ready for the wanted operation (or failed, which read or write will report).
  void ready() {
    if (interest_ == Interest::read) [[likely]] {
      read();
    } else if (interest_ == Interest::write) {
      flush();
    }
    settle();
  }

  void send(std::string_view bytes) {
    if (failed_) return;
    if (!waiting_) [[likely]] {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n == static_cast<ssize_t>(bytes.size())) [[likely]]
        return;
      if (n < 0 && !again()) {
        failed_ = true;
        return;
      }
      if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    wait(bytes);
  }

  // Watches for writing while bytes wait, and for reading otherwise.
  void settle() {
    if (fd_ < 0) return;
    if (failed_ || (ended_ && !waiting_)) [[unlikely]] {
      close();
      return;
    }
    const Interest wanted = waiting_ ? Interest::write : Interest::read;
    if (wanted != interest_) [[unlikely]]
      watch(interest_ = wanted);
  }

 protected:
  int fd() const { return fd_; }
  // From now on only this readiness is to be reported. `none` comes once, just before the socket is
  // closed.
  virtual void watch(Interest interest) = 0;

 private:
  struct Waiting {
    std::string bytes;
    std::size_t begin = 0;
  };

  static bool again() { return errno == EAGAIN || errno == EINTR; }

  void read() {
    const ssize_t n = ::recv(fd_, crowd_.block.get(), crowd_.block_size, 0);
    if (n > 0) [[likely]] {
      answer({crowd_.block.get(), static_cast<std::size_t>(n)});
    } else if (n == 0) {
      ended_ = true;
    } else if (!again()) {
      failed_ = true;
    }
  }

  void answer(std::string_view in) {
    const std::size_t size = crowd_.settings.size;
    switch (crowd_.settings.work) {
      case Work::echo:
        send(in);
        break;
      case Work::each:
        if (!crowd_.coalesce) {
          cutter_.cut(in, size, [this](std::string_view message) { send(message); });
          break;
        }
        cutter_.cut(in, size,
                    [this](std::string_view message) { crowd_.gathered.append(message); });
        if (!crowd_.gathered.empty()) send(crowd_.gathered);
        crowd_.gathered.clear();
        break;
      case Work::broadcast:
        cutter_.cut(in, size, [this](std::string_view message) { crowd_.broadcast(message); });
        break;
    }
  }

  void wait(std::string_view bytes);
  void flush();
  void close();

  Crowd& crowd_;
  int fd_;
  Interest interest_ = Interest::read;  // the initial interest of derived classes
  bool ended_ = false;                  // the peer's FIN was read
  bool failed_ = false;                 // to be closed
  std::size_t index_;                   // in Crowd::all
  std::unique_ptr<Waiting> waiting_;    // only while the kernel refuses bytes
  Cutter cutter_;
};

// Calls fn(fd) for each pending connection, at most 64. False: the kernel has no descriptor or no
// memory, so the listener would stay ready; do not watch it for kBackOffMs.
template <typename Fn>
bool accept_some(int listener, Fn&& fn) {
  for (int i = 0; i < 64; ++i) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      fn(fd);
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return errno == EAGAIN;
    }
  }
  return true;
}

}  // namespace rival
