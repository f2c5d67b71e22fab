#include "weir/net/stream/internal/admission.h"

#include <netinet/in.h>

#include <array>
#include <cstring>
#include <new>
#include <span>
#include <utility>

#include "weir/base/keyed_hash.h"

namespace weir::internal {

std::optional<PeerKey> PeerKey::of(const SocketAddress& address) {
  const SocketAddress plain = address.without_v4_mapping();
  if (plain.family() == SocketAddress::Family::ipv4) {
    sockaddr_in v4{};
    std::memcpy(&v4, plain.data(), sizeof v4);
    return PeerKey{.network = v4.sin_addr.s_addr, .ipv6 = false};
  }
  if (plain.family() == SocketAddress::Family::ipv6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, plain.data(), sizeof v6);
    PeerKey key{.network = 0, .ipv6 = true};
    std::memcpy(&key.network, &v6.sin6_addr, sizeof key.network);
    return key;
  }
  return std::nullopt;
}

PeerPlace& PeerPlace::operator=(PeerPlace&& other) noexcept {
  if (this != &other) {
    leave();
    counts_ = std::move(other.counts_);
    key_ = other.key_;
  }
  return *this;
}

void PeerPlace::leave() {
  if (!counts_) return;
  const std::shared_ptr<PeerCounts> counts = std::exchange(counts_, nullptr);
  const MutexLock lock(counts->mutex_);
  const auto entry = counts->counts_.find(key_);
  if (entry != counts->counts_.end() && --entry->second == 0) counts->counts_.erase(entry);
}

std::optional<PeerPlace> PeerCounts::enter(const SocketAddress& peer) {
  const auto key = PeerKey::of(peer);
  if (!key) return PeerPlace();
  const MutexLock lock(mutex_);
  try {
    std::size_t& count = counts_[*key];
    if (count >= limit_) return std::nullopt;
    ++count;
  } catch (const std::bad_alloc&) {  // making the connection will fail, too
    return PeerPlace();
  }
  return PeerPlace(shared_from_this(), *key);
}

std::size_t PeerCounts::size() const {
  const MutexLock lock(mutex_);
  return counts_.size();
}

std::size_t PeerCounts::Hash::operator()(const PeerKey& key) const noexcept {
  const std::array<std::uint64_t, 2> words{key.network, key.ipv6 ? 1U : 0U};
  return static_cast<std::size_t>(keyed_hash(std::as_bytes(std::span(words))));
}

std::optional<Seat> Seat::take(const std::shared_ptr<OpenCount>& count, std::size_t limit,
                               PeerPlace place) {
  Seat seat(count, std::move(place));  // subtracts again if it was one too many
  if (count->open_.fetch_add(1, std::memory_order_relaxed) >= limit) return std::nullopt;
  return seat;
}

}  // namespace weir::internal
