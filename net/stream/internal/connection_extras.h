// ConnectionExtras: what few connections have. An ordinary one has none of it, and asks nothing
// about it but whether there is any. [loop]
#pragma once

namespace weir::internal {

class Pump;

struct ConnectionExtras {
  Pump* pump = nullptr;  // it reads, and the connection's handler is its own; for good
};

}  // namespace weir::internal
