// Connector: makes one connection to the first address of a list that answers. Internal to the tcp
// floor. [loop]
//
// connect(2) comes first and epoll second, because epoll reports a socket that was never connected
// as hung up. What the socket then says decides, not the event: SO_ERROR, and getpeername(2) if
// there is no error. One address is tried a turn, so a long list does not hold the loop.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/base/back_off.h"
#include "weir/base/fd.h"
#include "weir/base/result.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/socket.h"
#include "weir/net/socket/socket_address.h"
#include "weir/net/socket/socket_file.h"
#include "weir/net/socket/stream_options.h"

namespace weir::internal {

class Connector final : private IoHandler {
 public:
  // A socket may meet itself when the port is free and of the range that connect(2) chooses from.
  // Each try takes another port, so more than a few in a row mean that there is no other.
  static constexpr int kMaxSelfConnects = 16;
  // The queue of a Unix listener is full: tried again after this, twice as long each time.
  static constexpr Duration kFirstRetry = std::chrono::milliseconds(1);
  static constexpr Duration kMaxRetry = std::chrono::milliseconds(64);
  // An event came, yet the socket is neither connected nor in error: it is looked at again after
  // this, so often at most (a second in all).
  static constexpr Duration kLookAgain = std::chrono::milliseconds(10);
  static constexpr int kMaxLooks = 100;

  struct Options {
    Duration timeout{0};  // for all addresses together; zero: the kernel's
    std::optional<SocketAddress> bind_to{};
    StreamOptions stream{};  // of which it sets the buffers
  };
  // The connected socket, CLOEXEC and NONBLOCK; or why the last address failed.
  using Done = std::move_only_function<void(Result<Fd>)>;

  Connector(EventLoop& loop, Options options) : loop_(loop), options_(options) {}
  ~Connector() { cancel(); }
  Connector(const Connector&) = delete;
  Connector& operator=(const Connector&) = delete;

  // Calls `done` once, from the loop and never from inside this call, unless cancelled before. Each
  // address may use an equal share of the time that is left, so that a silent one leaves time for
  // the next. The share begins with the first connect(2) to the address. Not while running; in
  // `done` the Connector is free again, and may be destroyed.
  void start(std::vector<SocketAddress> addresses, Done done);
  // `done` is not called any more.
  void cancel();
  bool running() const { return static_cast<bool>(done_); }
  // In `done`, after a success: the file that a Unix path in bind_to made, removed when it is
  // destroyed. Who leaves it here has it removed with the next attempt.
  SocketFile take_file() { return std::move(file_); }

 private:
  void on_ready(std::uint32_t events) override;
  void on_interest_refused(Errno error) override;

  const SocketAddress& address() const { return addresses_[next_]; }
  void begin_address();
  void begin_share();
  void end_share();
  void try_later(Duration delay);
  void try_address();
  Result<void> bind();
  bool answered();
  void timed_out();
  void connected(const SocketAddress& peer);
  void connected_to_itself();
  std::string doing() const;
  void address_failed(std::string_view step, Errno error);
  void address_failed(const Error& why);
  void release_socket();
  void report(Result<Fd> result);

  EventLoop& loop_;
  const Options options_;
  std::vector<SocketAddress> addresses_;
  std::size_t next_ = 0;   // the address being tried
  Done done_;              // null: not running
  Duration time_left_{0};  // of the timeout: what the addresses before this one did not use
  Duration share_{0};      // of this address; zero: not begun
  TimePoint began_{};      // the share
  Socket socket_;
  SocketFile file_;                 // of bind_to
  std::optional<Channel> channel_;  // on socket_
  TimerId step_timer_;              // the next try or look
  TimerId timeout_timer_;           // the end of this address' share
  BackOff retry_{kFirstRetry, kMaxRetry};
  int self_connects_ = 0;
  int looks_ = 0;
};

}  // namespace weir::internal
