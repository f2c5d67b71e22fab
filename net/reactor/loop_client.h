// The interfaces by which a loop calls the objects of the floors above, besides IoHandler. Internal
// to weir. [loop]
//
// A client is in a queue of the loop through links inside it. So queueing needs no memory, and a
// client is in at most one queue of each kind.
#pragma once

#include "weir/base/requirements.h"

#include <cstdint>
#include <memory>

#include "weir/base/intrusive_list.h"

namespace weir::internal {

// Coarse time: see IdleWheel.
using Tick = std::uint32_t;

struct DeadlineTag;

// Has a coarse deadline in the loop's IdleWheel, and is freed in the reap phase of a turn. One link
// serves both: a client that waits to be reaped has no deadline.
class DeadlineClient : public ListHook<DeadlineTag> {
 public:
  // The deadline set with LoopCore::set_deadline() has passed. The client is not in the wheel now.
  virtual void on_deadline() = 0;
  // Phase 7 of a turn, after reap_later() was called: the client frees itself.
  virtual void on_reap() = 0;

 protected:
  ~DeadlineClient() = default;
};

// The link of a FlushList.
class FlushHook {
 private:
  friend class FlushList;
  FlushHook* next_ = nullptr;  // the last one points to itself; null: in no list
};

// Can be kept alive to the end of the turn by LoopCore::keep_until_reaped(), which needs no memory:
// destructors call it.
class Kept : public ListHook<struct KeptTag> {
 protected:
  Kept() = default;
  ~Kept() = default;

 private:
  friend class ReapList;
  std::shared_ptr<void> self_;
};

// Is also called in the flush phase. It derives from DeadlineClient because a second table of
// virtual functions would cost each connection eight bytes.
class FlushClient : public DeadlineClient, public FlushHook {
 public:
  // Phase 6 of the turn in which flush_later() was called.
  virtual void on_flush() = 0;

 protected:
  ~FlushClient() = default;
};

}  // namespace weir::internal
