#include "sim/scenario.h"

#include <chrono>
#include <memory>
#include <vector>

#include "sim/part.h"
#include "weir/net/sim/world.h"

namespace weir::test::simulation {

namespace {

using namespace std::chrono_literals;

// The virtual time in which a seed must have ended. It is below all deadlines of the options, so
// that no lost wake-up is repaired by one, and above what retries and back-offs add up to.
constexpr Duration kLongest = 60s;
constexpr Duration kPartition = 3s;

void run_parts(sim::World& world, const Plan& plan, Verdict& verdict) {
  std::vector<sim::Host*> hosts;
  hosts.reserve(plan.hosts);
  for (std::size_t i = 0; i < plan.hosts; ++i) {
    hosts.push_back(&world.host(fmt::format("host {}", i)));
  }
  std::vector<std::unique_ptr<Part>> parts;
  std::uint64_t number = 0;
  for (const PartPlan& part : plan.parts) {
    const Setting setting{
        .world = world, .hosts = hosts, .plan = part, .verdict = verdict, .number = ++number};
    parts.push_back(make_part(part.kind, setting));
  }
  const auto all_done = [&] {
    if (verdict.failed()) return true;
    for (const auto& part : parts) {
      if (!part->done()) return false;
    }
    return true;
  };
  if (plan.partition) {
    static_cast<void>(world.run_until(all_done, 1ms));
    world.partition(*hosts[0], *hosts[1]);
    static_cast<void>(world.run_until(all_done, kPartition));
    world.heal();
  }
  const bool ended = world.run_until(all_done, kLongest);
  verdict.expect(!world.spins(), "a loop spins");
  verdict.expect(ended, "no progress: {}", name_of(plan.parts.front().kind));
  for (std::size_t i = 0; ended && i < parts.size(); ++i) parts[i]->check();
}

}  // namespace

Outcome run_seed(std::uint64_t seed, const Limits& limits,
                 const std::function<void(const std::string&)>& trace) {
  const Plan plan = Plan::draw(seed, limits);
  Outcome outcome;
  if (plan.parts.empty()) return outcome;
  Verdict verdict;
  sim::World world(seed, plan.faults);
  world.trace(trace);
  run_parts(world, plan, verdict);
  if (!verdict.failed()) world.run_for(1s);  // what was under way arrives
  const std::size_t left = world.end();
  verdict.expect(left == 0, "{} descriptors stay open", left);
  outcome.failure = verdict.failure();
  outcome.calls = world.calls();
  outcome.digest = world.digest();
  outcome.elapsed = world.elapsed();
  return outcome;
}

Limits shrink(std::uint64_t seed) {
  Limits limits;
  const auto try_it = [&](const Limits& narrower) {
    if (run_seed(seed, narrower).failure.empty()) return;
    limits = narrower;
  };
  for (std::size_t i = 0; i < kPartKinds; ++i) {
    Limits narrower = limits;
    narrower.parts &= ~(1U << i);
    try_it(narrower);
  }
  for (std::size_t i = 0; i < kFaultKinds; ++i) {
    Limits narrower = limits;
    narrower.faults &= ~(1U << i);
    try_it(narrower);
  }
  for (std::size_t count = 4; count > 0; --count) {
    Limits narrower = limits;
    narrower.clients = count;
    try_it(narrower);
    narrower = limits;
    narrower.messages = count;
    try_it(narrower);
  }
  return limits;
}

}  // namespace weir::test::simulation
