// SourceNetwork: the local addresses to connect from: "127.0.0.0/8", or a single "127.0.0.9". An
// address has about 28,000 ports for one server; more connections need more addresses.
#pragma once

#include <cstdint>
#include <string_view>

#include "weir/base/result.h"
#include "weir/net/socket/socket_address.h"

namespace weir::load {

class SourceNetwork {
 public:
  static Result<SourceNetwork> parse(std::string_view text);

  // The address of the n-th connection, with port 0. Uses the addresses of the network in turn,
  // without the first and the last one.
  SocketAddress address(std::uint64_t n) const;

 private:
  SourceNetwork(std::uint32_t first, std::uint64_t count) : first_(first), count_(count) {}

  std::uint32_t first_;  // host order
  std::uint64_t count_;
};

}  // namespace weir::load
