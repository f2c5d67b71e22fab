// A weir loop inside a libuv loop.
#include <uv.h>

#include <chrono>
#include <cstdint>
#include <optional>

#include "embedded/embedded_cases.h"
#include "in_libuv/loop_handles.h"

namespace weir::test {
namespace {

class LibuvHost {
 public:
  explicit LibuvHost(EventLoop& loop) {
    uv_loop_init(&host_);
    uv_timer_init(&host_, &timer_);
    timer_.data = this;
    handles_.emplace(loop, host_, [this] { stopped = true; });
  }
  ~LibuvHost() {
    uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr);
    handles_.reset();
    EXPECT_EQ(uv_loop_close(&host_), 0);
  }
  LibuvHost(const LibuvHost&) = delete;
  LibuvHost& operator=(const LibuvHost&) = delete;

  void set_tick(Duration every) {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(every).count();
    const auto period = static_cast<std::uint64_t>(ms);
    uv_timer_start(
        &timer_, [](uv_timer_t* timer) { ++static_cast<LibuvHost*>(timer->data)->ticks; }, period,
        period);
  }
  void iterate() { uv_run(&host_, UV_RUN_ONCE); }

  int ticks = 0;
  bool stopped = false;

 private:
  uv_loop_t host_{};
  uv_timer_t timer_{};
  std::optional<sample::LoopHandles> handles_;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Libuv, Embedded, LibuvHost);

}  // namespace
}  // namespace weir::test
