// TalkRate: limits how fast the lines of one client are read, over all its connections. The debt of
// a client outlives its connections, so it gains nothing by reconnecting. [any]
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <string>

#include "weir/base/clock.h"

namespace chat {

class TalkRate {
 public:
  // Lines that a client may send at once (a pasted page) before the rate applies.
  static constexpr int kBurst = 50;

  struct Account {
    std::size_t connections = 0;
    weir::TimePoint paid_until;  // a line costs 1 / rate of a second
  };
  using Accounts = std::map<std::string, Account>;  // by client

  // `rate`: lines a second in the long run; 0: no limit.
  explicit TalkRate(unsigned rate);

  // Adds a connection to the client's account, until leave().
  Accounts::pointer enter(const std::string& client, weir::TimePoint now);
  void leave(Accounts::pointer account);
  // Charges `lines`. Returns the time at which the client may be read again; if it is not later
  // than `now`, the client may be read at once.
  weir::TimePoint charge(Accounts::pointer account, int lines, weir::TimePoint now);

 private:
  void forget_paid(weir::TimePoint now);

  const weir::Duration line_cost_;
  std::mutex mutex_;
  Accounts accounts_;
  std::size_t forget_at_ = 1024;  // the number of accounts at which forget_paid() runs
};

}  // namespace chat
