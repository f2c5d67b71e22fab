// ChurnClient: connects, sends a message, takes the answer, closes; and again. [loop]
//
// Latency is from connect(2), in an open loop from the scheduled time, to the last byte of the
// answer, or to the server's end of file where the server is to close.
#pragma once

#include "load/client.h"
#include "load/start_times.h"

namespace weir::load {

class ChurnClient final : public Client {
 public:
  using Client::Client;

  void begin(std::uint64_t quota) override;
  void set_quota(std::uint64_t quota) override;
  void request(TimePoint scheduled) override;
  void finish() override;
  std::uint64_t unanswered() const override { return waiting_.size(); }
  std::string unanswered_kind() const override;

 private:
  void connected() override;
  void failed(const std::string& kind, bool was_connected) override;
  void received(std::span<const std::byte> bytes) override;
  void ended() override;
  void writable() override { write(); }

  // Connects for the oldest that waits; in a closed loop makes one up.
  void next();
  void next_after(Duration delay);
  void write();
  void exchange_done();
  bool whole_answer() const;
  bool server_closes() const;

  bool sending_ = false;
  bool busy_ = false;        // an exchange is under way, or the next one is set
  bool wrong_ = false;       // other bytes came back
  std::uint64_t quota_ = 0;  // exchanges still to be started
  StartTimes waiting_;       // the first is under way
  std::size_t sent_ = 0;     // bytes of this exchange
  std::size_t received_ = 0;
};

}  // namespace weir::load
