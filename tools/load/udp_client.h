// UdpClient: one connected datagram socket to a server that sends back what it receives. [loop]
//
// Each datagram carries a number, so that one that is lost, out of order or doubled is known.
// Closed loop: keeps `depth` datagrams in flight; one that is not back in time is lost, and gives
// its place to the next. Open loop: sends when told, whatever is in flight.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "load/client.h"
#include "load/sent_ring.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::load {

// What every datagram begins with: whose it is, and its number.
inline constexpr std::size_t kShortestDatagram = 16;
inline constexpr std::size_t kLongestDatagram = 65507;
// Of one socket. What a server that does not answer can make us keep in mind in an open loop; and a
// datagram is lost at the latest when this many were sent after it.
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
  // What is not back is lost, which is no error of the server's.
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
  void look_for_lost();
  void give_up_first();
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
