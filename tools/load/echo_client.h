// EchoClient: one connection to a server that sends back what it receives. [loop]
//
// Closed loop: keeps `depth` messages in flight. Open loop: sends by schedule, whatever is in
// flight.
#pragma once

#include "load/client.h"
#include "load/start_times.h"

namespace weir::load {

class EchoClient final : public Client {
 public:
  using Client::Client;

  void begin(std::uint64_t quota) override;
  void set_quota(std::uint64_t quota) override;
  void request(TimePoint scheduled) override;
  void finish() override;
  std::uint64_t unanswered() const override { return in_flight_.size(); }

 private:
  void connected() override;
  void failed(const std::string& kind, bool was_connected) override;
  void received(std::span<const std::byte> bytes) override;
  void writable() override { write(); }

  void start_message(TimePoint when);
  void fill_up();
  void write();
  void check_bytes(std::span<const std::byte> bytes);
  void message_is_back(TimePoint now);
  void check_done();

  bool sending_ = false;
  bool wrong_ = false;       // the current answer has wrong bytes
  std::uint64_t quota_ = 0;  // messages still to be started
  StartTimes in_flight_;
  std::uint64_t unsent_ = 0;    // bytes of the messages in flight
  std::uint64_t sent_ = 0;      // bytes, in total
  std::uint64_t received_ = 0;  // bytes, in total
  std::size_t part_ = 0;        // bytes received of the oldest message
};

}  // namespace weir::load
