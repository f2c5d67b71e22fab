// World: a simulated network and kernel under the loops of this thread, in virtual time. A seed
// determines everything that is random in it, so a failure can be repeated. See docs/simulation.md.
//
//   weir::sim::World world(seed);
//   weir::sim::Host& host = world.host("server");
//   weir::TcpServer server(host.loop(), ...);         // any program of weir, unchanged
//   ...
//   EXPECT_TRUE(world.run_until([&] { return ...; }));
//
// All hosts share the addresses 127.0.0.1, ::1 and unix:@name, as processes of one machine do. TCP,
// UDP and Unix stream sockets with abstract names, sendfile, splice and all of epoll are simulated;
// threads, signals and files are not: a LoopPool cannot start, so use one host for each loop. A
// process has at most one World at a time, used on the thread that constructed it (CHECK).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "weir/base/clock.h"
#include "weir/base/export.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/sim/faults.h"

namespace weir {
namespace WEIR_EXPORT sim {

// A machine with one loop.
class Host {
 public:
  const std::string& name() const { return name_; }
  EventLoop& loop() { return *loop_; }

 private:
  friend class World;
  Host(std::string name, int number) : name_(std::move(name)), number_(number) {}

  const std::string name_;
  const int number_;
  std::unique_ptr<EventLoop> loop_;
};

class World {
 public:
  // Every system call of weir on this thread goes to the simulation until ~World().
  explicit World(std::uint64_t seed, const Faults& faults = {});
  // Destroy servers, clients and everything else that is on the loops first.
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // The host with this name, which the first call creates.
  Host& host(std::string_view name);

  // Runs turns of the loops, in an order that the seed determines, until `done` returns true.
  // False: `limit` of virtual time has passed, or nothing can happen any more, or a loop spins (see
  // spins()). `done` is called before each turn. An exception from a turn leaves this function.
  // Runs the loops of hosts; a loop that the program constructed itself does not run.
  [[nodiscard]] bool run_until(const std::function<bool()>& done,
                               Duration limit = std::chrono::minutes(10));
  // Runs until this time has passed, or a loop spins.
  void run_for(Duration time);
  // Runs until nothing can happen any more, at most for `limit`.
  void run_until_quiet(Duration limit = std::chrono::minutes(10));
  // The virtual time since the start.
  Duration elapsed() const;

  // From now on.
  void set_faults(const Faults& faults);
  const Faults& faults() const;
  // No packets pass between these hosts until heal(); those under way are delayed, datagrams lost.
  void partition(const Host& a, const Host& b);
  void heal();

  // A number from 0 to limit - 1 of the seed, for decisions of the test.
  std::uint64_t random(std::uint64_t limit);
  // True with this probability.
  bool chance(double probability);
  // A descriptor of a file with these bytes, for TcpConnection::send_file.
  int open_file(std::string contents);

  // True if a loop was woken 1000 times in a row without doing anything about it, or ran a million
  // turns without a system call that succeeded and without sleeping (a task that posts itself).
  bool spins() const;
  // Destroys the hosts with their loops, and returns the number of descriptors that are still open:
  // leaks of the program. Everything that is on the loops must have been destroyed.
  std::size_t end();
  std::uint64_t calls() const;
  // Two runs with the same digest made the same system calls at the same virtual times, with the
  // same results.
  std::uint64_t digest() const;
  // Called with a line for each system call, until ~World(): its virtual time, name, descriptor and
  // result.
  void trace(std::function<void(const std::string&)> print);

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace sim
}  // namespace weir
