#include "weir/net/stream/internal/connection_limits.h"

#include <fmt/format.h>

namespace weir::internal {

Result<void> check_longest_message(const ConnectionHandler& handler,
                                   const ConnectionLimits& limits) {
  const std::uint64_t longest = handler.longest_message();
  if (longest <= limits.max_input) return {};
  return std::unexpected(Error(
      fmt::format("the handler's longest message takes {} bytes (a codec's max_frame plus its "
                  "framing), more than max_input ({}): it would never be complete",
                  longest, limits.max_input)));
}

}  // namespace weir::internal
