// Connector: makes one connection, to the first address of a list that answers. Internal to the tcp
// floor. [loop]
//
// It calls connect(2) before it registers the socket with epoll, because epoll reports a hang-up
// for a socket that was never connected. The state of the socket decides, not the event: SO_ERROR,
// and getpeername(2) if there is no error. It tries at most one address per turn, so that a long
// list does not delay the loop.
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
  // A socket can connect to itself if connect(2) chooses the destination port as the local port.
  // Each try gets another port, so several in a row mean that no other port is available.
  static constexpr int kMaxSelfConnects = 16;
  // While the queue of a Unix listener is full, connect(2) is retried after this time, which
  // doubles up to kMaxRetry.
  static constexpr Duration kFirstRetry = std::chrono::milliseconds(1);
  static constexpr Duration kMaxRetry = std::chrono::milliseconds(64);
  // If an event arrived but the socket is neither connected nor has an error, it is checked again
  // after kRecheck, at most kMaxRechecks times (one second in total).
  static constexpr Duration kRecheck = std::chrono::milliseconds(10);
  static constexpr int kMaxRechecks = 100;
  // A step for which there was no memory is repeated after this time.
  static constexpr Duration kMemoryPause = std::chrono::milliseconds(100);

  struct Options {
    Duration timeout{0};  // for all addresses together; zero: the kernel's limit
    std::optional<SocketAddress> bind_to{};
    StreamOptions stream{};  // the Connector sets only the buffer sizes
  };
  // The connected socket, CLOEXEC and NONBLOCK, or the error of the last address.
  using Done = std::move_only_function<void(Result<Fd>)>;

  Connector(EventLoop& loop, Options options) : loop_(loop), options_(options) {}
  ~Connector() { cancel(); }
  Connector(const Connector&) = delete;
  Connector& operator=(const Connector&) = delete;

  // Calls `done` once, from the loop and never inside this call, unless cancelled before. Each
  // address may use an equal share of the remaining time, so that one which does not answer leaves
  // time for the next. The share begins with the first connect(2) to the address. Must not be
  // called while running. In `done` the Connector may be started again or destroyed.
  void start(std::vector<SocketAddress> addresses, Done done);
  // Ends the attempt; `done` is not called.
  void cancel();
  bool running() const { return static_cast<bool>(done_); }
  // For `done` after a success: the file of a Unix path in bind_to. Its destructor removes the
  // file. If it is not taken, the next attempt removes the file.
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
  void watch();
  Result<void> bind();
  bool finish_if_decided();
  void timed_out();
  void connected(const SocketAddress& peer);
  void connected_to_itself();
  std::string doing() const;
  void address_failed(std::string_view step, Errno error);
  void address_failed(Error why);
  void no_memory();
  void release_socket();
  void report(Result<Fd> result);

  EventLoop& loop_;
  const Options options_;
  std::vector<SocketAddress> addresses_;
  std::size_t next_ = 0;   // the address being tried
  Done done_;              // null: not running
  Duration time_left_{0};  // of the timeout, at the beginning of this address
  Duration share_{0};      // of this address; zero: not begun
  TimePoint began_{};      // the beginning of the share
  Socket socket_;
  SocketFile file_;                 // of the Unix path in bind_to
  std::optional<Channel> channel_;  // of socket_
  TimerId step_timer_;              // the next try or recheck
  TimerId timeout_timer_;           // the end of the share of this address
  BackOff retry_{kFirstRetry, kMaxRetry};
  int self_connects_ = 0;  // in a row
  int rechecks_ = 0;       // of this socket
};

}  // namespace weir::internal
