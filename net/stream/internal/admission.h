// Admission: counts the connections of a server (OpenCount) and of each of its peers (PeerCounts);
// a Seat is the share of one connection in both. All loops of a server use them. [any]
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

// The peer for which connections are counted: an IPv4 address, v4-mapped or not, or an IPv6 /64,
// which is the usual assignment to one subscriber (RFC 6177).
struct PeerKey {
  std::uint64_t network = 0;
  bool ipv6 = false;

  // No value for Unix peers, and when the kernel does not know the peer any more.
  static std::optional<PeerKey> of(const SocketAddress& address);
  friend bool operator==(const PeerKey&, const PeerKey&) = default;
};

class PeerCounts;

// One connection in the count of its peer. The destructor subtracts it.
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

  // No value: this peer has `limit` connections already.
  std::optional<PeerPlace> enter(const SocketAddress& peer);
  // Peers that have a connection: at most as many as there are open connections.
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

// The open connections of a server, on all its loops.
class OpenCount {
 public:
  std::size_t value() const { return open_.load(std::memory_order_relaxed); }
  // A connection has ended for whose Seat settle() was called.
  void leave() { open_.fetch_sub(1, std::memory_order_relaxed); }

 private:
  friend class Seat;
  std::atomic<std::size_t> open_{0};
};

// One connection in OpenCount and in the count of its peer, until it is added to its group. The
// destructor subtracts both.
class Seat {
 public:
  Seat() = default;  // of a connection that is not counted: a client's
  // No value, and `place` is given back: `limit` connections are open already.
  static std::optional<Seat> take(const std::shared_ptr<OpenCount>& count, std::size_t limit,
                                  PeerPlace place);
  Seat(Seat&&) noexcept = default;
  Seat& operator=(Seat&&) = delete;
  ~Seat() {
    if (count_) count_->leave();
  }
  // Whether its peer is counted.
  bool has_place() const { return place_.counted(); }
  // The connection is in its group now, which keeps the place and later calls leave().
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
