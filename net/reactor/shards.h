// Shards: the parts of a server on each of its loops, and the calls between them and the home loop,
// with which the server was created. Used by TcpServer and UdpServer. Internal to weir.
// [home] unless marked: on the thread of the home loop.
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

// The part of a server on one loop. The server derives its own type from it and adds release(),
// which is called on that loop when the server is destroyed, possibly inside a call of a handler
// there.
struct Shard {
  explicit Shard(EventLoop& on) : loop(on) {}
  EventLoop& loop;
  bool released = false;  // [the loop of the shard] the server was destroyed
};

struct ShardOptions {
  const char* server;  // its type, for messages
  // Set at most one: the number of the server's own loops, or a pool. With neither, the only shard
  // is on the home loop.
  std::size_t threads = 0;
  LoopPool* pool = nullptr;
  EventLoop::Options loop{};  // for the server's own loops
};

// The part that does not depend on the type of the shards.
class ShardsBase {
 public:
  using Call = std::move_only_function<void()>;

  ShardsBase(EventLoop& home, const ShardOptions& options);
  ShardsBase(const ShardsBase&) = delete;
  ShardsBase& operator=(const ShardsBase&) = delete;

  EventLoop& home() const { return home_; }
  // True if the shards are, or will be, on the loops of a pool. [any]
  bool pooled() const;

  // Wraps `fn`, which is to be called on the home loop; it does nothing once the server is
  // destroyed. [any]
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
  // Returns a function that does the same when it is called: at most once, on any thread. It does
  // not refer to the server.
  template <typename Fn>
  auto poster_home(Fn fn) const {
    return [&home = home_, call = unless_destroyed(std::move(fn))]() mutable {
      home.post(std::move(call));
    };
  }
  // Like post_home(), but calls `fn` immediately on the home loop's thread. [any]
  template <typename Fn>
  void dispatch_home(Fn fn) const {
    if (home_.in_loop_thread()) return fn();
    post_home(std::move(fn));
  }

  // Adds a function for call_done(); an empty one is ignored.
  void add_done(Call done);
  // The server has ended: calls the first function now and each other in a task of its own, so that
  // a function may throw without preventing the other calls, or destroy the server.
  void call_done();

  // The server is being destroyed: the posted functions and `done` functions are no longer called.
  void stop_calls();
  bool destroyed() const { return calls_->stopped; }
  // This process is a fork, and the threads of the shards run only in the parent. Nothing on these
  // loops can be released here.
  bool lost_by_fork() const { return pool_ != nullptr && home_.forked(); }

 protected:
  struct Calls {  // shared with posted functions, which can outlive the server
    bool stopped = false;
  };
  // An operation on several loops.
  class Round : public std::enable_shared_from_this<Round> {
   public:
    Round(ShardsBase& shards, std::size_t parts, Call done);
    // One part is complete. If this throws (no memory), call it again. [any]
    void part_over();
    // All parts are complete: posts `done`, if there is one. [any]
    void all_over();

   private:
    EventLoop& home_;
    const std::shared_ptr<Calls> calls_;
    std::atomic<std::size_t> open_;
    Call done_;
  };

  // The loops for the shards, one for each.
  Result<std::vector<EventLoop*>> open_loops();
  void close_loops();

  const ShardOptions options_;

 private:
  EventLoop& home_;
  const std::shared_ptr<Calls> calls_ = std::make_shared<Calls>();
  std::unique_ptr<LoopPool> own_pool_;
  LoopPool* pool_ = nullptr;  // own_pool_ or a pool of the program. Null: only the home loop
  std::vector<Call> done_;
};

template <typename Part>
class Shards : public ShardsBase {
 public:
  using ShardsBase::ShardsBase;

  // Creates a shard for each loop and calls `make(Part&)`, which returns Result<void>, on that
  // loop. If a call fails or throws, all shards are destroyed again. Does nothing when started.
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
  // Calls begin(Part&, Call over) in a task of each loop. After each `over` was called once, on any
  // thread, calls `done` in a task of the home loop. [any]
  template <typename Begin>
  void on_each(Begin begin, Call done) {
    const auto round = std::make_shared<Round>(*this, size(), std::move(done));
    if (parts_.empty()) round->all_over();
    post_each([begin = std::move(begin), round](Part& part) mutable {
      begin(part, [round] { round->part_over(); });
    });
  }

  // The last step of the destructor of the server.
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

// The destructor of a server. Its `impl` has shards_, cancel_timers(), and release(), which
// releases everything that it has on loops besides its shards. `impl` is kept to the end of the
// turn, because one of its functions may be running.
template <typename Impl>
void destroy_server(std::shared_ptr<Impl> impl) {
  EventLoop& home = impl->shards_.home();
  impl->shards_.stop_calls();
  impl->cancel_timers();
  if (impl->shards_.lost_by_fork()) {
    static_cast<void>(new std::shared_ptr<Impl>(impl));  // never freed
  } else {
    impl->release();
    impl->shards_.release();
  }
  core_of(home).keep_until_reaped(std::move(impl));
}  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): on purpose, see above

}  // namespace weir::internal
