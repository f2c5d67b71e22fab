#include "sim/listener_script.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <utility>

#include "sim/golden.h"
#include "weir/net/sim/internal/random.h"

namespace weir::test::simulation {
namespace {

using internal::SysTable;
using internal::sim::Random;

// Two listeners, and the two ends of up to three connections.
enum Slot : std::uint8_t { listener = 0, client = 2, accepted = 5, slots = 8 };

class ListenerScript {
 public:
  ListenerScript(SysTable& table, std::uint64_t number)
      : table_(table), random_(number), number_(number) {
    fds_.fill(-1);
  }

  std::vector<std::string> run() {
    is_unix_ = random_.below(2) == 0;
    epoll_ = table_.epoll_create1(0);
    for (std::size_t slot = listener; slot < client; ++slot) open_listener(slot);
    const std::uint64_t count = 8 + random_.below(24);
    for (std::uint64_t i = 0; i < count; ++i) {
      step();
      look();
    }
    for (const int fd : fds_) {
      if (fd >= 0) table_.close(fd);
    }
    table_.close(epoll_);
    return std::move(log_);
  }

 private:
  void log(std::size_t slot, std::string_view call, ssize_t result) {
    log_.push_back(fmt::format("{}.{} = {}", kNames[slot], call, result_text(result)));
  }
  // Descriptors have different numbers on the two kernels.
  void log_open(std::size_t slot, std::string_view call, int fd) {
    log(slot, call, fd < 0 ? fd : 0);
  }

  // Unix listeners want the same name, TCP listeners get different ports.
  void open_listener(std::size_t slot) {
    fds_[slot] = open_stream(table_, is_unix_);
    const SocketAddress wanted = address_of_script(is_unix_, number_);
    log(slot, "bind", table_.bind(fds_[slot], wanted.data(), wanted.size()));
    addresses_[slot] = is_unix_ ? wanted : own_address(table_, fds_[slot]);
    watch(slot);
  }

  void connect(std::size_t slot, std::size_t a_listener) {
    const SocketAddress& to = addresses_[a_listener];
    log(slot, "connect", table_.connect(fds_[slot], to.data(), to.size()));
  }

  void watch(std::size_t slot) {
    constexpr std::array<std::uint32_t, 3> kMasks{EPOLLIN | EPOLLOUT | EPOLLRDHUP,
                                                  EPOLLIN | EPOLLRDHUP | EPOLLET, EPOLLOUT};
    epoll_event event{};
    event.events = kMasks[(number_ + slot) % kMasks.size()];
    event.data.u64 = slot;
    table_.epoll_ctl(epoll_, EPOLL_CTL_ADD, fds_[slot], &event);
  }

  void look() {
    if (!is_unix_) settle(table_, fds_);
    std::array<epoll_event, slots> events{};
    const timespec none{};
    const int count = table_.epoll_pwait2(epoll_, events.data(), slots, &none);
    std::array<std::uint32_t, slots> seen{};
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      seen[event.data.u64] = event.events;
    }
    std::string line = "events";
    for (std::size_t slot = 0; slot < slots; ++slot) {
      if (seen[slot] != 0) line += fmt::format(" {} {:#x}", kNames[slot], seen[slot]);
    }
    log_.push_back(std::move(line));
  }

  // Draws the same numbers whatever the sockets do.
  void step() {
    const std::uint64_t what = random_.below(3);
    const std::size_t a_listener = listener + random_.below(2);
    const std::size_t other = client + random_.below(slots - client);
    const std::uint64_t detail = random_.below(12);
    if (what == 0) {
      step_listener(a_listener, detail);
    } else if (what == 1 || fds_[other] < 0) {
      step_connection(a_listener, client + detail % 3);
    } else {
      step_stream(other, detail);
    }
  }

  void step_listener(std::size_t slot, std::uint64_t detail) {
    const int fd = fds_[slot];
    if (fd < 0) {
      open_listener(slot);
    } else if (detail < 6) {
      // A queue that is full makes the real kernel discard a SYN, which is sent again much later.
      log(slot, "listen", table_.listen(fd, is_unix_ ? static_cast<int>(detail % 3) : 8));
    } else if (detail < 8) {
      const int how = detail == 6 ? SHUT_RD : SHUT_RDWR;
      // A TCP socket passes on what was shut before listen(2), and listens on another port if it
      // does so again.
      if (!is_unix_ && !is_listening(fd)) return;
      log(slot, fmt::format("shutdown({})", how), table_.shutdown(fd, how));
      if (!is_unix_) close(slot);
    } else if (detail == 8) {
      close(slot);
    } else if (detail == 9) {
      char byte = 0;
      log(slot, "recv", table_.recv(fd, &byte, 1, 0));
    } else if (detail == 10) {
      log(slot, "send", table_.send(fd, "x", 1, MSG_NOSIGNAL));
    } else {
      log(slot, "SO_ACCEPTCONN", is_listening(fd) ? 1 : 0);
    }
  }

  bool is_listening(int fd) {
    int on = 0;
    socklen_t length = sizeof(on);
    table_.getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &length);
    return on != 0;
  }

  // A client connects, and a connection is accepted into the first free slot.
  void step_connection(std::size_t a_listener, std::size_t a_client) {
    if (fds_[a_client] < 0) {
      fds_[a_client] = open_stream(table_, is_unix_);
      connect(a_client, a_listener);
      watch(a_client);
      return;
    }
    for (std::size_t slot = accepted; slot < slots; ++slot) {
      if (fds_[slot] >= 0 || fds_[a_listener] < 0) continue;
      fds_[slot] = table_.accept4(fds_[a_listener], nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      log_open(a_listener, "accept", fds_[slot]);
      if (fds_[slot] >= 0) watch(slot);
      return;
    }
  }

  void step_stream(std::size_t slot, std::uint64_t detail) {
    const int fd = fds_[slot];
    if (detail < 3) {
      log(slot, "send", table_.send(fd, "hello", 5, MSG_NOSIGNAL));
    } else if (detail < 6) {
      std::array<char, 16> bytes{};
      log(slot, "recv", table_.recv(fd, bytes.data(), bytes.size(), 0));
    } else if (detail < 8) {
      log(slot, "SO_ERROR", take_error(table_, fd));
    } else if (detail == 8) {
      log(slot, "shutdown(1)", table_.shutdown(fd, SHUT_WR));
    } else if (detail == 9) {
      log(slot, "listen", table_.listen(fd, 1));
    } else {
      close(slot);
    }
  }

  void close(std::size_t slot) { log(slot, "close", table_.close(std::exchange(fds_[slot], -1))); }

  static constexpr std::array<const char*, slots> kNames{"L1", "L2", "C1", "C2",
                                                         "C3", "A1", "A2", "A3"};
  SysTable& table_;
  Random random_;
  const std::uint64_t number_;
  bool is_unix_ = false;
  std::array<SocketAddress, client> addresses_;  // of the listeners
  int epoll_ = -1;
  std::array<int, slots> fds_{};
  std::vector<std::string> log_;
};

}  // namespace

std::vector<std::string> run_listener_script(SysTable& table, std::uint64_t number) {
  return ListenerScript(table, number).run();
}

}  // namespace weir::test::simulation
