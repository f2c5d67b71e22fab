// LoopIo: what all connections of one loop share for moving bytes: loop.local<LoopIo>(). Internal
// to the tcp floor. [loop]
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "weir/base/aligned_bytes.h"
#include "weir/net/buffer/output_queue.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/stream/internal/connection_observer.h"

namespace weir::internal {

class Connection;

// How many steps of handshakes are made in one turn: each may compute for a millisecond.
class HandshakeSteps {
 public:
  static constexpr int kMostPerTurn = 8;

  // turn: LoopCore::turns().
  bool may_step(std::uint64_t turn) {
    if (turn != turn_) {
      turn_ = turn;
      steps_ = 0;
    }
    return steps_++ < kMostPerTurn;
  }

 private:
  std::uint64_t turn_ = 0;
  int steps_ = 0;
};

struct LoopIo {
  // Replies up to this much are gathered while a handler runs and leave in one system call.
  static constexpr std::size_t kGatherBlock = 64 * 1024;
  // Emptied queues kept for the next connection that needs one: a broadcast to this many allocates
  // nothing in the steady state.
  static constexpr std::size_t kSpareQueues = 256;

  explicit LoopIo(EventLoop& loop) : receive_block(core_of(loop).receive_block()) {}

  // The bytes gathered, which are the caller's to write now.
  std::span<const std::byte> take_gathered() { return {gather.get(), std::exchange(gathered, 0)}; }

  std::unique_ptr<OutputQueue> take_queue() {
    if (spare_queues.empty()) return std::make_unique<OutputQueue>();
    auto queue = std::move(spare_queues.back());
    spare_queues.pop_back();
    return queue;
  }
  void give_back(std::unique_ptr<OutputQueue> queue) {
    if (spare_queues.size() < kSpareQueues) spare_queues.push_back(std::move(queue));
  }

  // What all read into; lent to the handler's Buffer.
  const std::span<std::byte> receive_block;

  // The connection whose handler is running, if its output may be gathered: nothing of it is
  // queued.
  Connection* corked = nullptr;
  std::size_t gathered = 0;      // bytes of `corked` in `gather`
  std::size_t gather_limit = 0;  // up to which a send() need not look at anything else
  const AlignedBytes gather = make_aligned_bytes(kGatherBlock);

  // The connection whose handler is running, corked or not.
  Connection* running = nullptr;

  // The connection that reading() told last that its share of the turn is spent.
  const Connection* out_of_share = nullptr;

  HandshakeSteps handshakes;

  // Overflow::pause: which producers wait for which slow connection, by the ids of both, the slow
  // one's first.
  std::map<std::pair<std::uint64_t, std::uint64_t>, ConnectionRef> held_producers;

  // Those of connections whose observed_ is set. They are few and rarely called.
  using Observers = std::unordered_multimap<const Connection*, std::shared_ptr<ConnectionObserver>>;
  Observers observers;

  std::vector<std::unique_ptr<OutputQueue>> spare_queues;
};

}  // namespace weir::internal
