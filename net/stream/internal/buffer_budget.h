// BufferBudget: what the connections of one group buffer, counted against a bound of the group's
// and against the process's. O(1), and nothing at all where nothing is buffered. Internal to the
// tcp floor. [loop] unless marked.
//
// All accounts of the process know of each other, so that one which waits for room is notified when
// another gives memory back, and can have the others end what holds memory without progress. The
// calls to other loops are posted, and no more than one of a kind waits in a mailbox.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "weir/base/counter.h"
#include "weir/base/intrusive_list.h"
#include "weir/net/reactor/internal/mailbox.h"

namespace weir::internal {

// What an account is called for by others. [loop]
class BudgetOwner {
 public:
  // Memory was given back while this account waited for room.
  virtual void budget_released() = 0;
  // Another account finds no room: stalled holders of this one are to go.
  virtual void budget_short() = 0;
  // Nothing was given back for long, and no account holds more than this one: its largest holder is
  // to go.
  virtual void budget_exhausted() = 0;

 protected:
  ~BudgetOwner() = default;
};

struct BudgetAccountTag;
struct BudgetWaiterTag;

class BufferBudget : public ListHook<BudgetAccountTag>, public ListHook<BudgetWaiterTag> {
 public:
  // The process's sum is told of changes only when they come to this many bytes: one shared cache
  // line is touched once for sixteen pages buffered. While an account waits for room, it is told of
  // everything that is given back.
  static constexpr std::int64_t kBatch = 64 * 1024;
  // What one connection may hold whatever the others do: a handler's gathered answers. So those
  // that keep little are not the ones who pay for those that keep much.
  static constexpr std::uint64_t kOwnShare = 64 * 1024;

  // limit 0: only the process's bound. The owner is called on the mailbox's loop; without one this
  // is a mere account.
  explicit BufferBudget(std::uint64_t limit, std::shared_ptr<Mailbox> mailbox = nullptr,
                        BudgetOwner* owner = nullptr);
  ~BufferBudget();
  BufferBudget(const BufferBudget&) = delete;
  BufferBudget& operator=(const BufferBudget&) = delete;

  // A connection that held `before` bytes holds `after` now.
  void change(std::uint64_t before, std::uint64_t after);

  // Whether `size` more bytes may be buffered.
  bool has_room(std::uint64_t size) const;
  // The same, as far as the process's bound goes.
  bool process_has_room(std::uint64_t size) const;
  // How many more bytes may be buffered, and how many in all.
  std::uint64_t room() const;
  std::uint64_t bound() const;

  // While true, budget_released() follows when another account gives memory back, or the process's
  // bound is raised. What this account gives back its owner knows itself.
  void wait_for_process(bool on);
  // Has every other account that holds anything called with budget_short().
  void ask_others();
  // Has the account that holds most called with budget_exhausted(). False: that is this one, and
  // nobody was called.
  bool ask_largest();
  // Tells the process's sum what it was not told yet.
  void report();

  std::uint64_t held() const { return held_.value(); }  // [any]

 private:
  struct Link;
  enum Call : unsigned { kReleased = 1, kShort = 2, kExhausted = 4 };
  friend void notify_waiting_accounts();
  void call(Call what) noexcept;  // [any], with the accounts locked

  const std::uint64_t limit_;
  Counter held_;
  std::int64_t unreported_ = 0;  // to the process's sum; less than kBatch either way
  bool waits_ = false;
  const std::shared_ptr<Mailbox> mailbox_;
  const std::shared_ptr<Link> link_;  // what posted calls hold; null without an owner
};

}  // namespace weir::internal
