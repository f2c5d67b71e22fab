// What the objects of the floors above are to their loop, besides handlers of readiness. Internal
// to weir. [loop]
//
// The places of a client are links inside it, so that taking one needs no memory, and a client has
// at most one of each kind.
#pragma once

#include "weir/base/requirements.h"

#include <cstdint>

#include "weir/base/intrusive_list.h"

namespace weir::internal {

// Coarse time: see IdleWheel.
using Tick = std::uint32_t;

struct DeadlineTag;

// Has a coarse deadline in the loop's IdleWheel, and an end in the turn's reap phase. One link
// serves both: a client that is to be reaped has no deadline any more.
class DeadlineClient : public ListHook<DeadlineTag> {
 public:
  // The deadline set with IdleWheel::schedule() has come; the client is out of the wheel.
  virtual void on_deadline() = 0;
  // Phase 7, after reap_later() was called: the client frees itself.
  virtual void on_reap() = 0;

 protected:
  ~DeadlineClient() = default;
};

// The link of a FlushList.
class FlushHook {
 private:
  friend class FlushList;
  FlushHook* next_ = nullptr;  // of the last one itself; null: in no list
};

// Has a place in the flush phase, too. Derived, not beside it: a second table of virtual functions
// would cost each connection eight bytes.
class FlushClient : public DeadlineClient, public FlushHook {
 public:
  // Phase 6 of the turn in which flush_later() was called.
  virtual void on_flush() = 0;

 protected:
  ~FlushClient() = default;
};

}  // namespace weir::internal
