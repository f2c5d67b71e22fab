#include "sockstat/growth.h"

#include <fmt/format.h>

#include <algorithm>

namespace weir::sockstat {

namespace {

std::uint64_t more(std::uint64_t now, std::uint64_t before) {
  return now > before ? now - before : 0;
}

struct Meaning {
  State state;
  const char* text;
};

constexpr Meaning kMeanings[] = {
    {State::time_wait,
     "this side closes first, and the kernel keeps each pair of addresses for 60 s; that uses up "
     "ports if connections to one address are opened, and costs almost nothing else"},
    {State::close_wait,
     "the peer has closed and the program here has not; sockets that stay in this state are "
     "leaked by the program"},
    {State::syn_recv,
     "handshakes wait for the last ACK of the client: slow or missing clients (a SYN flood), or "
     "a full accept queue"},
};

}  // namespace

std::uint64_t grown(const Look& now, const Look* before, State state) {
  return before == nullptr ? 0 : more(now.count(state), before->count(state));
}

std::uint64_t more_drops(const Listener& listener, const Look* before) {
  if (before == nullptr || !listener.drops) return 0;
  const auto same = std::ranges::find_if(before->listeners, [&](const Listener& other) {
    return other.tcp == listener.tcp && other.inode == listener.inode;
  });
  return same == before->listeners.end() ? 0 : more(*listener.drops, same->drops.value_or(0));
}

std::uint64_t more_overflows(const Look& now, const Look* before) {
  return before == nullptr ? 0 : more(now.host.listen_overflows, before->host.listen_overflows);
}

std::uint64_t more_drops(const Look& now, const Look* before) {
  return before == nullptr ? 0 : more(now.host.listen_drops, before->host.listen_drops);
}

bool at_somaxconn(const Listener& listener, const Look& look) {
  return look.somaxconn && *look.somaxconn > 0 &&
         listener.limit == static_cast<std::uint32_t>(*look.somaxconn);
}

std::vector<Remark> remarks(const Look& now, const Look* before) {
  std::vector<Remark> found;
  for (const Listener& listener : now.listeners) {
    if (const std::uint64_t by = more_drops(listener, before); by > 0 && !listener.full()) {
      found.push_back({fmt::format("{} dropped +{}", listener.address, by),
                       "SYNs or last ACKs of clients, who retry after a second; usually because "
                       "the accept queue was full between two looks"});
    }
    if (!listener.full()) continue;
    found.push_back(
        {fmt::format("{} FULL", listener.address),
         listener.tcp ? "the program does not accept as fast as clients connect; SYNs and last "
                        "ACKs are dropped, and the clients retry after a second"
                      : "the program does not accept as fast as clients connect; new clients get "
                        "EAGAIN or wait in connect"});
  }
  for (const Meaning& meaning : kMeanings) {
    if (const std::uint64_t by = grown(now, before, meaning.state); by > 0) {
      found.push_back({fmt::format("{} +{}", name_of(meaning.state), by), meaning.text});
    }
  }
  return found;
}

}  // namespace weir::sockstat
