// Object: that to which a simulated descriptor refers, and Watch: its registration in an epoll set.
//
// Calls of the simulated kernel return what the kernel's own functions return: a result, or the
// negative error number. Several descriptors may share an object (dup); it ends with the last one.
#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weir::internal::sim {

class EpollSet;
class Object;

struct Watch {
  EpollSet& set;
  Object& object;
  int fd;
  std::uint32_t events;
  std::uint64_t data;
  bool ready = false;  // in the list of the set
};

class Object {
 public:
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object();

  // The events that poll(2) would report, whether or not anybody asks for them.
  virtual std::uint32_t poll() = 0;
  virtual bool can_be_watched() const { return true; }
  virtual bool is_socket() const { return false; }

  // The number of descriptors; release() returns true for the last one.
  void retain() { ++references_; }
  bool release() { return --references_ == 0; }
  // The last descriptor was closed.
  virtual void closed() { forget_watches(); }

  virtual ssize_t receive(std::span<const iovec> /*into*/, int /*flags*/) { return -ENOTSOCK; }
  virtual ssize_t send(std::span<const iovec> /*from*/) { return -ENOTSOCK; }
  virtual ssize_t read(void* /*into*/, std::size_t /*size*/) { return -EINVAL; }
  virtual ssize_t write(const void* /*from*/, std::size_t /*size*/) { return -EINVAL; }

  // Calls of sockets.
  virtual int bind(const sockaddr* /*address*/, socklen_t /*length*/) { return -ENOTSOCK; }
  virtual int listen(int /*backlog*/) { return -ENOTSOCK; }
  virtual int connect(const sockaddr* /*address*/, socklen_t /*length*/) { return -ENOTSOCK; }
  virtual int shutdown(int /*how*/) { return -ENOTSOCK; }
  virtual int get_option(int /*level*/, int /*name*/, void* /*value*/, socklen_t* /*length*/) {
    return -ENOTSOCK;
  }
  virtual int set_option(int /*level*/, int /*name*/, const void* /*value*/, socklen_t /*length*/) {
    return -ENOTSOCK;
  }
  virtual int own_name(sockaddr* /*address*/, socklen_t* /*length*/) { return -ENOTSOCK; }
  virtual int peer_name(sockaddr* /*address*/, socklen_t* /*length*/) { return -ENOTSOCK; }
  // The connection that waits longest, without a descriptor; null and `error` (negative) otherwise.
  virtual std::shared_ptr<Object> accept(int& error) {
    error = -ENOTSOCK;
    return nullptr;
  }
  // SIOCINQ and SIOCOUTQ.
  virtual int bytes_in() { return -ENOTTY; }
  virtual int bytes_out() { return -ENOTTY; }

  // Something happened that these events may tell (0: any): the sets that ask for one of them look
  // at the object. This is an edge of EPOLLET.
  void wake(std::uint32_t events = 0);

  // The host whose loop watches the object, or watched it last; kNoHost: none did.
  static constexpr int kNoHost = -1;
  int host() const { return host_; }
  void belongs_to(int host) { host_ = host; }

 private:
  friend class EpollSet;
  void forget_watches();

  int references_ = 0;
  int host_ = kNoHost;
  std::vector<std::unique_ptr<Watch>> watches_;  // in the order of registration
};

// The bytes of the vectors.
std::size_t size_of(std::span<const iovec> vectors);
// Copies as much as fits and returns the number of bytes.
std::size_t copy_to(std::span<const iovec> into, std::string_view from);
std::string copy_from(std::span<const iovec> from, std::size_t size);

}  // namespace weir::internal::sim
