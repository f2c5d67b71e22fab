// EpollSet: epoll(7), level- and edge-triggered. It works as the kernel does: a list of objects
// that were woken, which a wait polls in order; a level-triggered one that reported goes to the end
// of the list again.
#pragma once

#include <deque>
#include <span>

#include "weir/net/sim/internal/object.h"

namespace weir::internal::sim {

class EpollSet final : public Object {
 public:
  // `host`: the machine whose loop this is.
  explicit EpollSet(int host) { belongs_to(host); }
  ~EpollSet() override;

  int control(int operation, const std::shared_ptr<Object>& object, int fd, epoll_event* event);
  // Takes up to `room` events, without waiting.
  std::size_t collect(std::span<epoll_event> room);
  // For a false event (Faults): the watch with this number, counted modulo the number of watches;
  // null if it does not watch input.
  Watch* watching_input(std::uint64_t number);

  std::uint32_t poll() override { return has_ready() ? EPOLLIN | EPOLLRDNORM : 0U; }
  void closed() override;

 private:
  friend class Object;
  void add_ready(Watch& watch);
  void remove(Watch& watch);  // the set forgets it; the object keeps it
  bool has_ready();
  static std::uint32_t events_of(Watch& watch);

  std::deque<Watch*> ready_;
  std::vector<Watch*> all_;
};

}  // namespace weir::internal::sim
