// Plan: what one seed of the simulation does: hosts, parts, traffic, faults. All of it is drawn
// from the seed first, and then reduced by Limits, so that a failing seed can be shrunk without
// drawing something else.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "weir/net/sim/faults.h"

namespace weir::test::simulation {

enum class PartKind : std::uint8_t {
  echo,
  flood,
  relay,
  broadcast,
  file,
  datagrams,
  timers,
  posts,
  watchers,
  silence,
  crowd,
};
inline constexpr std::size_t kPartKinds = 11;
std::string_view name_of(PartKind kind);

// Each fault of a plan has a number, by which it can be turned off.
inline constexpr std::size_t kFaultKinds = 12;
std::string_view name_of_fault(std::size_t fault);

struct Limits {
  std::uint32_t parts = (1U << kPartKinds) - 1;    // bits: kinds that take part
  std::uint32_t faults = (1U << kFaultKinds) - 1;  // bits: faults that happen
  std::size_t clients = std::numeric_limits<std::size_t>::max();
  std::size_t messages = std::numeric_limits<std::size_t>::max();

  // "--clients 1 --parts echo,relay": what differs from no limits at all.
  std::string options() const;
};

struct PartPlan {
  PartKind kind;
  std::size_t clients;
  std::size_t messages;
  std::size_t largest;  // bytes of a message
};

struct Plan {
  std::size_t hosts;
  std::vector<PartPlan> parts;
  sim::Faults faults;
  bool partition;  // two hosts are separated for a while

  static Plan draw(std::uint64_t seed, const Limits& limits);
};

}  // namespace weir::test::simulation
