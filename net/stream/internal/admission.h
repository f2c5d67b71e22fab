// Admission: how many connections a server has (OpenCount), how many of them one peer may have
// (PeerCounts), and what each of them took (Seat). Shared by all loops of a server. [any]
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>

#include "weir/base/mutex.h"
#include "weir/net/socket/socket_address.h"

namespace weir::internal {

// Whom connections are counted for: an IPv4 address, v4-mapped or not, or an IPv6 /64, which is
// what one subscriber gets (RFC 6177).
struct PeerKey {
  std::uint64_t network = 0;
  bool ipv6 = false;

  // None for Unix peers, and where the kernel knows no peer any more.
  static std::optional<PeerKey> of(const SocketAddress& address);
  friend bool operator==(const PeerKey&, const PeerKey&) = default;
};

class PeerCounts;

// One connection's place among those of its peer; given back by the destructor.
class PeerPlace {
 public:
  PeerPlace() = default;  // of a peer that is not counted
  PeerPlace(PeerPlace&& other) noexcept = default;
  PeerPlace& operator=(PeerPlace&& other) noexcept;
  ~PeerPlace() { leave(); }

  bool counted() const { return counts_ != nullptr; }

 private:
  friend class PeerCounts;
  PeerPlace(std::shared_ptr<PeerCounts> counts, PeerKey key)
      : counts_(std::move(counts)), key_(key) {}
  void leave();

  std::shared_ptr<PeerCounts> counts_;
  PeerKey key_;
};

class PeerCounts : public std::enable_shared_from_this<PeerCounts> {
 public:
  explicit PeerCounts(std::size_t limit) : limit_(limit) {}

  // None: this peer has as many connections as it may.
  std::optional<PeerPlace> enter(const SocketAddress& peer);
  // Peers with a connection. Bounded by the connections open.
  std::size_t size() const;

 private:
  friend class PeerPlace;
  struct Hash {
    std::size_t operator()(const PeerKey& key) const noexcept;
  };

  const std::size_t limit_;
  mutable Mutex mutex_;  // held for one look-up
  std::unordered_map<PeerKey, std::size_t, Hash> counts_ WEIR_GUARDED_BY(mutex_);
};

// Connections open over all loops of a server.
class OpenCount {
 public:
  std::size_t value() const { return open_.load(std::memory_order_relaxed); }
  // One that a Seat was settled for has ended.
  void leave() { open_.fetch_sub(1, std::memory_order_relaxed); }

 private:
  friend class Seat;
  std::atomic<std::size_t> open_{0};
};

// What a connection has taken, until it comes to its group: one of OpenCount and a place among
// those of its peer. The destructor gives both back.
class Seat {
 public:
  Seat() = default;  // of a connection that is not counted: a client's
  // None, and `place` given back: `limit` are open.
  static std::optional<Seat> take(const std::shared_ptr<OpenCount>& count, std::size_t limit,
                                  PeerPlace place);
  Seat(Seat&&) noexcept = default;
  Seat& operator=(Seat&&) = delete;
  ~Seat() {
    if (count_) count_->leave();
  }
  // Its peer is counted.
  bool has_place() const { return place_.counted(); }
  // The connection has come to its group, which keeps the place and calls leave() in the end.
  PeerPlace settle() {
    count_.reset();
    return std::move(place_);
  }

 private:
  Seat(std::shared_ptr<OpenCount> count, PeerPlace place)
      : count_(std::move(count)), place_(std::move(place)) {}

  std::shared_ptr<OpenCount> count_;
  PeerPlace place_;
};

}  // namespace weir::internal
