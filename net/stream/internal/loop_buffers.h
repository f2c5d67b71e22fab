// LoopIo: the buffers and bookkeeping that all connections of one loop share for reading and
// writing: loop.local<LoopIo>(). Internal. [loop]
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

// Limits the steps of handshakes in one turn, because each may compute for a millisecond.
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
  // The most that is gathered while a handler runs, to be written with one system call.
  static constexpr std::size_t kGatherBlock = 64 * 1024;
  // Emptied queues kept for the next connection that needs one: a broadcast to this many allocates
  // nothing in the steady state.
  static constexpr std::size_t kSpareQueues = 256;

  explicit LoopIo(EventLoop& loop) : receive_block(core_of(loop).receive_block()) {}

  // Returns the gathered bytes, which the caller must write or queue now.
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

  // All connections read into it. It is lent to the handler's Buffer.
  const std::span<std::byte> receive_block;

  // The connection whose handler is running, if its output may be gathered because none is queued.
  Connection* corked = nullptr;
  std::size_t gathered = 0;      // bytes of `corked` in `gather`
  std::size_t gather_limit = 0;  // a send() below it needs no other check
  const AlignedBytes gather = make_aligned_bytes(kGatherBlock);

  // The connection whose handler is running, corked or not.
  Connection* running = nullptr;

  // The last connection for which reading() returned false because its share of the turn is spent.
  const Connection* out_of_share = nullptr;

  HandshakeSteps handshakes;

  // Overflow::pause: the producers that wait for a slow connection. Key: the id of the slow one,
  // then that of the producer.
  std::map<std::pair<std::uint64_t, std::uint64_t>, ConnectionRef> held_producers;

  // The observers of connections whose observed_ is set. They are few and rarely called.
  using Observers = std::unordered_multimap<const Connection*, std::shared_ptr<ConnectionObserver>>;
  Observers observers;

  std::vector<std::unique_ptr<OutputQueue>> spare_queues;
};

}  // namespace weir::internal
