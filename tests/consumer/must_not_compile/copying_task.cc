// A task may own what cannot be copied, so it is moved, not copied.
// refused: use of deleted function|call to deleted|no matching
#include <memory>

#include "weir/net/reactor/event_loop.h"

#ifdef WRONG
void use(weir::EventLoop& loop, std::unique_ptr<int>& owned) {
  loop.post([owned] { static_cast<void>(owned); });
}
#else
void use(weir::EventLoop& loop, std::unique_ptr<int>& owned) {
  loop.post([owned = std::move(owned)] { static_cast<void>(owned); });
}
#endif
