// Shards: what a server has on each of its loops, and the calls between these and its home loop,
// which is the loop that it was made with. TcpServer and UdpServer stand on it. Internal to weir.
// [home] unless marked.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "weir/base/check_format.h"
#include "weir/base/result.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/reactor/internal/run_on.h"
#include "weir/net/reactor/loop_pool.h"

namespace weir::internal {

// One loop's part of a server. The server derives its own type from it and adds release(), which is
// called on that loop when the server is destroyed, also from inside a call of its handler there.
struct Shard {
  explicit Shard(EventLoop& on) : loop(on) {}
  EventLoop& loop;
  bool released = false;  // [that loop] the server was destroyed
};

struct ShardOptions {
  const char* server;  // its type, for messages
  // One of: loops of the server's own, those of a pool, or, with neither, the home loop.
  std::size_t threads = 0;
  LoopPool* pool = nullptr;
  EventLoop::Options loop{};  // of the server's own loops
};

// What needs no type of shard.
class ShardsBase {
 public:
  using Call = std::move_only_function<void()>;

  ShardsBase(EventLoop& home, const ShardOptions& options);
  ShardsBase(const ShardsBase&) = delete;
  ShardsBase& operator=(const ShardsBase&) = delete;

  EventLoop& home() const { return home_; }
  // The shards live, or will live, on the loops of a pool. [any]
  bool pooled() const;

  // `fn`, to be called at home, where it does nothing once the server is destroyed. [any]
  template <typename Fn>
  auto unless_destroyed(Fn fn) const {
    return [calls = calls_, fn = std::move(fn)]() mutable {
      if (!calls->stopped) fn();
    };
  }
  // Calls `fn` in a task of the home loop, unless the server is destroyed before. [any]
  template <typename Fn>
  void post_home(Fn fn) const {
    home_.post(unless_destroyed(std::move(fn)));
  }
  // A function that does so when it is called, once and by anybody: it does not refer to the
  // server.
  template <typename Fn>
  auto poster_home(Fn fn) const {
    return [&home = home_, call = unless_destroyed(std::move(fn))]() mutable {
      home.post(std::move(call));
    };
  }
  // The same, but at once on the home loop's thread. [any]
  template <typename Fn>
  void dispatch_home(Fn fn) const {
    if (home_.in_loop_thread()) return fn();
    post_home(std::move(fn));
  }

  // The functions to call when the server has ended; an empty one is ignored.
  void add_done(Call done);
  // Calls the first of them now and each other one in a task of its own: a function may throw,
  // which costs no other its call, or destroy the server.
  void call_done();

  // The server is being destroyed: nothing is called at home any more, and no `done`.
  void stop_calls();
  bool destroyed() const { return calls_->stopped; }
  // This process is a fork, and the loops of the shards run in the parent alone. What is on them
  // cannot be taken back: all stays as it is.
  bool lost_by_fork() const { return pool_ != nullptr && home_.forked(); }

 protected:
  struct Calls {  // outlives the server in what was posted
    bool stopped = false;
  };
  // Something begun on several loops.
  class Round : public std::enable_shared_from_this<Round> {
   public:
    Round(ShardsBase& shards, std::size_t parts, Call done);
    // One part is over. When it throws, for want of memory, it is to be called again. [any]
    void part_over();
    // Posts `done`, if there is one. [any]
    void all_over();

   private:
    EventLoop& home_;
    const std::shared_ptr<Calls> calls_;
    std::atomic<std::size_t> open_;
    Call done_;
  };

  // The loops for the shards, one each.
  Result<std::vector<EventLoop*>> open_loops();
  void close_loops();

  const ShardOptions options_;

 private:
  EventLoop& home_;
  const std::shared_ptr<Calls> calls_ = std::make_shared<Calls>();
  std::unique_ptr<LoopPool> own_pool_;
  LoopPool* pool_ = nullptr;  // that one, or one of the program's. Null: all is on the home loop
  std::vector<Call> done_;
};

template <typename Part>
class Shards : public ShardsBase {
 public:
  using ShardsBase::ShardsBase;

  // Makes a shard for each loop and has `make(Part&)`, which returns Result<void>, called on that
  // loop. When one fails or throws, nothing of what was made is left. Does nothing when started.
  template <typename Make>
  Result<void> start(Make make) {
    if (started()) return {};
    Result<void> made;
    try {
      const auto loops = open_loops();
      if (!loops) return std::unexpected(loops.error());
      for (EventLoop* loop : *loops) parts_.push_back(std::make_shared<Part>(*loop));
      for (const auto& part : parts_) {
        run_on(part->loop, [&] { made = make(*part); });
        if (!made) break;
      }
    } catch (...) {
      undo_start();
      throw;
    }
    if (!made) undo_start();
    return made;
  }
  bool started() const { return !parts_.empty(); }

  // Constant once started: [any] from then on.
  std::size_t size() const { return parts_.size(); }
  auto begin() const { return parts_.begin(); }  // of shared_ptr<Part>
  auto end() const { return parts_.end(); }
  Part& operator[](std::size_t index) const { return *parts_[index]; }
  // For a public loop(index).
  EventLoop& loop(std::size_t index) const {
    WEIR_CHECK(index < size(), "{}::loop({}) of {}", options_.server, index, size());
    return parts_[index]->loop;
  }

  // Calls fn(Part&) in a task of each loop, also of this one. [any]
  template <typename Fn>
  void post_each(Fn fn) const {
    for (const auto& part : parts_) {
      part->loop.post([part, fn]() mutable {
        if (!part->released) fn(*part);
      });
    }
  }
  // Calls begin(Part&, Call over) in a task of each loop. When `over` was called once for each, on
  // any thread, calls `done` in a task of the home loop. [any]
  template <typename Begin>
  void on_each(Begin begin, Call done) {
    const auto round = std::make_shared<Round>(*this, size(), std::move(done));
    if (parts_.empty()) round->all_over();
    post_each([begin = std::move(begin), round](Part& part) mutable {
      begin(part, [round] { round->part_over(); });
    });
  }

  // The last step of the server's destructor.
  void release() {
    for (const auto& part : parts_) {
      try_run_on(part->loop, [&] {
        part->released = true;
        part->release();
      });
    }
    close_loops();
  }

 private:
  void undo_start() {
    for (auto& part : parts_) {
      try_run_on(part->loop, [&] { part.reset(); });
    }
    parts_.clear();
    close_loops();
  }

  std::vector<std::shared_ptr<Part>> parts_;
};

// The destructor of a server. Its `impl` has shards_, cancel_timers(), and release(), which takes
// back what it has on loops besides its shards. It is kept to the end of the turn: one of its calls
// may be running.
template <typename Impl>
void destroy_server(std::shared_ptr<Impl> impl) {
  EventLoop& home = impl->shards_.home();
  impl->shards_.stop_calls();
  impl->cancel_timers();
  if (impl->shards_.lost_by_fork()) {
    static_cast<void>(new std::shared_ptr<Impl>(impl));  // kept for ever
  } else {
    impl->release();
    impl->shards_.release();
  }
  core_of(home).keep_until_reaped(std::move(impl));
}  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): as said above

}  // namespace weir::internal
