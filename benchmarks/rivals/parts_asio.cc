// Asio's timers are objects of the program. Asio calls the handler of a cancelled wait with
// operation_aborted; that call counts as part of cancelling.
#include <asio.hpp>
#include <memory>

#include "rivals/parts.h"

namespace parts {
namespace {

class AsioTimers final : public Timers {
 public:
  explicit AsioTimers(std::size_t places) {
    timers_.reserve(places);
    for (std::size_t i = 0; i < places; ++i) timers_.emplace_back(io_);
  }
  ~AsioTimers() override {
    timers_.clear();
    io_.poll();
  }

  void set(std::span<const Place> places) override {
    for (const Place place : places) {
      asio::steady_timer& timer = timers_[place];
      timer.expires_at(when_ += std::chrono::microseconds(1));
      timer.async_wait([this](std::error_code error) {
        if (error == asio::error::operation_aborted) {
          ++aborted_;
        } else {
          ++ran_;
        }
      });
    }
  }
  std::uint64_t cancel(std::span<const Place> places) override {
    std::uint64_t were_set = 0;
    for (const Place place : places) were_set += timers_[place].cancel();
    const std::uint64_t aborted = aborted_;
    io_.poll();
    return aborted_ - aborted == were_set ? were_set : 0;
  }

 private:
  // No thread posts to it, so it needs no locks.
  asio::io_context io_{ASIO_CONCURRENCY_HINT_UNSAFE};
  // Without it a context would count as stopped when all its waits are cancelled.
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(io_);
  std::vector<asio::steady_timer> timers_;
  Time when_ = std::chrono::steady_clock::now() + kTimeout;
  std::uint64_t aborted_ = 0;
};

class AsioLoop final : public Loop {
 public:
  void run() override { io_.run(); }
  void post(Posted first, std::uint32_t count) override {
    for (; count > 0; --count, ++first.number) asio::post(io_, first);
  }
  void stop() override { io_.stop(); }

 private:
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(io_);
};

}  // namespace

void add_asio(Catalog& catalog) {
  catalog.versions.push_back("Asio " + std::to_string(ASIO_VERSION / 100000) + "." +
                             std::to_string(ASIO_VERSION / 100 % 1000) + "." +
                             std::to_string(ASIO_VERSION % 100));
  catalog.timers.push_back(
      {"Asio", "steady_timer: expires_at() and async_wait(), cancel() with the aborted handler",
       [](std::size_t places) { return std::make_unique<AsioTimers>(places); }});
  catalog.posts.push_back({"Asio", "asio::post()", [] { return std::make_unique<AsioLoop>(); }});
}

}  // namespace parts
