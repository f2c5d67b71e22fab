// A loop is where it is: channels, timers and threads point to it.
// refused: use of deleted function|call to deleted
#include "weir/net/reactor/event_loop.h"

#ifdef WRONG
void use(weir::EventLoop& loop) { weir::EventLoop copy = loop; }
#else
void use(weir::EventLoop& loop) { loop.stop(); }
#endif
