// The clients of a soak: a number of connections at a time, each of which checks each byte of its
// answer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "soak/plan.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/socket_address.h"

namespace weir::test::soak {

class Clients {
 public:
  struct Counts {
    std::uint64_t begun = 0;
    std::uint64_t complete = 0;
    std::uint64_t cut = 0;        // by the chaos of their plan, or in a squeeze
    std::uint64_t lost = 0;       // ended early although nothing entitles a side to that
    std::uint64_t corrupted = 0;  // with a wrong byte
    std::uint64_t bytes = 0;      // received
  };

  Clients(EventLoop& loop, const Settings& settings, SocketAddress proxy, std::size_t at_a_time);
  ~Clients();
  Clients(const Clients&) = delete;
  Clients& operator=(const Clients&) = delete;

  void start();
  // Begins no further connection.
  void stop() { stopping_ = true; }
  bool done() const { return stopping_ && running_ == 0; }

  // While a squeeze lasts, the steady server may refuse connections.
  void set_squeeze(bool on) {
    squeezed_ = on;
    ++squeezes_;
  }

  const Counts& counts() const { return counts_; }
  // Of the first lost or corrupted connections.
  const std::vector<std::string>& failures() const { return failures_; }

 private:
  class One;
  void begin(std::size_t slot);
  void ended(const One& one, const std::string& why);

  EventLoop& loop_;
  const Settings& settings_;
  SocketAddress proxy_;
  std::vector<std::unique_ptr<One>> slots_;
  std::uint64_t next_ = 1;
  std::uint64_t squeezes_ = 0;
  std::size_t running_ = 0;
  bool squeezed_ = false;
  bool stopping_ = false;
  Counts counts_;
  std::vector<std::string> failures_;
};

}  // namespace weir::test::soak
