#include "in_libuv/loop_handles.h"

#include <chrono>
#include <cstdint>
#include <utility>

#include "weir/base/result.h"

namespace sample {

namespace {

using weir::Duration;

template <typename Handle>
void close(Handle& handle) {
  uv_close(reinterpret_cast<uv_handle_t*>(&handle), nullptr);
}

}  // namespace

LoopHandles::LoopHandles(weir::EventLoop& loop, uv_loop_t& host, std::function<void()> on_stop)
    : loop_(loop), host_(host), on_stop_(std::move(on_stop)) {
  if (const int error = uv_poll_init(&host, &poll_, loop.poll_fd()); error != 0) {
    throw weir::SystemError(weir::Error("watch an event loop: uv_poll_init", weir::Errno(-error)));
  }
  uv_prepare_init(&host, &prepare_);
  uv_timer_init(&host, &timer_);
  prepare_.data = poll_.data = timer_.data = this;
  uv_poll_start(&poll_, UV_READABLE, [](uv_poll_t* handle, int, int) {
    static_cast<LoopHandles*>(handle->data)->turn();
  });
  uv_prepare_start(&prepare_, [](uv_prepare_t* handle) {
    static_cast<LoopHandles*>(handle->data)->before_poll();
  });
}

LoopHandles::~LoopHandles() {
  close(poll_);
  close(prepare_);
  close(timer_);
  uv_run(&host_, UV_RUN_NOWAIT);
}

// The timer ends libuv's poll when the loop has work that its descriptor does not show.
void LoopHandles::before_poll() {
  const Duration wait = loop_.max_wait();
  if (wait == Duration::max()) {
    uv_timer_stop(&timer_);
    return;
  }
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(wait).count();
  uv_update_time(&host_);
  uv_timer_start(
      &timer_, [](uv_timer_t* handle) { static_cast<LoopHandles*>(handle->data)->turn(); },
      static_cast<std::uint64_t>(ms), 0);
}

// noexcept: an exception of a task ends the program, because it cannot pass through libuv, which is
// C.
void LoopHandles::turn() noexcept {
  if (!loop_.turn(Duration::zero())) on_stop_();
}

}  // namespace sample
