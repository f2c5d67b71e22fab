// EchoClient: one connection that keeps `depth` messages in flight and checks every byte that comes
// back. [loop]
//
// The stream's bytes are those of a pattern that is the same for all, entered at a place that
// differs from connection to connection, so that lost, moved and foreign bytes are found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "load/settings.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/socket/socket.h"

namespace weir::load {

class EchoWorker;

// Bytes that look random. slice() is contiguous although the pattern repeats.
class Pattern {
 public:
  static constexpr std::size_t kMaxSlice = 128 * 1024;
  Pattern();
  std::span<const std::byte> slice(std::uint64_t offset, std::size_t length) const {
    return std::span(bytes_).subspan(offset % kPeriod, length);
  }

 private:
  static constexpr std::size_t kPeriod = 65521;  // a prime: no message size falls into step with it
  std::vector<std::byte> bytes_;
};

class EchoClient final : public IoHandler {
 public:
  EchoClient(EchoWorker& worker, std::size_t index);

  // Begins to connect. EAGAIN: a Unix listener's queue is full; nothing has happened. All else is
  // told to the worker, also when it fails at once.
  Errno connect();
  // Sends the first messages.
  void begin();
  // What was sent is still to come back, but no more is sent.
  void finish();
  bool connected() const { return state_ == State::connected; }
  bool connecting() const { return state_ == State::connecting; }
  std::size_t in_flight() const { return in_flight_; }
  // Ends the connection; says nothing.
  void close();

 private:
  enum class State : std::uint8_t { idle, connecting, connected, closed };

  void on_ready(std::uint32_t events) override;
  void on_interest_refused(Errno error) override;
  void connect_ended(Errno error);
  void fill_up();
  void write();
  void read();
  bool accept_bytes(std::span<const std::byte> bytes);
  void fail(std::string kind);

  EchoWorker& worker_;
  const std::size_t index_;
  Socket socket_;
  std::optional<Channel> channel_;
  State state_ = State::idle;
  bool sending_ = false;
  std::size_t in_flight_ = 0;
  std::size_t oldest_ = 0;          // in started_
  std::vector<TimePoint> started_;  // a ring of `depth`, by message in flight
  std::uint64_t unsent_ = 0;        // bytes of the messages in flight
  std::uint64_t sent_ = 0;          // bytes, ever
  std::uint64_t received_ = 0;      // bytes, ever
  std::size_t part_ = 0;            // bytes of the oldest message that are back
};

}  // namespace weir::load
