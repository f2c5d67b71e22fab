// IntrusiveList: a doubly linked list through hooks inside its elements. It never allocates and
// owns nothing; an element leaves its list by itself, in O(1), when it is unlinked or destroyed.
// [one thread]
//
//   class Connection : public ListHook<struct Dirty>, public ListHook<struct Idle> { ... };
//   IntrusiveList<Connection, struct Dirty> dirty;
//   dirty.push_back(connection);
//   while (Connection* next = dirty.pop_front()) next->flush();
//
// An element is in at most one list per tag. A list that is destroyed lets its elements go.
#pragma once

#include "weir/base/requirements.h"

#include <cstddef>
#include <iterator>

#include "weir/base/export.h"

namespace WEIR_EXPORT weir {

template <typename T, typename Tag>
class IntrusiveList;

template <typename Tag = void>
class ListHook {
 public:
  ListHook() = default;
  ListHook(const ListHook&) = delete;
  ListHook& operator=(const ListHook&) = delete;
  ~ListHook() { unlink(); }

  bool linked() const { return next_ != this; }
  // Leaves the list; does nothing when in none.
  void unlink() {
    previous_->next_ = next_;
    next_->previous_ = previous_;
    previous_ = next_ = this;
  }

 private:
  template <typename T, typename OtherTag>
  friend class IntrusiveList;

  // Links this (unlinked) hook in before `other`.
  void link_before(ListHook& other) {
    previous_ = other.previous_;
    next_ = &other;
    previous_->next_ = this;
    other.previous_ = this;
  }

  // A ring; alone, it is a ring of one.
  ListHook* previous_ = this;
  ListHook* next_ = this;
};

// T derives publicly from ListHook<Tag>.
template <typename T, typename Tag = void>
class IntrusiveList {
  using Hook = ListHook<Tag>;

 public:
  // Steps on before the caller sees the element, so that the current element may be unlinked or
  // destroyed in the loop's body. Where a body may unlink others, too, use pop_front() on a list
  // that was spliced out.
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using pointer = T*;
    using reference = T&;

    T& operator*() const { return element(*current_); }
    T* operator->() const { return &element(*current_); }
    Iterator& operator++() {
      current_ = next_;
      next_ = current_->next_;
      return *this;
    }
    friend bool operator==(const Iterator& a, const Iterator& b) {
      return a.current_ == b.current_;
    }

   private:
    friend class IntrusiveList;
    explicit Iterator(Hook* at) : current_(at), next_(at->next_) {}
    Hook* current_;
    Hook* next_;
  };

  IntrusiveList() = default;
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  ~IntrusiveList() { clear(); }

  bool empty() const { return !ring_.linked(); }

  // Puts `item` at the end (or the start), out of whatever list of this tag it was in.
  void push_back(T& item) { move_before(item, ring_); }
  void push_front(T& item) { move_before(item, *ring_.next_); }

  // Null when empty.
  T* front() { return empty() ? nullptr : &element(*ring_.next_); }
  T* back() { return empty() ? nullptr : &element(*ring_.previous_); }
  T* pop_front() {
    T* item = front();
    if (item != nullptr) hook(*item).unlink();
    return item;
  }
  T* pop_back() {
    T* item = back();
    if (item != nullptr) hook(*item).unlink();
    return item;
  }

  // Moves all elements of `other` behind this list's, in order, in O(1).
  void splice(IntrusiveList& other) {
    if (&other == this || other.empty()) return;
    Hook* first = other.ring_.next_;
    Hook* last = other.ring_.previous_;
    other.ring_.previous_ = other.ring_.next_ = &other.ring_;
    first->previous_ = ring_.previous_;
    ring_.previous_->next_ = first;
    last->next_ = &ring_;
    ring_.previous_ = last;
  }

  // Unlinks all elements.
  void clear() {
    while (pop_front() != nullptr) {
    }
  }

  Iterator begin() { return Iterator(ring_.next_); }
  Iterator end() { return Iterator(&ring_); }

 private:
  static T& element(Hook& hook) { return static_cast<T&>(hook); }
  static Hook& hook(T& item) { return static_cast<Hook&>(item); }

  void move_before(T& item, Hook& place) {
    Hook& moved = hook(item);
    if (&moved == &place) return;  // already first
    moved.unlink();
    moved.link_before(place);
  }

  Hook ring_;  // stands before the first and behind the last element
};

}  // namespace weir
