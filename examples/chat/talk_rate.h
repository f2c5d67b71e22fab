// TalkRate: how fast the lines of one client are read, whatever the number of its connections.
// What a client has to wait for outlives its connections, so coming anew gains nothing. [any]
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <string>

#include "weir/base/clock.h"

namespace chat {

class TalkRate {
 public:
  // Lines that somebody may send at once, a pasted page, before their rate begins to count.
  static constexpr int kBurst = 50;

  struct Account {
    std::size_t connections = 0;
    weir::TimePoint paid_until;  // a line costs 1 / rate of a second
  };
  using Accounts = std::map<std::string, Account>;  // by client

  // `rate`: lines a second in the long run; 0: any.
  explicit TalkRate(unsigned rate);

  // One more connection of that client, until leave().
  Accounts::pointer enter(const std::string& client, weir::TimePoint now);
  void leave(Accounts::pointer account);
  // Charges this number of lines. Returns when the client may be read again: no later than `now`,
  // if at once.
  weir::TimePoint charge(Accounts::pointer account, int lines, weir::TimePoint now);

 private:
  void forget_paid(weir::TimePoint now);

  const weir::Duration line_cost_;
  std::mutex mutex_;
  Accounts accounts_;
  std::size_t forget_at_ = 1024;  // accounts
};

}  // namespace chat
