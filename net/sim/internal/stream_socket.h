// StreamSocket: what TCP and Unix stream sockets have in common: bytes that were received, the two
// directions that may be shut, a pending error, and the queue of a listening socket. The rules are
// those of Linux (tcp.c, af_unix.c), which tests/sim/golden compares.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "weir/net/sim/internal/byte_queue.h"
#include "weir/net/sim/internal/machine.h"
#include "weir/net/sim/internal/object.h"

namespace weir::internal::sim {

class StreamSocket : public Object, public std::enable_shared_from_this<StreamSocket> {
 public:
  StreamSocket(Machine& machine, int family, Names& names);

  bool is_socket() const override { return true; }
  ssize_t receive(std::span<const iovec> into, int flags) final;
  int bind(const sockaddr* address, socklen_t length) final;
  int listen(int backlog) final;
  int get_option(int level, int name, void* value, socklen_t* length) final;
  int set_option(int level, int name, const void* value, socklen_t length) final;
  int own_name(sockaddr* address, socklen_t* length) final;
  int peer_name(sockaddr* address, socklen_t* length) final;
  std::shared_ptr<Object> accept(int& error) final;
  int bytes_in() final { return static_cast<int>(input_.size()); }

 protected:
  enum class State {
    fresh,        // neither connected nor listening
    listening,    //
    connecting,   //
    established,  // also after one direction was shut
    closed,       // reset, refused, shut in both directions
  };

  // The reader took bytes. Called after input_ was changed.
  virtual void input_taken(std::size_t count) = 0;
  // For poll(): there is room to write.
  virtual bool writable() = 0;
  // A stream that waited in the queue of a listening socket which ends.
  virtual void rejected() = 0;

  std::uint32_t poll() final;
  std::size_t room() const { return send_buffer_ - std::min(send_buffer_, unsent_); }
  // Checks that apply to every write; 0 if it may go on.
  int refuse_write();
  int take_error() { return -std::exchange(error_, 0); }
  // What recv(2) says of a socket that is not connected.
  int not_connected() const { return own_.is_ip() ? -ENOTCONN : -EINVAL; }
  // A listening socket takes no further connections, and keeps its name; those that wait are
  // rejected.
  void end_listening();
  // True if the queue of this listening socket has room.
  bool queue_has_room() const { return queue_.size() <= static_cast<std::size_t>(backlog_); }
  void enqueue(std::shared_ptr<StreamSocket> stream);
  bool lingers_not() const { return linger_.l_onoff != 0 && linger_.l_linger == 0; }
  void leave_name();

  Machine& machine_;
  Names& names_;
  State state_ = State::fresh;
  bool receive_shut_ = false;  // by the peer's end of file, or by shutdown(SHUT_RD)
  bool send_shut_ = false;
  bool end_received_ = false;     // the peer's end of file, or its close
  bool unwritable_seen_ = false;  // poll or write found no room: room is then an event
  int error_ = 0;                 // SO_ERROR
  ByteQueue input_;
  std::size_t unsent_ = 0;  // bytes that count against the send buffer
  std::size_t send_buffer_;
  std::size_t receive_buffer_;
  Name own_;
  Name peer_name_;
  bool has_own_name_ = false;

 private:
  bool bound_ = false;  // in names_
  bool share_name_ = false;
  linger linger_{};
  int backlog_ = 0;
  std::deque<std::shared_ptr<StreamSocket>> queue_;
};

}  // namespace weir::internal::sim
