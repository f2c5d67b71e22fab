#include "soak/plan.h"

#include <array>
#include <bit>
#include <chrono>
#include <cstring>
#include <random>

namespace weir::test::soak {

std::string_view name_of(Chaos chaos) {
  static constexpr std::array<std::string_view, kChaosKinds> kNames{
      "none", "fragments", "delay", "stop", "reset", "half-close"};
  return kNames[static_cast<std::size_t>(chaos)];
}

Plan draw_plan(const Settings& settings, std::uint64_t number) {
  using namespace std::chrono_literals;
  std::minstd_rand random(
      static_cast<std::uint32_t>(settings.seed * 7919 + number * 104729 + (number >> 20)));
  random.discard(2);  // the first numbers follow the seed closely
  const auto below = [&](std::uint64_t bound) { return std::uint64_t{random()} % bound; };
  // One in 256 is larger than the buffers of the sockets on its way.
  const std::uint64_t size =
      below(256) == 0 ? 512 * 1024 : 1 + below(std::uint64_t{1} << below(15));
  Plan plan{.size = size,
            .replaced = below(2) == 0,
            .half_closes = below(2) == 0,
            .chaos = Chaos::none,
            .to_server = below(2) == 0,
            .after = below(size),
            .time = {}};
  if (below(2) == 0) plan.chaos = static_cast<Chaos>(below(kChaosKinds));
  if (plan.chaos == Chaos::delay) plan.time = settings.scaled(1s + below(1000) * 1ms);
  // Up to somewhat more than the longest deadline of a peer.
  if (plan.chaos == Chaos::stop) plan.time = settings.scaled(1s + below(75) * 1s);
  return plan;
}

std::string header(std::uint64_t number) {
  return std::string(std::bit_cast<std::array<char, kHeader>>(number).data(), kHeader);
}

std::optional<std::uint64_t> number_in(const Buffer& in) {
  if (in.size() < kHeader) return std::nullopt;
  std::uint64_t number = 0;
  std::memcpy(&number, in.view().data(), kHeader);
  return number;
}

}  // namespace weir::test::soak
