// Crowd: exchanges the progress of a broadcast between its sender and its receivers, which are on
// several loops.
//
// A receiver reports its progress to its part (one for each loop). When all receivers of a part
// have one more message, the part posts that to the sender's loop. The sender posts the number of
// messages to the parts when it has sent all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/loop_pool.h"

namespace weir::load {

class BroadcastReceiver;
class BroadcastSender;
class Crowd;

// The receivers of one loop. [loop]
class CrowdPart {
 public:
  static constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max();

  CrowdPart(Crowd& crowd, std::size_t index, EventLoop& loop)
      : crowd_(crowd), index_(index), loop_(loop) {}

  EventLoop& loop() { return loop_; }
  void add(BroadcastReceiver& receiver) { receivers_.push_back(&receiver); }
  // The run begins; each receiver calls it.
  void begin();
  // A receiver that had `before` messages now has more, or is closed.
  void changed(std::uint64_t before);
  void all_sent(std::uint64_t count);
  std::uint64_t last() const { return last_; }

 private:
  void find_slowest();
  void end_if_complete();

  Crowd& crowd_;
  const std::size_t index_;
  EventLoop& loop_;
  std::vector<BroadcastReceiver*> receivers_;
  bool begun_ = false;
  std::uint64_t everyone_has_ = 0;  // messages that all open receivers have
  std::size_t slowest_ = 0;         // receivers that have no more than everyone_has_
  std::uint64_t last_ = kAll;       // total number of messages; kAll: not known yet
};

class Crowd {
 public:
  explicit Crowd(LoopPool& pool);

  CrowdPart& part(std::size_t index) { return *parts_[index % parts_.size()]; }
  std::size_t size() const { return parts_.size(); }
  void set_sender(BroadcastSender& sender) { sender_ = &sender; }
  // [any]
  void notify_sender(std::size_t part, std::uint64_t everyone_has);
  void notify_all_sent(std::uint64_t count);

 private:
  std::vector<std::unique_ptr<CrowdPart>> parts_;
  BroadcastSender* sender_ = nullptr;  // on the loop of part 0; set before the run
};

}  // namespace weir::load
