// What weir-sockstat knows: sockets as the kernel tells of them, and one look at all of them.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weir::sockstat {

// RFC 9293, 3.3.2, with the kernel's numbers.
enum class State : std::uint8_t {
  established = 1,
  syn_sent,
  syn_recv,
  fin_wait_1,
  fin_wait_2,
  time_wait,
  closed,
  close_wait,
  last_ack,
  listen,
  closing,
};
inline constexpr std::size_t kStates = 11;
// In the order in which a connection meets them.
inline constexpr std::array<State, kStates> kAllStates = {
    State::listen,     State::syn_sent,   State::syn_recv,   State::established,
    State::fin_wait_1, State::fin_wait_2, State::close_wait, State::last_ack,
    State::closing,    State::time_wait,  State::closed,
};
// "FIN_WAIT_1"
std::string_view name_of(State state);
// Null if it is none of the kernel's numbers.
std::optional<State> state_of(unsigned kernel_number);

// An IPv4 or IPv6 address and port; small, because there may be a million of them.
struct Endpoint {
  bool v6 = false;
  std::array<std::uint8_t, 16> bytes{};  // of IPv4 the first four
  std::uint16_t port = 0;
  std::uint32_t interface = 0;  // of link-local IPv6 addresses

  bool is_any() const;                  // 0.0.0.0 or ::
  Endpoint without_v4_mapping() const;  // ::ffff:a.b.c.d is a.b.c.d
  std::string text() const;             // as SocketAddress writes it
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// The kernel's timer of a connection.
enum class Timer : std::uint8_t { none, retransmit, keep_alive, time_wait, probe };
std::string_view name_of(Timer timer);

// Of TCP_INFO.
struct TcpDetails {
  std::uint32_t rtt_us = 0;
  std::uint32_t retransmits = 0;  // segments, since the connection began
  // Of data, with those that were sent again. Null: before Linux 4.19.
  std::optional<std::uint64_t> bytes_sent = {};
  std::uint64_t bytes_received = 0;
  std::chrono::milliseconds idle{0};  // since data went either way
};

struct TcpSocket {
  State state = State::closed;
  Timer timer = Timer::none;
  // Of what is not acknowledged yet. Null in TIME_WAIT, where the kernel does not keep it.
  std::optional<std::uint8_t> retransmits_now = {};
  Endpoint local;
  Endpoint peer;
  std::uint32_t timer_ms = 0;
  // Bytes; of a listener: connections in the accept queue, and its limit.
  std::uint32_t receive_queue = 0;
  std::uint32_t send_queue = 0;
  std::optional<std::uint32_t> uid = {};  // null: no program has it
  std::uint32_t inode = 0;                // 0: no program has it (any more, or not accepted yet)
  bool v6_only = false;                   // of a listener that takes no IPv4
  std::optional<std::uint32_t> drops = {};
  std::optional<TcpDetails> details = {};
};

// A stream socket. The kernel knows no states of Unix sockets but these three.
struct UnixSocket {
  enum class State : std::uint8_t { connected, listening, unconnected };
  State state = State::unconnected;
  bool stream = false;
  std::uint32_t inode = 0;
  std::uint32_t peer_inode = 0;
  std::string name;  // path; or NUL and an abstract name; or empty
  std::uint32_t receive_queue = 0;
  std::uint32_t send_queue = 0;
  std::uint32_t uid = 0;

  std::string text() const;  // as SocketAddress writes it; "unix:" without a name
};

struct Listener {
  std::string address;
  Endpoint endpoint = {};  // of TCP
  bool tcp = true;
  std::uint32_t queue = 0;  // connections that are complete and wait for accept
  std::uint32_t limit = 0;
  std::uint64_t half_open = 0;  // handshakes to its address under way
  std::optional<std::uint32_t> drops =
      {};  // SYNs and last ACKs it had no room for, since it listens
  std::uint32_t uid = 0;
  std::uint32_t inode = 0;

  // The kernel lets one more in than the limit, listen(2).
  bool full() const { return queue > limit; }
};

// Of the network namespace, since it began.
struct HostCounters {
  std::uint64_t listen_overflows = 0;
  std::uint64_t listen_drops = 0;
};

// What is looked at.
struct Selection {
  std::optional<std::uint16_t> port = {};
  std::optional<int> pid = {};
  bool both_ends = false;    // with a port: also who is connected to it, on this machine
  bool connections = false;  // keep each connection, not only how many
};

struct Look {
  std::chrono::system_clock::time_point at;
  std::vector<Listener> listeners;
  std::array<std::uint64_t, kStates + 1> states{};   // TCP sockets by state
  std::optional<std::uint64_t> unix_connected = {};  // null: not looked at, or not told
  std::vector<TcpSocket> connections;                // if selected
  std::vector<UnixSocket> unix_connections;
  HostCounters host;
  std::optional<int> somaxconn;

  std::uint64_t count(State state) const { return states[static_cast<std::size_t>(state)]; }
};

}  // namespace weir::sockstat
