// Client: one socket of a worker's, from connect(2) to its end. What is said on it is for the modes
// that derive from it. [loop]
//
// A raw Channel and Socket, not a TcpClient: one epoll registration serves the connect and the
// connection, and nothing is queued that the kernel did not take.
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

  // Begins to connect. EAGAIN: a Unix listener's queue is full; to be called again, and the time
  // until then counts. All else is told by connected() or failed(), also what fails at once.
  virtual Errno connect();
  bool is_connected() const { return state_ == State::connected; }
  bool is_connecting() const { return state_ == State::connecting; }
  // connect() was not called yet, or the last call of it gave EAGAIN.
  bool is_idle() const { return state_ == State::idle; }
  std::size_t index() const { return index_; }
  // Ends the connection; says nothing.
  virtual void close();

  // The run begins: what the mode does, until so many messages have been started.
  virtual void begin(std::uint64_t quota) = 0;
  // The measured part begins: so many messages more.
  virtual void set_quota(std::uint64_t quota) = 0;
  // Open loop: a message that is due at `scheduled`, which has come.
  virtual void request(TimePoint scheduled) = 0;
  // No message is started any more; what is in flight may still come back.
  virtual void finish() = 0;
  // Messages that will never be answered, now that the time is over, and what to call that.
  virtual std::uint64_t unanswered() const = 0;
  virtual std::string unanswered_kind() const { return "no answer in time"; }

 protected:
  virtual void connected() = 0;
  // Closed, and `kind` is yet to be counted.
  virtual void failed(const std::string& kind, bool was_connected) = 0;
  virtual void received(std::span<const std::byte> bytes) = 0;
  virtual void ended() { fail("closed by the server"); }
  virtual void writable() = 0;

  void fail(const std::string& kind);
  // For a connect() of one's own that needs no time.
  void connected_at_once(TimePoint began);
  // Nothing is to be expected of this client any more. Told once.
  void done();
  // What its socket is to be bound to; nothing: the kernel chooses.
  std::optional<SocketAddress> source() const;
  // Sends what the kernel takes of it. False: the connection has failed.
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
