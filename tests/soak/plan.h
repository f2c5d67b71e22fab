// Plan: what happens to one connection of a soak. The seed and the number of the connection
// determine it, so that clients, proxy and servers know it without talking about it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "weir/base/clock.h"
#include "weir/net/buffer/buffer.h"

namespace weir::test::soak {

struct Settings {
  std::uint64_t seed = 1;
  double scale = 72;  // deadlines are divided by this
  // A deadline of an ordinary server, scaled.
  Duration scaled(Duration deadline) const {
    return Duration(static_cast<std::int64_t>(static_cast<double>(deadline.count()) / scale));
  }
};

enum class Chaos : std::uint8_t {
  none,
  fragments,   // the first bytes are forwarded one by one
  delay,       // the first bytes are forwarded later
  stop,        // reading stops for a time
  reset,       // both sides are reset
  half_close,  // the rest of one direction is cut off, with a FIN
};
inline constexpr std::size_t kChaosKinds = 6;
std::string_view name_of(Chaos chaos);

struct Plan {
  std::uint64_t size;  // bytes in each direction
  bool replaced;       // to the server that is handed over, otherwise to the steady one
  bool half_closes;    // the client ends its stream as soon as all is sent
  Chaos chaos;
  bool to_server;       // the direction that the chaos acts on
  std::uint64_t after;  // bytes before it
  Duration time;        // of delay and stop

  // Nothing in it entitles a side to end before all bytes have arrived.
  bool gentle() const {
    return chaos == Chaos::none || chaos == Chaos::fragments || chaos == Chaos::delay;
  }
};
Plan draw_plan(const Settings& settings, std::uint64_t number);

// The first bytes of each connection: its number.
inline constexpr std::size_t kHeader = 8;
std::string header(std::uint64_t number);
// Of the bytes received so far, which are left; nullopt: too few.
std::optional<std::uint64_t> number_in(const Buffer& in);

// The numbers of the flows of both directions.
inline std::uint64_t request_flow(std::uint64_t number) { return 2 * number; }
inline std::uint64_t answer_flow(std::uint64_t number) { return 2 * number + 1; }

}  // namespace weir::test::soak
