// ChurnClient: connects, sends a message, receives the answer, closes, and repeats. [loop]
//
// The latency counts from connect(2) (open loop: from the scheduled time) to the last byte of the
// answer or, if the server closes, to its end of file.
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

  // Connects for the oldest waiting exchange; a closed loop starts a new one.
  void next();
  void next_after(Duration delay);
  void write();
  void exchange_done();
  bool whole_answer() const;
  bool server_closes() const;

  bool sending_ = false;
  bool busy_ = false;        // an exchange is in progress, or the next one is scheduled
  bool wrong_ = false;       // the answer has wrong bytes
  std::uint64_t quota_ = 0;  // exchanges still to be started
  StartTimes waiting_;       // the first is in progress
  std::size_t sent_ = 0;     // bytes of this exchange
  std::size_t received_ = 0;
};

}  // namespace weir::load
