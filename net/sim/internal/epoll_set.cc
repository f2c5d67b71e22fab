#include "weir/net/sim/internal/epoll_set.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace weir::internal::sim {

// -- Object ---------------------------------------------------------------------------------------

Object::~Object() { forget_watches(); }

void Object::forget_watches() {
  for (const auto& watch : watches_) watch->set.remove(*watch);
  watches_.clear();
}

// By number: a set that is watched itself wakes its own watches.
void Object::wake(std::uint32_t events) {
  for (std::size_t i = 0; i < watches_.size(); ++i) {
    Watch& watch = *watches_[i];
    if (events == 0 || (events & watch.events) != 0) watch.set.add_ready(watch);
  }
}

std::size_t size_of(std::span<const iovec> vectors) {
  std::size_t sum = 0;
  for (const iovec& vector : vectors) sum += vector.iov_len;
  return sum;
}

std::size_t copy_to(std::span<const iovec> into, std::string_view from) {
  const std::size_t before = from.size();
  for (const iovec& vector : into) {
    const std::size_t part = std::min(vector.iov_len, from.size());
    if (part == 0) continue;
    std::memcpy(vector.iov_base, from.data(), part);
    from.remove_prefix(part);
  }
  return before - from.size();
}

std::string copy_from(std::span<const iovec> from, std::size_t size) {
  std::string result;
  result.reserve(size);
  for (const iovec& vector : from) {
    const std::size_t part = std::min(vector.iov_len, size - result.size());
    result.append(static_cast<const char*>(vector.iov_base), part);
  }
  return result;
}

// -- EpollSet -------------------------------------------------------------------------------------

EpollSet::~EpollSet() { closed(); }

void EpollSet::closed() {
  for (Watch* watch : std::exchange(all_, {})) {
    std::erase_if(watch->object.watches_, [&](const auto& each) { return each.get() == watch; });
  }
  ready_.clear();
  Object::closed();
}

void EpollSet::add_ready(Watch& watch) {
  if (watch.ready) return;
  watch.ready = true;
  ready_.push_back(&watch);
  wake(EPOLLIN);
}

void EpollSet::remove(Watch& watch) {
  std::erase(all_, &watch);
  std::erase(ready_, &watch);
}

std::uint32_t EpollSet::events_of(Watch& watch) {
  constexpr std::uint32_t kAlways = EPOLLERR | EPOLLHUP;
  constexpr std::uint32_t kFlags = EPOLLET | EPOLLONESHOT | EPOLLWAKEUP | EPOLLEXCLUSIVE;
  return watch.object.poll() & ((watch.events & ~kFlags) | kAlways);
}

bool EpollSet::has_ready() {
  return std::ranges::any_of(ready_, [](Watch* watch) { return events_of(*watch) != 0; });
}

int EpollSet::control(int operation, const std::shared_ptr<Object>& object, int fd,
                      epoll_event* event) {
  if (object.get() == this) return -EINVAL;
  if (!object->can_be_watched()) return -EPERM;
  auto& watches = object->watches_;
  const auto found = std::ranges::find_if(
      watches, [&](const auto& watch) { return &watch->set == this && watch->fd == fd; });
  if (operation == EPOLL_CTL_ADD) {
    if (found != watches.end()) return -EEXIST;
    watches.push_back(std::make_unique<Watch>(Watch{.set = *this,
                                                    .object = *object,
                                                    .fd = fd,
                                                    .events = event->events,
                                                    .data = event->data.u64}));
    all_.push_back(watches.back().get());
    if (host() != kNoHost) object->belongs_to(host());
    if (events_of(*watches.back()) != 0) add_ready(*watches.back());
    return 0;
  }
  if (found == watches.end()) return -ENOENT;
  Watch& watch = **found;
  if (operation == EPOLL_CTL_DEL) {
    remove(watch);
    watches.erase(found);
    return 0;
  }
  if (operation != EPOLL_CTL_MOD || (event->events & EPOLLEXCLUSIVE) != 0) return -EINVAL;
  watch.events = event->events;
  watch.data = event->data.u64;
  if (events_of(watch) != 0) add_ready(watch);
  return 0;
}

std::size_t EpollSet::collect(std::span<epoll_event> room) {
  std::size_t count = 0;
  std::vector<Watch*> again;
  while (!ready_.empty() && count < room.size()) {
    Watch& watch = *ready_.front();
    ready_.pop_front();
    watch.ready = false;
    const std::uint32_t events = events_of(watch);
    if (events == 0) continue;
    room[count].events = events;
    room[count].data.u64 = watch.data;
    ++count;
    if ((watch.events & EPOLLET) == 0) again.push_back(&watch);
  }
  for (Watch* watch : again) {
    watch->ready = true;
    ready_.push_back(watch);
  }
  return count;
}

Watch* EpollSet::watching_input(std::uint64_t number) {
  if (all_.empty()) return nullptr;
  Watch* const watch = all_[number % all_.size()];
  return (watch->events & EPOLLIN) != 0 ? watch : nullptr;
}

}  // namespace weir::internal::sim
