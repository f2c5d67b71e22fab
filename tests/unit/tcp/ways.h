// Every way in which a TcpServer accepts: on its own loop, and on one and three loops of a pool.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <ostream>
#include <vector>

#include "weir/net/reactor/event_loop.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {

inline constexpr std::array kAcceptModes{AcceptMode::single, AcceptMode::reuse_port,
                                         AcceptMode::exclusive};

struct Way {
  AcceptMode accept;
  std::size_t threads;
  Trigger trigger;
};

inline std::vector<Way> all_ways() {
  std::vector<Way> ways;
  for (const AcceptMode accept : kAcceptModes) {
    for (const std::size_t threads : {0u, 1u, 3u}) {
      for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
        ways.push_back({accept, threads, trigger});
      }
    }
  }
  return ways;
}

inline std::ostream& operator<<(std::ostream& out, const Way& way) {
  constexpr std::array kNames{"Single", "ReusePort", "Exclusive"};
  return out << kNames.at(static_cast<std::size_t>(way.accept)) << way.threads
             << (way.trigger == Trigger::edge ? "Edge" : "Level");
}

class EveryWay : public ::testing::TestWithParam<Way> {
 protected:
  TcpServer::Options options() const {
    return {
        .threads = GetParam().threads, .accept = GetParam().accept, .trigger = GetParam().trigger};
  }
  EventLoop loop;
};

}  // namespace weir::test
