// Part: a program that runs in a simulated world, with the checks of what it must and must not do.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sim/plan.h"
#include "support/flow.h"
#include "weir/net/sim/world.h"
#include "weir/net/stream/connection_handler.h"

namespace weir::test::simulation {

// The first thing that went wrong.
class Verdict {
 public:
  template <typename... Args>
  void expect(bool good, fmt::format_string<Args...> text, Args&&... args) {
    if (!good && failure_.empty()) failure_ = fmt::format(text, std::forward<Args>(args)...);
  }
  bool failed() const { return !failure_.empty(); }
  const std::string& failure() const { return failure_; }

 private:
  std::string failure_;
};

// How often a connection was opened and closed, and why.
class Lifecycle {
 public:
  void opened(Verdict& verdict, std::string_view who);
  // A close that a deadline made is a failure: no peer of a simulation is silent for so long.
  void closed(Verdict& verdict, std::string_view who, CloseReason reason);
  void failed_to_connect() { done_ = true; }

  bool was_opened() const { return opens_ > 0; }
  bool is_open() const { return opens_ > closes_; }
  bool done() const { return done_; }
  // It ended because of a fault.
  bool faulty() const { return faulty_; }
  CloseReason::Kind reason() const { return reason_; }

 private:
  int opens_ = 0;
  int closes_ = 0;
  bool done_ = false;
  bool faulty_ = false;
  CloseReason::Kind reason_ = CloseReason::Kind::local_close;
};

struct Setting {
  sim::World& world;
  std::vector<sim::Host*> hosts;
  const PartPlan& plan;
  Verdict& verdict;
  std::uint64_t number;  // of the part; makes its ports and flows differ

  EventLoop& any_loop() { return hosts[world.random(hosts.size())]->loop(); }
  std::size_t size() { return 1 + world.random(plan.largest); }
  // An address to listen on: IPv4, IPv6 or Unix.
  std::string address();
};

class Part {
 public:
  virtual ~Part() = default;
  // Everything that it began has ended.
  virtual bool done() = 0;
  // After that.
  virtual void check() = 0;
};

std::unique_ptr<Part> make_part(PartKind kind, const Setting& setting);

// Of each file.
std::unique_ptr<Part> make_echo(const Setting& setting);
std::unique_ptr<Part> make_flood(const Setting& setting);
std::unique_ptr<Part> make_relay(const Setting& setting);
std::unique_ptr<Part> make_broadcast(const Setting& setting);
std::unique_ptr<Part> make_file(const Setting& setting);
std::unique_ptr<Part> make_datagrams(const Setting& setting);
std::unique_ptr<Part> make_timers(const Setting& setting);
std::unique_ptr<Part> make_posts(const Setting& setting);
std::unique_ptr<Part> make_watchers(const Setting& setting);
std::unique_ptr<Part> make_silence(const Setting& setting);
std::unique_ptr<Part> make_crowd(const Setting& setting);

}  // namespace weir::test::simulation
