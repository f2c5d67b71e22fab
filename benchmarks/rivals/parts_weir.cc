// weir's timers and posts, with the public functions of the loop and default options.
#include <chrono>
#include <memory>

#include "rivals/parts.h"
#include "weir/net/reactor/event_loop.h"

namespace parts {
namespace {

// run_at() takes a time from the caller; run_after() reads the clock.
enum class By : std::uint8_t { time, clock };

template <By by>
class WeirTimers final : public Timers {
 public:
  explicit WeirTimers(std::size_t places) : ids_(places) {}

  void set(std::span<const Place> places) override {
    for (const Place place : places) {
      if constexpr (by == By::time) {
        when_ += std::chrono::microseconds(1);
        ids_[place] = loop_.run_at(when_, [this] { ++ran_; });
      } else {
        ids_[place] = loop_.run_after(kTimeout, [this] { ++ran_; });
      }
    }
  }
  std::uint64_t cancel(std::span<const Place> places) override {
    std::uint64_t were_set = 0;
    for (const Place place : places) were_set += loop_.cancel(ids_[place]);
    return were_set;
  }

 private:
  weir::EventLoop loop_;
  std::vector<weir::TimerId> ids_;
  weir::TimePoint when_ = loop_.now() + kTimeout;
};

class WeirLoop final : public Loop {
 public:
  void run() override { loop_.run(); }
  void post(Posted first, std::uint32_t count) override {
    for (; count > 0; --count, ++first.number) loop_.post(first);
  }
  void stop() override { loop_.stop(); }

 private:
  weir::EventLoop loop_;
};

}  // namespace

void add_weir(Catalog& catalog) {
  catalog.versions.emplace_back("weir " PARTS_WEIR_VERSION);
  catalog.timers.push_back({"weir", "EventLoop::run_at(), cancel()", [](std::size_t places) {
                              return std::make_unique<WeirTimers<By::time>>(places);
                            }});
  catalog.timers.push_back(
      {"weir, by the clock", "EventLoop::run_after(), which reads the clock, cancel()",
       [](std::size_t places) { return std::make_unique<WeirTimers<By::clock>>(places); }});
  catalog.posts.push_back(
      {"weir", "EventLoop::post()", [] { return std::make_unique<WeirLoop>(); }});
}

}  // namespace parts
