// The clients of a server that sends each message of one client to all: one BroadcastSender and
// many BroadcastReceivers. [loop]
//
// A message is a line of `size` bytes: its number and the time at which it was sent (or due), with
// 16 hexadecimal digits each, and letters that depend on the number. Between the two numbers is a
// `+` if the message is measured. In `chat` mode a client first sends a nickname, and each received
// line begins with "NICK: ".
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "load/client.h"
#include "load/crowd.h"

namespace weir::load {

// The shortest message, and the longest message of `chat`, in bytes.
inline constexpr std::size_t kShortestBroadcast = 35;
inline constexpr std::size_t kLongestChatLine = 4096;

class BroadcastClient : public Client {
 public:
  BroadcastClient(Worker& worker, std::size_t index, Crowd& crowd)
      : Client(worker, index), crowd_(crowd) {}

 protected:
  void connected() override;
  void received(std::span<const std::byte> bytes) override;
  void failed(const std::string& kind, bool was_connected) override;
  void writable() override { write(); }
  // Handles a received line. False: the connection is now closed.
  virtual void line(std::string_view text) = 0;
  virtual void can_begin() = 0;

  bool chat() const;
  void welcome_line(std::string_view text);
  void write();

  Crowd& crowd_;
  bool welcome_ = false;  // chat: the server accepted the nickname
  bool ready_ = false;    // the worker was notified
  std::string unsent_;
  std::size_t unsent_from_ = 0;

 private:
  std::string unfinished_;  // the beginning of a line
};

class BroadcastSender final : public BroadcastClient {
 public:
  BroadcastSender(Worker& worker, std::size_t index, Crowd& crowd);

  void begin(std::uint64_t quota) override;
  void set_quota(std::uint64_t quota) override;
  void request(TimePoint scheduled) override;
  void finish() override;
  std::uint64_t unanswered() const override { return 0; }
  // All receivers of this part have `everyone_has` messages.
  void progress(std::size_t part, std::uint64_t everyone_has);

 private:
  void line(std::string_view text) override;
  void can_begin() override;
  void failed(const std::string& kind, bool was_connected) override;
  void probe();
  void put_message(TimePoint when);
  void fill_up();
  void check_end();

  bool probing_ = false;
  bool sending_ = false;
  bool ended_ = false;
  std::uint64_t quota_ = 0;
  std::uint64_t number_ = 0;          // of the next message
  std::vector<std::uint64_t> parts_;  // for each part: everyone_has
};

class BroadcastReceiver final : public BroadcastClient {
 public:
  BroadcastReceiver(Worker& worker, std::size_t index, Crowd& crowd);

  void begin(std::uint64_t quota) override;
  void set_quota(std::uint64_t) override {}
  void request(TimePoint) override {}
  void finish() override;
  std::uint64_t unanswered() const override;
  std::string unanswered_kind() const override;

  // From now on the receiver must get all messages.
  bool joined() const { return joined_ && is_connected(); }
  std::uint64_t has() const { return has_; }
  void all_received() { done(); }

 private:
  void line(std::string_view text) override;
  void can_begin() override;
  void failed(const std::string& kind, bool was_connected) override;
  void message(std::string_view text);
  void count_in(std::uint64_t number);

  CrowdPart& part_;
  bool joined_ = false;
  bool numbered_ = false;  // has_ is known
  std::uint64_t has_ = 0;  // the number of the next message
};

}  // namespace weir::load
