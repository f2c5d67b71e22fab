#include "weir/net/stream/internal/buffer_budget.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <new>
#include <utility>

#include "weir/base/mutex.h"
#include "weir/net/stream/buffer_budget.h"
#include "weir/net/stream/internal/memory_limit.h"
#include "weir/net/sys/thread.h"

namespace weir {

namespace {

constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();

// Signed, because one loop may report freed memory before another reports that it was taken.
//
// An account that begins to wait adds itself to `waiting` and then reads `total`; one that frees
// memory subtracts it from `total` and then reads `waiting`. All four operations are in one total
// order (seq_cst), so one of the two sees the other.
constinit std::atomic<std::int64_t> total{0};
constinit std::atomic<int> waiting{0};

// All accounts with an owner, and those of them that wait. The mutex is locked during fork(), so
// that the child can use it. Never destroyed, because a server may be static too.
struct Accounts {
  internal::Mutex mutex;
  IntrusiveList<internal::BufferBudget, internal::BudgetAccountTag> all WEIR_GUARDED_BY(mutex);
  IntrusiveList<internal::BufferBudget, internal::BudgetWaiterTag> waiting WEIR_GUARDED_BY(mutex);
};

Accounts& accounts() {
  static Accounts& made = *new Accounts;
  [[maybe_unused]] static const bool kForks = [] {
    const auto unlock = []() WEIR_UNCHECKED_LOCKS { made.mutex.unlock(); };
    internal::sys::at_fork([]() WEIR_UNCHECKED_LOCKS { made.mutex.lock(); }, unlock, unlock);
    return true;
  }();
  return made;
}

std::uint64_t quarter_of_memory() {
  const std::uint64_t memory = internal::memory_limit();
  return memory == 0 ? kNone : memory / 4;
}

std::atomic<std::uint64_t>& limit() {
  static std::atomic<std::uint64_t> bytes{quarter_of_memory()};
  return bytes;
}

std::uint64_t process_bound() { return limit().load(std::memory_order_relaxed); }

bool fits(std::uint64_t held, std::uint64_t size, std::uint64_t bound) {
  return held <= bound && size <= bound - held;
}

std::uint64_t remaining(std::uint64_t bound, std::uint64_t held) {
  return held < bound ? bound - held : 0;
}

std::uint64_t not_negative(std::int64_t bytes) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(bytes, 0));
}

}  // namespace

std::uint64_t buffer_budget() {
  const std::uint64_t bytes = process_bound();
  return bytes == kNone ? 0 : bytes;
}

std::uint64_t buffered_bytes() { return not_negative(total.load()); }

namespace internal {

// Shared with posted calls, which may outlive the account.
struct BufferBudget::Link {
  explicit Link(BudgetOwner& of) : owner(&of) {}
  BudgetOwner* owner;  // loop thread only; null when the account is gone
  std::atomic<unsigned> posted{0};
};

void notify_waiting_accounts() {
  Accounts& known = accounts();
  const MutexLock lock(known.mutex);
  for (BufferBudget& account : known.waiting) account.call(BufferBudget::kReleased);
}

// Reads the bound of the process now, because that reads files, which must not happen when the
// first bytes wait.
BufferBudget::BufferBudget(std::uint64_t limit, std::shared_ptr<Mailbox> mailbox,
                           BudgetOwner* owner)
    : limit_(limit == 0 ? kNone : limit),
      mailbox_(std::move(mailbox)),
      link_(owner == nullptr ? nullptr : std::make_shared<Link>(*owner)) {
  static_cast<void>(process_bound());
  if (!link_) return;
  Accounts& known = accounts();
  const MutexLock lock(known.mutex);
  known.all.push_back(*this);
}

BufferBudget::~BufferBudget() {
  wait_for_process(false);
  unreported_ -= static_cast<std::int64_t>(held());
  report();
  if (!link_) return;
  link_->owner = nullptr;
  const MutexLock lock(accounts().mutex);
  ListHook<BudgetAccountTag>::unlink();
}

void BufferBudget::change(std::uint64_t before, std::uint64_t after) {
  const auto difference = static_cast<std::int64_t>(after) - static_cast<std::int64_t>(before);
  held_.set(held_.value() - before + after);
  unreported_ += difference;
  if (unreported_ >= kBatch || unreported_ <= -kBatch || held() == 0 ||
      (difference < 0 && waiting.load() > 0)) {
    report();
  }
}

void BufferBudget::report() {
  if (unreported_ == 0) return;
  const bool given_back = unreported_ < 0;
  total.fetch_add(std::exchange(unreported_, 0));
  if (!given_back || waiting.load() <= (waits_ ? 1 : 0)) return;
  if (fits(buffered_bytes(), 1, process_bound())) notify_waiting_accounts();
}

bool BufferBudget::process_has_room(std::uint64_t size) const {
  return fits(not_negative(total.load() + unreported_), size, process_bound());
}

bool BufferBudget::has_room(std::uint64_t size) const {
  return fits(held(), size, limit_) && process_has_room(size);
}

std::uint64_t BufferBudget::room() const {
  return std::min(remaining(limit_, held()),
                  remaining(process_bound(), not_negative(total.load() + unreported_)));
}

std::uint64_t BufferBudget::bound() const { return std::min(limit_, process_bound()); }

void BufferBudget::wait_for_process(bool on) {
  if (on == waits_) return;
  Accounts& known = accounts();
  const MutexLock lock(known.mutex);
  waits_ = on;
  waiting.fetch_add(on ? 1 : -1);
  if (on) {
    known.waiting.push_back(*this);
  } else {
    ListHook<BudgetWaiterTag>::unlink();
  }
}

void BufferBudget::ask_others() {
  Accounts& known = accounts();
  const MutexLock lock(known.mutex);
  for (BufferBudget& account : known.all) {
    if (&account != this && account.held() > 0) account.call(kShort);
  }
}

bool BufferBudget::ask_largest() {
  Accounts& known = accounts();
  const MutexLock lock(known.mutex);
  BufferBudget* largest = this;
  for (BufferBudget& account : known.all) {
    if (account.held() > largest->held()) largest = &account;
  }
  if (largest != this) largest->call(kExhausted);
  return largest != this;
}

// Without memory the call is not made: the timer of BudgetHolders searches too.
void BufferBudget::call(Call what) noexcept {
  if ((link_->posted.fetch_or(what) & what) != 0) return;
  try {
    mailbox_->post([link = link_, what] {
      link->posted.fetch_and(~static_cast<unsigned>(what));
      if (link->owner == nullptr) return;
      switch (what) {
        case kReleased:
          return link->owner->budget_released();
        case kShort:
          return link->owner->budget_short();
        case kExhausted:
          return link->owner->budget_exhausted();
      }
    });
  } catch (const std::bad_alloc&) {
    link_->posted.fetch_and(~static_cast<unsigned>(what));
  }
}

}  // namespace internal

void set_buffer_budget(std::uint64_t bytes) {
  limit().store(bytes == 0 ? kNone : bytes, std::memory_order_relaxed);
  internal::notify_waiting_accounts();
}

}  // namespace weir
