// Machine: what all simulated descriptors share: the seed's random numbers, the faults, the wire
// and the names of sockets.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "weir/net/sim/faults.h"
#include "weir/net/sim/internal/object.h"
#include "weir/net/sim/internal/random.h"
#include "weir/net/sim/internal/wire.h"

namespace weir::internal::sim {

// The address of a socket.
class Name {
 public:
  Name() = default;
  Name(const sockaddr* address, socklen_t length);
  static Name of_family(int family);  // with port 0, or without a name

  int family() const { return address_.ss_family; }
  bool is_ip() const { return family() == AF_INET || family() == AF_INET6; }
  std::uint16_t port() const;
  void set_port(std::uint16_t port);
  // 0.0.0.0 or ::
  bool is_wildcard() const;
  Name wildcard() const;  // with the same port
  // The sender that `to` sees: a socket without an address of its own sends from that of its peer,
  // because all simulated hosts share the loopback addresses.
  Name as_sender_to(const Name& to) const;
  // A key under which sockets are found. All simulated machines share one address space.
  std::string key() const;
  static constexpr std::size_t kPortOfKey = 3;  // the first bytes of a key: its family and port
  // As getsockname(2) does: at most *length bytes, and *length is the whole length.
  void copy_to(sockaddr* address, socklen_t* length) const;

 private:
  sockaddr_storage address_{};
  socklen_t length_ = 0;
};

// Which socket has which name. There is one such table for each kind of socket.
class Names {
 public:
  // Gives a port to a name without one. EADDRINUSE (negative): the name is taken, and not by
  // sockets that share it (SO_REUSEPORT).
  int take(Name& name, bool share, const std::shared_ptr<Object>& object);
  void leave(const Name& name, const Object& object);
  // The sockets with that name, or with its wildcard.
  std::vector<std::shared_ptr<Object>> find(const Name& name) const;
  // A port that nobody has, for the near end of a connection.
  std::uint16_t free_port(const Name& name);

 private:
  bool is_taken(const Name& name, bool share) const;

  struct Holder {
    std::weak_ptr<Object> object;
    const Object* identity;
    bool share;
  };
  std::map<std::string, std::vector<Holder>> holders_;
  std::uint16_t next_port_ = 32768;
};

struct Machine {
  Machine(std::uint64_t seed, const weir::sim::Faults& how) : random(seed), faults(how) {}

  Random random;
  weir::sim::Faults faults;
  Wire wire;
  Names stream_names;
  Names unix_names;
  Names datagram_names;
  // Streams that a program closed, with bytes that have not arrived.
  std::set<std::shared_ptr<Object>> orphans;
  // Hosts whose packets do not reach each other, the smaller number first.
  std::set<std::pair<int, int>> partitions;
  int interruptions = 0;  // in a row

  TimePoint after_latency();
  // Whether a call fails with EINTR.
  bool interrupts();
  bool separated(const Object& from, const Object& to) const;
  // The part of `size` that a faulty read or write moves.
  std::size_t shortened(std::size_t size, double probability);
};

// Writes an integer option as getsockopt(2) does.
int give(void* value, socklen_t* length, int number);
// The size of a buffer for which SO_SNDBUF or SO_RCVBUF asks. The kernel doubles it, socket(7), to
// have room for its own structures.
std::size_t doubled(int number, int least);
inline constexpr int kLeastSendBuffer = 2304;
inline constexpr int kLeastReceiveBuffer = 1152;

}  // namespace weir::internal::sim
