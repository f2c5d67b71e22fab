#include "chat/talk_rate.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace chat {

TalkRate::TalkRate(unsigned rate)
    : line_cost_(rate > 0 ? weir::Duration(std::chrono::seconds(1)) / rate
                          : weir::Duration::zero()) {}

TalkRate::Accounts::pointer TalkRate::enter(const std::string& client, weir::TimePoint now) {
  const std::lock_guard lock(mutex_);
  if (accounts_.size() >= forget_at_) forget_paid(now);
  const auto account = accounts_.try_emplace(client).first;
  ++account->second.connections;
  return &*account;
}

void TalkRate::leave(Accounts::pointer account) {
  const std::lock_guard lock(mutex_);
  --account->second.connections;
}

weir::TimePoint TalkRate::charge(Accounts::pointer account, int lines, weir::TimePoint now) {
  const std::lock_guard lock(mutex_);
  weir::TimePoint& paid_until = account->second.paid_until;
  paid_until = std::max(paid_until, now) + lines * line_cost_;
  return paid_until - kBurst * line_cost_;
}

// Removes accounts without connections and without debt. It runs only after the number of accounts
// has doubled, so its amortized cost for one enter() is constant. [mutex]
void TalkRate::forget_paid(weir::TimePoint now) {
  std::erase_if(accounts_, [now](const auto& item) {
    return item.second.connections == 0 && item.second.paid_until <= now;
  });
  forget_at_ = std::max<std::size_t>(1024, 2 * accounts_.size());
}

}  // namespace chat
