// The numbers that have grown between two looks, and their meaning.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sockstat/model.h"

namespace weir::sockstat {

// The growth of a state. `before` is null for the first look: then the result is 0.
std::uint64_t grown(const Look& now, const Look* before, State state);
// The growth of the drops of this listener; 0 if it is new.
std::uint64_t more_drops(const Listener& listener, const Look* before);
// The growth of the counters of the host.
std::uint64_t more_overflows(const Look& now, const Look* before);
std::uint64_t more_drops(const Look& now, const Look* before);

// True if the limit of the listener is net.core.somaxconn.
bool at_somaxconn(const Listener& listener, const Look& look);

struct Remark {
  std::string what;  // "TIME_WAIT +12", "127.0.0.1:7000 FULL", "127.0.0.1:7000 dropped +5"
  std::string meaning;
};
std::vector<Remark> remarks(const Look& now, const Look* before);

}  // namespace weir::sockstat
