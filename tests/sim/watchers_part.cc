// Channels on socket pairs: none gets the event of another one, although their descriptors are
// closed and opened all the time, and none misses its own.
#include <algorithm>
#include <array>
#include <chrono>
#include <deque>

#include "sim/part.h"
#include "support/flow.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/sys/sys.h"

namespace weir::test::simulation {
namespace {

namespace sys = internal::sys;

class Watchers final : public Part {
 public:
  explicit Watchers(Setting setting) : setting_(std::move(setting)), loop_(setting_.any_loop()) {
    const std::size_t count = 2 + setting_.plan.clients;
    for (std::size_t i = 0; i < count; ++i) open(watched_.emplace_back(*this));
    left_ = 8 * setting_.plan.messages;
    timer_ = loop_.run_every(std::chrono::milliseconds(1), [this] { act(); });
  }

  ~Watchers() override { loop_.cancel(timer_); }

  bool done() override {
    return left_ == 0 &&
           std::ranges::all_of(watched_, [](const Watched& each) { return each.flow.complete(); });
  }
  void check() override {}

 private:
  static constexpr std::size_t kMostBytes = 200;  // of a write; the smallest buffer takes them
  static constexpr int kMostTries = 200;          // of a write, against faults

  // The same object again and again, each time with a new pair and a new channel.
  struct Watched final : IoHandler {
    explicit Watched(Watchers& owner) : part(owner) {}
    void on_ready(std::uint32_t) override { part.take(*this); }
    void on_interest_refused(Errno error) override {
      part.setting_.verdict.expect(part.setting_.world.faults().watch_error > 0,
                                   "watchers: interest refused: {}", error.message());
      refused = true;
    }

    Watchers& part;
    sys::SocketPair pair;              // the first end is read
    std::unique_ptr<Channel> channel;  // destroyed before the pair
    Flow flow{0};
    bool refused = false;
  };

  void open(Watched& watched) {
    watched.channel.reset();
    watched.pair = {};
    auto pair = sys::socket_pair();
    setting_.verdict.expect(pair.has_value(), "watchers: no socket pair");
    if (!pair) return;
    watched.pair = std::move(*pair);
    watched.flow = Flow(setting_.number * 1000 + ++opened_);
    const Trigger trigger = setting_.world.chance(0.5) ? Trigger::edge : Trigger::level;
    watched.channel = std::make_unique<Channel>(loop_, watched.pair.first.get(), watched, trigger);
    watched.channel->set_reading(true);
  }

  Watched& any() { return watched_[setting_.world.random(watched_.size())]; }

  // Writes to several, so that they are ready in one turn.
  void act() {
    for (Watched& watched : watched_) {
      if (std::exchange(watched.refused, false)) watched.channel->set_reading(false);
      watched.channel->set_reading(true);
    }
    for (std::size_t i = setting_.world.random(4); left_ > 0 && i > 0; --i, --left_) write(any());
  }

  void write(Watched& watched) {
    if (!watched.flow.complete()) return;  // what comes next shows a lost edge
    const std::string bytes = watched.flow.next(1 + setting_.world.random(kMostBytes));
    std::string_view rest = bytes;
    for (int i = 0; i < kMostTries && !rest.empty(); ++i) {
      const auto sent = sys::send(watched.pair.second.get(), std::as_bytes(std::span(rest)));
      if (sent) rest.remove_prefix(*sent);
    }
    setting_.verdict.expect(rest.empty(), "watchers: a socket did not take {} bytes", bytes.size());
  }

  void take(Watched& watched) {
    Verdict& verdict = setting_.verdict;
    verdict.expect(!watched.flow.complete() || setting_.world.faults().false_event > 0,
                   "watchers: an event for a socket that has nothing to read");
    std::array<std::byte, kMostBytes> bytes;
    while (const auto got = sys::recv(watched.pair.first.get(), bytes)) {
      watched.flow.take({reinterpret_cast<const char*>(bytes.data()), *got});
    }
    verdict.expect(watched.flow.complete(), "watchers: {} of {} bytes could be read",
                   watched.flow.taken(), watched.flow.made());
    if (setting_.world.chance(0.3)) open(any());
    if (setting_.world.chance(0.2)) any().channel->set_reading(false);
  }

  Setting setting_;
  EventLoop& loop_;
  std::deque<Watched> watched_;  // their addresses stay
  TimerId timer_;
  std::size_t left_ = 0;
  std::uint64_t opened_ = 0;
};

}  // namespace

std::unique_ptr<Part> make_watchers(const Setting& setting) {
  return std::make_unique<Watchers>(setting);
}

}  // namespace weir::test::simulation
