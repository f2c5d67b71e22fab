// BufferBudget: the account of one group of connections. It counts the bytes that they buffer
// against a bound of the group and the bound of the process. O(1), and no work when nothing is
// buffered. Internal. [loop] unless marked.
//
// The accounts of the process are in one list. So an account that waits for room is notified when
// another frees memory, and can ask the others to end connections that hold memory without
// progress. Calls to other loops are posted; at most one of each kind waits in a mailbox.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "weir/base/counter.h"
#include "weir/base/intrusive_list.h"
#include "weir/net/reactor/internal/mailbox.h"

namespace weir::internal {

// The calls that an account gets from other accounts. [loop]
class BudgetOwner {
 public:
  // Memory was freed while this account waited for room.
  virtual void budget_released() = 0;
  // Another account finds no room: stalled holders of this one must be ended.
  virtual void budget_short() = 0;
  // No memory was freed for BudgetHolders' kPatience, and no account holds more than this one: its
  // largest holder must be ended.
  virtual void budget_exhausted() = 0;

 protected:
  ~BudgetOwner() = default;
};

struct BudgetAccountTag;
struct BudgetWaiterTag;

class BufferBudget : public ListHook<BudgetAccountTag>, public ListHook<BudgetWaiterTag> {
 public:
  // Changes are added to the sum of the process only when they reach this number of bytes, so that
  // the shared cache line is touched once for sixteen pages. While an account waits for room, all
  // freed memory is reported at once.
  static constexpr std::int64_t kBatch = 64 * 1024;
  // The bytes that one connection may hold whatever the others hold: the gathered answers of a
  // handler. So connections that hold little are not ended or paused for those that hold much.
  static constexpr std::uint64_t kOwnShare = 64 * 1024;

  // limit 0: only the bound of the process. The owner is called on the loop of the mailbox; without
  // an owner the account only counts.
  explicit BufferBudget(std::uint64_t limit, std::shared_ptr<Mailbox> mailbox = nullptr,
                        BudgetOwner* owner = nullptr);
  ~BufferBudget();
  BufferBudget(const BufferBudget&) = delete;
  BufferBudget& operator=(const BufferBudget&) = delete;

  // A connection that held `before` bytes holds `after` now.
  void change(std::uint64_t before, std::uint64_t after);

  // Whether `size` more bytes may be buffered.
  bool has_room(std::uint64_t size) const;
  // The same for the bound of the process only.
  bool process_has_room(std::uint64_t size) const;
  // The bytes that may be buffered in addition to held(), and in total.
  std::uint64_t room() const;
  std::uint64_t bound() const;

  // While true, the owner's budget_released() is called when another account frees memory, or when
  // the bound of the process is raised; not for memory that this account frees.
  void wait_for_process(bool on);
  // Requests budget_short() of every other account that holds anything.
  void ask_others();
  // Requests budget_exhausted() of the account that holds most. False: that is this one, and
  // nothing was requested.
  bool ask_largest();
  // Adds the changes that were not reported yet to the sum of the process.
  void report();

  std::uint64_t held() const { return held_.value(); }  // [any]

 private:
  struct Link;
  enum Call : unsigned { kReleased = 1, kShort = 2, kExhausted = 4 };
  friend void notify_waiting_accounts();
  void call(Call what) noexcept;  // [any], with the accounts locked

  const std::uint64_t limit_;
  Counter held_;
  std::int64_t unreported_ = 0;  // to the sum of the process; between -kBatch and kBatch
  bool waits_ = false;
  const std::shared_ptr<Mailbox> mailbox_;
  const std::shared_ptr<Link> link_;  // shared with posted calls; null without an owner
};

}  // namespace weir::internal
