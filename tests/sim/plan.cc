#include "sim/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "weir/net/sim/internal/random.h"

namespace weir::test::simulation {

namespace {

using namespace std::chrono_literals;
using internal::sim::Random;

constexpr std::array<std::string_view, kPartKinds> kPartNames{
    "echo",   "flood", "relay",    "broadcast", "file", "datagrams",
    "timers", "posts", "watchers", "silence",   "crowd"};
constexpr std::array<std::string_view, kFaultKinds> kFaultNames{
    "short_read", "short_write", "interrupted", "no_buffers", "accept",  "watch",
    "reset",      "false_event", "lost",        "duplicated", "shuffle", "partition"};

// Two thirds of the plans have this fault, from rare to frequent.
double rate(Random& random, double most) {
  const double drawn = static_cast<double>(random.below(1000)) / 1000 * most;
  return random.below(3) == 0 ? 0 : drawn;
}

std::string list(std::uint32_t bits, auto name, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    if ((bits >> i & 1U) == 0) continue;
    if (!text.empty()) text += ',';
    text += name(i);
  }
  return text.empty() ? "none" : text;
}

void limit_faults(Plan& plan, std::uint32_t bits) {
  sim::Faults& faults = plan.faults;
  const std::array<double*, 10> rates{&faults.short_read, &faults.short_write,  &faults.interrupted,
                                      &faults.no_buffers, &faults.accept_error, &faults.watch_error,
                                      &faults.reset,      &faults.false_event,  &faults.lost,
                                      &faults.duplicated};
  for (std::size_t i = 0; i < rates.size(); ++i) {
    if ((bits >> i & 1U) == 0) *rates[i] = 0;
  }
  if ((bits >> rates.size() & 1U) == 0) faults.shuffle_events = false;
  if ((bits >> (rates.size() + 1) & 1U) == 0) plan.partition = false;
}

sim::Faults draw_faults(Random& random) {
  sim::Faults faults;
  faults.short_read = rate(random, 0.5);
  faults.short_write = rate(random, 0.5);
  faults.interrupted = rate(random, 0.1);
  faults.no_buffers = rate(random, 0.02);
  faults.accept_error = rate(random, 0.2);
  faults.watch_error = rate(random, 0.02);
  faults.reset = rate(random, 0.02);
  faults.false_event = rate(random, 0.1);
  faults.lost = rate(random, 0.3);
  faults.duplicated = rate(random, 0.2);
  faults.shuffle_events = random.below(2) == 0;
  faults.max_latency =
      faults.min_latency + Duration(static_cast<std::int64_t>(random.below(2'000'000)));
  faults.call_time = Duration(static_cast<std::int64_t>(random.below(5000)));
  faults.send_buffer = std::size_t{512} << random.below(8);
  faults.receive_buffer = std::size_t{512} << random.below(8);
  faults.max_segment = std::size_t{100} << random.below(10);
  return faults;
}

}  // namespace

std::string_view name_of(PartKind kind) { return kPartNames[static_cast<std::size_t>(kind)]; }

std::string_view name_of_fault(std::size_t fault) { return kFaultNames[fault]; }

std::string Limits::options() const {
  const Limits none;
  std::string text;
  if (parts != none.parts) {
    text += " --parts " + list(
                              parts, [](std::size_t i) { return kPartNames[i]; }, kPartKinds);
  }
  if (faults != none.faults) {
    text += " --faults " + list(
                               faults, [](std::size_t i) { return kFaultNames[i]; }, kFaultKinds);
  }
  if (clients != none.clients) text += fmt::format(" --clients {}", clients);
  if (messages != none.messages) text += fmt::format(" --messages {}", messages);
  return text;
}

Plan Plan::draw(std::uint64_t seed, const Limits& limits) {
  Random random(seed * 0x9e3779b97f4a7c15U + 1);
  Plan plan{};
  plan.hosts = 1 + random.below(3);
  plan.faults = draw_faults(random);
  plan.partition = random.below(8) == 0 && plan.hosts > 1;
  const std::size_t count = 1 + random.below(3);
  for (std::size_t i = 0; i < count; ++i) {
    PartPlan part{};
    part.kind = static_cast<PartKind>(random.below(kPartKinds));
    part.clients = std::min(1 + random.below(4), limits.clients);
    part.messages = std::min(1 + random.below(8), limits.messages);
    part.largest = std::size_t{64} << random.below(8);
    if ((limits.parts >> static_cast<std::size_t>(part.kind) & 1U) != 0) plan.parts.push_back(part);
  }
  limit_faults(plan, limits.faults);
  return plan;
}

}  // namespace weir::test::simulation
