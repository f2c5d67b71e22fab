// Where a scenario runs once: a table of system calls with one fault, and a record of what weir
// reported and of what it must never do.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "stage_table.h"
#include "support/allocations.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/stream/tcp_connection.h"

namespace weir::test::matrix {

// Leaves a scenario that cannot go on; the reason is a violation, or an error that weir reported.
struct GiveUp {};

class Stage {
 public:
  // After this time, or this number of turns, a scenario that waits hangs or spins. All deadlines
  // of the scenarios are shorter.
  static constexpr Duration kMostTime = std::chrono::seconds(120);
  static constexpr std::uint64_t kMostTurns = 20'000;

  explicit Stage(Trigger trigger) : trigger_(trigger) {}
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  StageTable& table() { return table_; }
  const StageTable& table() const { return table_; }
  Trigger trigger() const { return trigger_; }

  // Runs turns of the loop until `done`. A scenario in which that takes for ever is given up.
  void until(EventLoop& loop, std::string_view what, const std::function<bool()>& done);
  void turns(EventLoop& loop, int count);

  // An error that weir reported: allowed when it can follow from the fault.
  void report(std::string_view where, Errno error);
  void report(std::string_view where, const Error& error) { report(where, error.code()); }
  // Reports the error of a result and gives the scenario up.
  template <typename T, typename E>
  T need(std::string_view where, std::expected<T, E> result) {
    if (!result) {
      report(where, result.error());
      throw GiveUp();
    }
    if constexpr (!std::is_void_v<T>) return std::move(*result);
  }
  // An exception has left a turn of a loop.
  bool loop_threw() const { return loop_threw_; }
  // Something that is not allowed whatever the fault.
  void violation(std::string text);
  void check(bool holds, std::string_view text) {
    if (!holds) violation(std::string(text));
  }
  // From now on weir must recover. The next client was not served: a violation, unless the fault
  // ends listeners.
  void end_fault();
  // Calls or allocations that had the fault.
  std::uint64_t hits() const;
  // As StageTable::inject(), and for allocations.
  void inject(const Site& site, const Fault& fault, std::uint64_t nth, bool persistent);
  void next_not_served() { next_served_ = false; }
  // The scenario has done what it is there for.
  void complete(bool is) { complete_ = is; }

  // Of the connections of the scenario.
  void opened(const void* handler, std::uint64_t connection);
  void closed(const void* handler, std::uint64_t connection);
  bool is_open(const void* handler, std::uint64_t connection) const;
  std::size_t open_connections() const { return open_.size(); }

  struct Report {
    std::string where;
    Errno error;
  };
  const std::vector<Report>& reports() const { return reports_; }
  const std::vector<std::string>& violations() const { return violations_; }
  bool is_complete() const { return complete_; }
  bool next_was_served() const { return next_served_; }

 private:
  void turn(EventLoop& loop);

  StageTable table_;
  std::optional<FailAllocation> allocations_;
  std::uint64_t failed_allocations_ = 0;
  const Trigger trigger_;
  bool complete_ = false;
  bool loop_threw_ = false;
  bool next_served_ = true;
  std::uint64_t turns_ = 0;
  std::set<std::pair<const void*, std::uint64_t>> open_;
  std::vector<Report> reports_;
  std::vector<std::string> violations_;
};

// The handler of connections that reports to the stage. A scenario sets the functions that it
// needs.
class Watch final : public ConnectionHandler {
 public:
  Watch(Stage& stage, std::string name) : stage_(stage), name_(std::move(name)) {}
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // For use_handler(): owns nothing.
  std::shared_ptr<ConnectionHandler> unowned() { return {std::shared_ptr<void>(), this}; }
  // The bytes that each connection must receive, in this order.
  void expect(std::string bytes) { expected_ = std::move(bytes); }
  // A connection of this scenario may end in this way also without a fault.
  void may_end(CloseReason::Kind kind) { usual_ = kind; }
  // Whether the connection that was opened last has received all that was expected.
  bool has_all() const { return opens > 0 && received == expected_; }
  bool ended() const { return opens > 0 && opens == closes; }
  bool is_connected() const { return opens > closes; }
  TcpConnection* connection() const { return ref.get(); }

  std::function<void(TcpConnection&)> open;
  std::function<void(TcpConnection&, Buffer&)> data;  // after the bytes were compared
  std::function<void(TcpConnection&)> half_close;
  std::function<void(TcpConnection&)> drained;
  std::function<void(TcpConnection&)> close;
  int opens = 0;
  int closes = 0;
  int half_closes = 0;
  std::string received;  // by the connection that was opened last
  ConnectionRef ref;     // of it

 private:
  void on_open(TcpConnection& c) override;
  void on_data(TcpConnection& c, Buffer& in) override;
  void on_half_close(TcpConnection& c) override;
  void on_blocked(TcpConnection& c) override { expect_open(c, "on_blocked"); }
  void on_drained(TcpConnection& c) override;
  void on_close(TcpConnection& c, CloseReason reason) override;
  void expect_open(const TcpConnection& c, std::string_view event);

  Stage& stage_;
  const std::string name_;
  std::string expected_;
  std::optional<CloseReason::Kind> usual_;
};

// Bytes that depend on their position.
std::string bytes(std::size_t size, std::size_t from = 0);

}  // namespace weir::test::matrix
