// UdpClient: one connected datagram socket for a server that echoes datagrams. [loop]
//
// Each datagram has a number, so that lost, reordered and duplicated ones are detected.
// Closed loop: keeps `depth` datagrams in flight; one that does not come back in time is lost and
// replaced by the next. Open loop: sends by schedule, whatever is in flight.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "load/client.h"
#include "load/sent_ring.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::load {

// Every datagram begins with the id of its sender and its number, of 8 bytes each.
inline constexpr std::size_t kShortestDatagram = 16;
inline constexpr std::size_t kLongestDatagram = 65507;
// For one socket: bounds the memory in an open loop if the server does not answer. A datagram
// counts as lost at the latest when this many have been sent after it.
inline constexpr std::uint64_t kMostAwaited = std::uint64_t{1} << 20;

class UdpClient final : public Client {
 public:
  using Client::Client;

  Errno connect() override;
  void close() override;
  void begin(std::uint64_t quota) override;
  void set_quota(std::uint64_t quota) override;
  void request(TimePoint scheduled) override;
  void finish() override;
  // A datagram that did not come back is lost, which is not an error.
  std::uint64_t unanswered() const override { return 0; }

 private:
  void connected() override;
  void failed(const std::string& kind, bool was_connected) override;
  void received(std::span<const std::byte>) override {}
  void writable() override {}

  void come_back(std::span<const Datagram> batch);
  void take(const Datagram& in, TimePoint now);
  bool is_ours(std::span<const std::byte> bytes, std::uint64_t number);
  bool send_one(TimePoint when);
  void fill_up();
  void expire_lost();
  void drop_first();
  void check_done();
  std::uint64_t cookie() const;

  std::optional<UdpSocket> udp_;
  bool sending_ = false;
  std::uint64_t quota_ = 0;  // messages still to be started
  SentRing sent_{kMostAwaited};
  std::uint64_t highest_ = 0;  // number that came back, plus one
  TimerId timer_;
};

}  // namespace weir::load
