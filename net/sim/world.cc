#include "weir/net/sim/world.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>
#include <utility>

#include "weir/base/check_format.h"
#include "weir/net/sim/internal/kernel.h"

namespace weir::sim {

namespace {

// The loops of a world read into a smaller block than usual: a world lives for milliseconds.
constexpr std::size_t kReceiveBlock = 64 * 1024;

// Servers of a process share things, such as the descriptor that is kept for EMFILE.
constinit std::atomic<bool> world_exists{false};

}  // namespace

class World::Impl {
 public:
  Impl(std::uint64_t seed, const Faults& faults) : kernel(seed, faults), use(&kernel) {}

  Host& host(std::string_view name);
  bool run(const std::function<bool()>& done, Duration limit);
  weir::internal::sim::Machine& machine() { return kernel.machine(); }
  // The kernel is replaced on that thread alone.
  void check_thread(const char* call) const {
    WEIR_CHECK(std::this_thread::get_id() == thread_,
               "sim::World::{} on a thread that is not that of its constructor", call);
  }

  weir::internal::sim::Kernel kernel;
  const weir::internal::sys::ScopedTable use;
  std::vector<std::unique_ptr<Host>> hosts;

 private:
  // The time at which something happens next; nullopt: nothing does.
  std::optional<TimePoint> next_time();
  // Those that have something to do now.
  void find_busy();

  const std::thread::id thread_ = std::this_thread::get_id();
  std::vector<Host*> busy_;
};

Host& World::Impl::host(std::string_view name) {
  check_thread("host()");
  const auto found = std::ranges::find(hosts, name, [](const auto& each) { return each->name(); });
  if (found != hosts.end()) return **found;
  const auto number = static_cast<int>(hosts.size());
  auto made = std::unique_ptr<Host>(new Host(std::string(name), number));
  EventLoop::Options options;
  options.receive_block = kReceiveBlock;
  options.stall_threshold = Duration::zero();  // virtual time passes only between calls
  kernel.begin_host(number);
  made->loop_ = std::make_unique<EventLoop>(options);
  kernel.end_host();
  return *hosts.emplace_back(std::move(made));
}

void World::Impl::find_busy() {
  busy_.clear();
  for (const auto& host : hosts) {
    const bool work = host->loop().max_wait() == Duration::zero();
    if (work || kernel.has_events(host->number_)) busy_.push_back(host.get());
  }
}

std::optional<TimePoint> World::Impl::next_time() {
  const TimePoint now = machine().wire.now();
  auto next = machine().wire.next();
  for (const auto& host : hosts) {
    const Duration wait = host->loop().max_wait();
    if (wait == Duration::max()) continue;
    const TimePoint at = saturating_add(now, wait);
    if (!next || at < *next) next = at;
  }
  return next;
}

bool World::Impl::run(const std::function<bool()>& done, Duration limit) {
  check_thread("run...()");
  const TimePoint end = saturating_add(machine().wire.now(), limit);
  while (!done()) {
    if (machine().wire.now() >= end || kernel.spins()) return false;
    find_busy();
    if (!busy_.empty()) {
      static_cast<void>(busy_[machine().random.below(busy_.size())]->loop().turn(Duration::zero()));
      continue;
    }
    const auto next = next_time();
    if (!next) return false;
    kernel.advance_to(std::min(*next, end));
  }
  return true;
}

World::World(std::uint64_t seed, const Faults& faults)
    : impl_(std::make_unique<Impl>(seed, faults)) {
  WEIR_CHECK(!world_exists.exchange(true), "a second sim::World: a process has one at a time");
}

World::~World() {
  impl_->check_thread("~World()");
  world_exists = false;
}

Host& World::host(std::string_view name) { return impl_->host(name); }

bool World::run_until(const std::function<bool()>& done, Duration limit) {
  return impl_->run(done, limit);
}

void World::run_for(Duration time) {
  const TimePoint until = saturating_add(impl_->machine().wire.now(), time);
  static_cast<void>(impl_->run([] { return false; }, time));
  if (!spins()) impl_->kernel.advance_to(until);
}

void World::run_until_quiet(Duration limit) {
  static_cast<void>(impl_->run([] { return false; }, limit));
}

Duration World::elapsed() const {
  return impl_->machine().wire.now() - weir::internal::sim::Wire::kStart;
}

void World::set_faults(const Faults& faults) { impl_->machine().faults = faults; }

const Faults& World::faults() const { return impl_->machine().faults; }

void World::partition(const Host& a, const Host& b) {
  impl_->machine().partitions.insert(std::minmax({a.number_, b.number_}));
}

void World::heal() { impl_->machine().partitions.clear(); }

std::uint64_t World::random(std::uint64_t limit) { return impl_->machine().random.below(limit); }

bool World::chance(double probability) { return impl_->machine().random.chance(probability); }

int World::open_file(std::string contents) { return impl_->kernel.open_file(std::move(contents)); }

bool World::spins() const { return impl_->kernel.spins(); }

std::size_t World::end() {
  impl_->check_thread("end()");
  impl_->hosts.clear();
  return impl_->kernel.open_descriptors();
}

std::uint64_t World::calls() const { return impl_->kernel.calls(); }

std::uint64_t World::digest() const { return impl_->kernel.digest(); }

void World::trace(std::function<void(const std::string&)> print) {
  impl_->kernel.trace(std::move(print));
}

}  // namespace weir::sim
