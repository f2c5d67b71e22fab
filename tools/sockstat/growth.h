// What has become more between two looks, and what it means.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sockstat/model.h"

namespace weir::sockstat {

// `before` is null in the first look: then nothing has grown.
std::uint64_t grown(const Look& now, const Look* before, State state);
// Drops of this listener; 0 also if it is new.
std::uint64_t more_drops(const Listener& listener, const Look* before);
// Counters of the host.
std::uint64_t more_overflows(const Look& now, const Look* before);
std::uint64_t more_drops(const Look& now, const Look* before);

// Whether the listener has all the backlog that the system gives.
bool at_somaxconn(const Listener& listener, const Look& look);

struct Remark {
  std::string what;  // "TIME_WAIT +12", "127.0.0.1:7000 FULL", "127.0.0.1:7000 dropped +5"
  std::string meaning;
};
std::vector<Remark> remarks(const Look& now, const Look* before);

}  // namespace weir::sockstat
