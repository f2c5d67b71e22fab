// SlotMap: stores values under small ids that can be checked. insert() returns a SlotId; find()
// returns the value, or null if it was erased, even if its slot holds a newer value. [one thread]
//
// Invariants, checked by check_invariants() at the end of insert() and erase(), and for all slots
// by check_all():
//   1  A value never moves: pages are added, never reallocated.
//   2  An id is given out once in the life of the map (a slot that has used all its generations is
//      retired), so a stale id never matches.
//   3  Generation 0 is never given out, so SlotId{} means "none".
//   4  Free slots are reused in the order in which they became free, so that all slots use up their
//      generations evenly. They form a list from free_head_ to free_tail_.
//   5  Each slot holds one of size() values, is in the list of free slots, or is retired.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/base/check.h"
#include "weir/base/slot_id.h"

namespace weir {

template <typename T>
class SlotMap {
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>);

 public:
  static constexpr std::uint32_t kPageSize = 256;

  SlotMap() = default;
  // Ids start at this generation, for tests in which a slot uses up its generations.
  explicit SlotMap(std::uint32_t first_generation) : first_generation_(first_generation) {
    WEIR_CHECK(first_generation != 0, "SlotMap: generation 0 means \"none\"");
  }
  SlotMap(const SlotMap&) = delete;
  SlotMap& operator=(const SlotMap&) = delete;
  ~SlotMap() { clear(); }

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // The number of slots, free or not, that have memory.
  std::size_t capacity() const { return pages_.size() * kPageSize; }

  SlotId insert(T value) {
    if (free_head_ == kNone) add_page();
    const std::uint32_t index = free_head_;
    Slot& slot = at(index);
    free_head_ = slot.next_free;
    if (free_head_ == kNone) free_tail_ = kNone;
    ::new (static_cast<void*>(&slot.value)) T(std::move(value));
    slot.key &= ~kFree;
    ++size_;
    const SlotId id{.slot = index, .generation = static_cast<std::uint32_t>(slot.key)};
    WEIR_DCHECK(find(id) == &slot.value, "SlotMap 2: a new id does not lead to its value");
    check_invariants();
    return id;
  }

  // Null unless `id` came from this map and was not erased. Any bits are allowed as `id`.
  T* find(SlotId id) {
    const std::size_t page = id.slot / kPageSize;
    if (page >= pages_.size()) return nullptr;
    Slot& slot = pages_[page][id.slot % kPageSize];
    return slot.key == id.generation ? &slot.value : nullptr;
  }
  const T* find(SlotId id) const { return const_cast<SlotMap*>(this)->find(id); }

  // Destroys the value. False when `id` is not (or no longer) in the map.
  bool erase(SlotId id) {
    T* value = find(id);
    if (value == nullptr) return false;
    // The id becomes invalid before the destructor runs, and the slot is reused only after it: a
    // destructor may use this map.
    Slot& slot = at(id.slot);
    slot.key = kFree | (std::uint64_t{id.generation} + 1);
    --size_;
    std::destroy_at(value);
    if (id.generation != (std::numeric_limits<std::uint32_t>::max)()) push_free(id.slot);
    WEIR_DCHECK(find(id) == nullptr, "SlotMap 2: an erased id leads to a value");
    check_invariants();
    return true;
  }

  // Calls fn(SlotId, T&) for each value. fn may erase any value and insert new ones; a new one may
  // or may not be visited.
  template <typename Fn>
  void for_each(Fn&& fn) {
    for (std::uint32_t index = 0; index < capacity(); ++index) {
      Slot& slot = at(index);
      if ((slot.key & kFree) != 0) continue;
      fn(SlotId{.slot = index, .generation = static_cast<std::uint32_t>(slot.key)}, slot.value);
    }
  }

  // Erases all values. The memory is kept, and old ids stay invalid.
  void clear() {
    for_each([this](SlotId id, T&) { erase(id); });
  }

  // For tests: checks the invariants of all slots (CHECK). O(capacity()).
  void check_all() const {
    std::size_t used = 0;
    std::size_t retired = 0;
    for (std::uint32_t index = 0; index < capacity(); ++index) {
      const std::uint64_t key = at(index).key;
      WEIR_CHECK(key != 0, "SlotMap 3: generation 0 is in use");
      if ((key & kFree) == 0) ++used;
      if (key == kFree) ++retired;
    }
    WEIR_CHECK(used == size_, "SlotMap 5: size() is not the number of values");
    std::size_t listed = 0;
    std::uint32_t last = kNone;
    for (std::uint32_t index = free_head_; index != kNone && listed <= capacity();
         index = at(index).next_free) {
      WEIR_CHECK(is_free(index), "SlotMap 4: a slot in the free list is not free");
      last = index;
      ++listed;
    }
    WEIR_CHECK(last == free_tail_, "SlotMap 4: the free list does not end in its tail");
    WEIR_CHECK(used + listed + retired == capacity(), "SlotMap 5: a slot is lost");
  }

 private:
  // Above the 32 bits of a generation, so that no id matches a free slot.
  static constexpr std::uint64_t kFree = std::uint64_t{1} << 32;
  static constexpr std::uint32_t kNone = (std::numeric_limits<std::uint32_t>::max)();

  struct Slot {
    Slot() : next_free(kNone) {}
    ~Slot() {}
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;

    std::uint64_t key = kFree;  // the generation of the value or, with kFree, of the next value
    union {
      T value;
      std::uint32_t next_free;
    };
  };

  Slot& at(std::uint32_t index) { return pages_[index / kPageSize][index % kPageSize]; }
  const Slot& at(std::uint32_t index) const { return pages_[index / kPageSize][index % kPageSize]; }
  // Free and not retired.
  bool is_free(std::uint32_t index) const { return at(index).key > kFree; }

  // O(1); nothing in release builds.
  void check_invariants() const {
    WEIR_DCHECK((free_head_ == kNone) == (free_tail_ == kNone),
                "SlotMap 4: the free list has only one end");
    WEIR_DCHECK(free_head_ == kNone || is_free(free_head_),
                "SlotMap 4: the first slot in the free list is not free");
    WEIR_DCHECK(free_tail_ == kNone || (is_free(free_tail_) && at(free_tail_).next_free == kNone),
                "SlotMap 4: the free list does not end in its tail");
    WEIR_DCHECK(size_ <= capacity(), "SlotMap 5: more values than slots");
  }

  void add_page() {
    WEIR_CHECK(capacity() < kNone - kPageSize, "SlotMap: more than 2^32 values");
    const auto first = static_cast<std::uint32_t>(capacity());
    pages_.push_back(std::make_unique<Slot[]>(kPageSize));
    for (std::uint32_t i = 0; i < kPageSize; ++i) {
      at(first + i).key = kFree | first_generation_;
      push_free(first + i);
    }
  }

  void push_free(std::uint32_t index) {
    at(index).next_free = kNone;
    (free_tail_ == kNone ? free_head_ : at(free_tail_).next_free) = index;
    free_tail_ = index;
  }

  std::vector<std::unique_ptr<Slot[]>> pages_;
  std::size_t size_ = 0;
  std::uint32_t free_head_ = kNone;
  std::uint32_t free_tail_ = kNone;
  std::uint32_t first_generation_ = 1;
};

}  // namespace weir
