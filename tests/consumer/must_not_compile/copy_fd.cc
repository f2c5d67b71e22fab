// Two owners of one descriptor would close it twice.
// refused: use of deleted function|call to deleted
#include "weir/base/fd.h"

#ifdef WRONG
weir::Fd use(weir::Fd& fd) { return fd; }
#else
weir::Fd use(weir::Fd& fd) { return std::move(fd); }
#endif
