// Client: one socket of a worker, from connect(2) to its end. The modes derive from it and define
// the messages. [loop]
//
// It uses a Channel and a Socket, not a TcpClient: one epoll registration serves the connect and
// the connection, and bytes that the kernel did not take are not queued.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>

#include "weir/base/clock.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/socket/socket.h"

namespace weir::load {

class Worker;

inline constexpr std::uint64_t kNoQuota = std::numeric_limits<std::uint64_t>::max();

class Client : public IoHandler {
 public:
  Client(Worker& worker, std::size_t index) : worker_(worker), index_(index) {}
  virtual ~Client() = default;
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Starts to connect. EAGAIN: the queue of a Unix listener is full; call it again (the latency
  // counts from the first call). Any other result, also an immediate failure, is reported by
  // connected() or failed().
  virtual Errno connect();
  bool is_connected() const { return state_ == State::connected; }
  bool is_connecting() const { return state_ == State::connecting; }
  // connect() was not called yet, or its last call returned EAGAIN.
  bool is_idle() const { return state_ == State::idle; }
  std::size_t index() const { return index_; }
  // Closes the connection without a call of failed().
  virtual void close();

  // The run begins: exchanges messages until `quota` messages have been started.
  virtual void begin(std::uint64_t quota) = 0;
  // The measured part begins: `quota` more messages.
  virtual void set_quota(std::uint64_t quota) = 0;
  // Open loop: starts a message that was due at `scheduled`.
  virtual void request(TimePoint scheduled) = 0;
  // Starts no more messages; those in flight may still come back.
  virtual void finish() = 0;
  // At the end of the run: the number of messages without an answer, and the name of this error.
  virtual std::uint64_t unanswered() const = 0;
  virtual std::string unanswered_kind() const { return "no answer in time"; }

 protected:
  virtual void connected() = 0;
  // The connection was closed. The override counts the error `kind`.
  virtual void failed(const std::string& kind, bool was_connected) = 0;
  virtual void received(std::span<const std::byte> bytes) = 0;
  virtual void ended() { fail("closed by the server"); }
  virtual void writable() = 0;

  void fail(const std::string& kind);
  // For an override of connect() that connects immediately.
  void connected_at_once(TimePoint began);
  // This client has finished. The worker is notified once.
  void done();
  // The address to bind the socket to; nullopt: the kernel chooses.
  std::optional<SocketAddress> source() const;
  // Sends as many of the bytes as the kernel takes. False: the connection has failed.
  bool send(std::span<const std::byte> bytes, std::size_t& taken);

  Worker& worker_;
  const std::size_t index_;
  Socket socket_;
  std::optional<Channel> channel_;

 private:
  enum class State : std::uint8_t { idle, connecting, connected, closed };

  void on_ready(std::uint32_t events) final;
  void on_interest_refused(Errno error) final;
  SysResult<void> bind_to_source();
  void connect_ended(Errno error);
  void read();

  State state_ = State::idle;
  bool done_ = false;
  std::uint64_t attempts_ = 0;
  bool queue_was_full_ = false;
  TimePoint connect_began_;
};

}  // namespace weir::load
