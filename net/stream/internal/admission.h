// Who is let in: how many connections one peer may have (PeerCounts), and how many are accepted a
// second (AcceptRate). Shared by all loops of a server, and made only where the option is on.
// Internal to the tcp floor. [any]
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

#include "weir/base/clock.h"
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
  mutable std::mutex mutex_;  // held for one look-up
  std::unordered_map<PeerKey, std::size_t, Hash> counts_;
};

// A token bucket that holds a tenth of a second's worth, and one at least.
class AcceptRate {
 public:
  explicit AcceptRate(std::size_t per_second);

  // Zero: one may be accepted. Else how long to wait before the next may.
  Duration take(TimePoint now);
  // The one taken last was not needed.
  void give_back();

 private:
  const std::int64_t interval_;        // ns between two
  const std::int64_t burst_;           // ns by which accepting may be ahead
  std::atomic<std::int64_t> full_at_;  // when the bucket will be full again, ns of Clock
};

}  // namespace weir::internal
