// UnixSocket: a Unix stream socket. Bytes arrive at once; they count against the buffer of the
// writer until the reader took the whole chunk in which they were written.
#pragma once

#include <deque>

#include "weir/net/sim/internal/stream_socket.h"

namespace weir::internal::sim {

class UnixSocket final : public StreamSocket {
 public:
  explicit UnixSocket(Machine& machine) : StreamSocket(machine, AF_UNIX, machine.unix_names) {}
  // socketpair(2)
  static void join(const std::shared_ptr<UnixSocket>& a, const std::shared_ptr<UnixSocket>& b);

  ssize_t send(std::span<const iovec> from) override;
  int connect(const sockaddr* address, socklen_t length) override;
  int shutdown(int how) override;
  int bytes_out() override { return static_cast<int>(unsent_); }
  void closed() override;

 private:
  void input_taken(std::size_t count) override;
  bool writable() override { return unsent_ * 4 <= send_buffer_; }
  void rejected() override;

  std::weak_ptr<UnixSocket> peer_;
  bool rejected_ = false;
  std::deque<std::size_t> chunks_;  // of input_
  std::size_t taken_ = 0;           // of the first chunk
};

}  // namespace weir::internal::sim
