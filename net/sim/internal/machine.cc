#include "weir/net/sim/internal/machine.h"

#include <sys/un.h>

#include <algorithm>
#include <cstring>

#include "weir/base/byte_order.h"

namespace weir::internal::sim {

namespace {

constexpr std::uint16_t kFirstPort = 32768;  // net.ipv4.ip_local_port_range
constexpr std::uint16_t kLastPort = 60999;
// A program repeats an interrupted call at once: if each one were interrupted, for ever.
constexpr int kMostInterruptions = 10;

sockaddr_in& ipv4(sockaddr_storage& address) { return reinterpret_cast<sockaddr_in&>(address); }
sockaddr_in6& ipv6(sockaddr_storage& address) { return reinterpret_cast<sockaddr_in6&>(address); }
const sockaddr_in& ipv4(const sockaddr_storage& address) {
  return reinterpret_cast<const sockaddr_in&>(address);
}
const sockaddr_in6& ipv6(const sockaddr_storage& address) {
  return reinterpret_cast<const sockaddr_in6&>(address);
}

}  // namespace

// -- Name -----------------------------------------------------------------------------------------

Name::Name(const sockaddr* address, socklen_t length)
    : length_(std::min<socklen_t>(length, sizeof(address_))) {
  std::memcpy(&address_, address, length_);
}

Name Name::of_family(int family) {
  Name name;
  name.address_.ss_family = static_cast<sa_family_t>(family);
  name.length_ = family == AF_INET    ? sizeof(sockaddr_in)
                 : family == AF_INET6 ? sizeof(sockaddr_in6)
                                      : sizeof(sa_family_t);
  return name;
}

std::uint16_t Name::port() const {
  if (!is_ip()) return 0;
  return network_to_host(family() == AF_INET ? ipv4(address_).sin_port : ipv6(address_).sin6_port);
}

void Name::set_port(std::uint16_t port) {
  if (family() == AF_INET) ipv4(address_).sin_port = host_to_network(port);
  if (family() == AF_INET6) ipv6(address_).sin6_port = host_to_network(port);
}

bool Name::is_wildcard() const { return is_ip() && key() == wildcard().key(); }

Name Name::wildcard() const {
  Name name = of_family(family());
  name.set_port(port());
  return name;
}

Name Name::as_sender_to(const Name& to) const {
  if (!is_wildcard() || to.family() != family()) return *this;
  Name name = to;
  name.set_port(port());
  return name;
}

std::string Name::key() const {
  if (!is_ip()) return {reinterpret_cast<const char*>(&address_), length_};
  std::string key(1, family() == AF_INET ? '4' : '6');
  const std::uint16_t number = port();
  key.append(reinterpret_cast<const char*>(&number), sizeof(number));
  if (family() == AF_INET) {
    key.append(reinterpret_cast<const char*>(&ipv4(address_).sin_addr), sizeof(in_addr));
  } else {
    key.append(reinterpret_cast<const char*>(&ipv6(address_).sin6_addr), sizeof(in6_addr));
  }
  return key;
}

void Name::copy_to(sockaddr* address, socklen_t* length) const {
  if (address != nullptr) std::memcpy(address, &address_, std::min(*length, length_));
  *length = length_;
}

// -- Names ----------------------------------------------------------------------------------------

int Names::take(Name& name, bool share, const std::shared_ptr<Object>& object) {
  if (name.is_ip() && name.port() == 0) name.set_port(free_port(name));
  if (is_taken(name, share)) return -EADDRINUSE;
  holders_[name.key()].push_back({.object = object, .identity = object.get(), .share = share});
  return 0;
}

// A wildcard address is in use if any address is that has its port, and vice versa.
bool Names::is_taken(const Name& name, bool share) const {
  const auto refuses = [share](const Holder& each) { return !share || !each.share; };
  const std::string key = name.key();
  if (!name.is_ip()) {
    const auto found = holders_.find(key);
    return found != holders_.end() && std::ranges::any_of(found->second, refuses);
  }
  const std::string wildcard = name.wildcard().key();
  const std::string port = key.substr(0, Name::kPortOfKey);
  for (auto i = holders_.lower_bound(port); i != holders_.end() && i->first.starts_with(port);
       ++i) {
    const bool overlaps = key == wildcard || i->first == key || i->first == wildcard;
    if (overlaps && std::ranges::any_of(i->second, refuses)) return true;
  }
  return false;
}

void Names::leave(const Name& name, const Object& object) {
  const auto found = holders_.find(name.key());
  if (found == holders_.end()) return;
  std::erase_if(found->second, [&](const Holder& each) { return each.identity == &object; });
  if (found->second.empty()) holders_.erase(found);
}

std::vector<std::shared_ptr<Object>> Names::find(const Name& name) const {
  std::vector<std::shared_ptr<Object>> result;
  const auto add = [&](const std::string& key) {
    const auto found = holders_.find(key);
    if (found == holders_.end()) return;
    for (const Holder& holder : found->second) {
      if (auto object = holder.object.lock()) result.push_back(std::move(object));
    }
  };
  add(name.key());
  if (result.empty() && name.is_ip()) add(name.wildcard().key());
  return result;
}

std::uint16_t Names::free_port(const Name& name) {
  for (int tries = kFirstPort; tries <= kLastPort; ++tries) {
    const std::uint16_t port = next_port_;
    next_port_ = port == kLastPort ? kFirstPort : static_cast<std::uint16_t>(port + 1);
    Name with_port = name;
    with_port.set_port(port);
    if (find(with_port).empty()) return port;
  }
  return kFirstPort;
}

// -- Machine --------------------------------------------------------------------------------------

TimePoint Machine::after_latency() {
  const Duration least = std::max(faults.min_latency, Duration::zero());
  const Duration range = std::max(faults.max_latency - least, Duration::zero());
  const auto more = random.below(static_cast<std::uint64_t>(range.count()) + 1);
  return saturating_add(wire.now(), least + Duration(static_cast<std::int64_t>(more)));
}

bool Machine::interrupts() {
  const bool again = random.chance(faults.interrupted) && interruptions < kMostInterruptions;
  interruptions = again ? interruptions + 1 : 0;
  return again;
}

bool Machine::separated(const Object& from, const Object& to) const {
  if (partitions.empty()) return false;
  return partitions.contains(std::minmax(from.host(), to.host()));
}

std::size_t Machine::shortened(std::size_t size, double probability) {
  if (size <= 1 || !random.chance(probability)) return size;
  return 1 + random.below(size - 1);
}

std::size_t doubled(int number, int least) {
  return 2 * static_cast<std::size_t>(std::max(number, least));
}

int give(void* value, socklen_t* length, int number) {
  *length = std::min<socklen_t>(*length, sizeof(number));
  std::memcpy(value, &number, *length);
  return 0;
}

}  // namespace weir::internal::sim
