// The data of weir-sockstat: sockets as the kernel reports them, and a Look, which has all of them.
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

// The states of RFC 9293, 3.3.2, with the numbers of the kernel.
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
// In the order in which a connection passes them.
inline constexpr std::array<State, kStates> kAllStates = {
    State::listen,     State::syn_sent,   State::syn_recv,   State::established,
    State::fin_wait_1, State::fin_wait_2, State::close_wait, State::last_ack,
    State::closing,    State::time_wait,  State::closed,
};
// "FIN_WAIT_1"
std::string_view name_of(State state);
// nullopt if the number is not a state.
std::optional<State> state_of(unsigned kernel_number);

// An IPv4 or IPv6 address and port. Small, because there may be a million of them.
struct Endpoint {
  bool v6 = false;
  std::array<std::uint8_t, 16> bytes{};  // IPv4: the first four
  std::uint16_t port = 0;
  std::uint32_t interface = 0;  // for link-local IPv6 addresses

  bool is_any() const;                  // 0.0.0.0 or ::
  Endpoint without_v4_mapping() const;  // ::ffff:a.b.c.d is a.b.c.d
  std::string text() const;             // as SocketAddress writes it
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// The kernel's timer of a connection.
enum class Timer : std::uint8_t { none, retransmit, keep_alive, time_wait, probe };
std::string_view name_of(Timer timer);

// From TCP_INFO.
struct TcpDetails {
  std::uint32_t rtt_us = 0;
  std::uint32_t retransmits = 0;  // segments, since the connection began
  // Bytes of data, including retransmissions. nullopt: before Linux 4.19.
  std::optional<std::uint64_t> bytes_sent = {};
  std::uint64_t bytes_received = 0;
  std::chrono::milliseconds idle{0};  // since data was sent or received
};

struct TcpSocket {
  State state = State::closed;
  Timer timer = Timer::none;
  // Retransmissions of the unacknowledged data. nullopt in TIME_WAIT, where it is not available.
  std::optional<std::uint8_t> retransmits_now = {};
  Endpoint local;
  Endpoint peer;
  std::uint32_t timer_ms = 0;
  // In bytes. For a listener: connections in the accept queue, and its limit.
  std::uint32_t receive_queue = 0;
  std::uint32_t send_queue = 0;
  std::optional<std::uint32_t> uid = {};  // nullopt: no program has it
  std::uint32_t inode = 0;                // 0: no program has it (closed, or not accepted yet)
  bool v6_only = false;                   // a listener that does not accept IPv4
  std::optional<std::uint32_t> drops = {};
  std::optional<TcpDetails> details = {};
};

// A Unix socket. The kernel has only these three states for them.
struct UnixSocket {
  enum class State : std::uint8_t { connected, listening, unconnected };
  State state = State::unconnected;
  bool stream = false;
  std::uint32_t inode = 0;
  std::uint32_t peer_inode = 0;
  std::string name;  // a path, or NUL and an abstract name, or empty
  std::uint32_t receive_queue = 0;
  std::uint32_t send_queue = 0;
  std::uint32_t uid = 0;

  std::string text() const;  // as SocketAddress writes it; "unix:" without a name
};

struct Listener {
  std::string address;
  Endpoint endpoint = {};  // TCP only
  bool tcp = true;
  std::uint32_t queue = 0;  // complete connections that wait for accept
  std::uint32_t limit = 0;
  std::uint64_t half_open = 0;  // handshakes in progress
  // SYNs and last ACKs dropped because the queue was full, since it listens.
  std::optional<std::uint32_t> drops = {};
  std::uint32_t uid = 0;
  std::uint32_t inode = 0;

  // The kernel accepts one more than the limit, listen(2).
  bool full() const { return queue > limit; }
};

// Counters of the network namespace, since it was created.
struct HostCounters {
  std::uint64_t listen_overflows = 0;
  std::uint64_t listen_drops = 0;
};

// Selects the sockets of a look.
struct Selection {
  std::optional<std::uint16_t> port = {};
  std::optional<int> pid = {};
  bool both_ends = false;    // with a port: also the sockets of this machine connected to it
  bool connections = false;  // keep each connection, not only their numbers
};

struct Look {
  std::chrono::system_clock::time_point at;
  std::vector<Listener> listeners;
  std::array<std::uint64_t, kStates + 1> states{};   // TCP sockets by state
  std::optional<std::uint64_t> unix_connected = {};  // nullopt: not selected, or unknown
  std::vector<TcpSocket> connections;                // if selected
  std::vector<UnixSocket> unix_connections;
  HostCounters host;
  std::optional<int> somaxconn;

  std::uint64_t count(State state) const { return states[static_cast<std::size_t>(state)]; }
};

}  // namespace weir::sockstat
