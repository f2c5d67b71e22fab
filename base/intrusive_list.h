// IntrusiveList: a doubly linked list through hooks inside its elements. It never allocates and
// does not own its elements. An element leaves its list in O(1) when it is unlinked or destroyed.
// [one thread]
//
//   class Connection : public ListHook<struct Dirty>, public ListHook<struct Idle> { ... };
//   IntrusiveList<Connection, struct Dirty> dirty;
//   dirty.push_back(connection);
//   while (Connection* next = dirty.pop_front()) next->flush();
//
// An element is in at most one list for each tag. Destroying a list unlinks its elements.
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
  // Leaves the list. Does nothing when the element is in no list.
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

  // A ring; an unlinked hook is a ring of one.
  ListHook* previous_ = this;
  ListHook* next_ = this;
};

// T derives publicly from ListHook<Tag>.
template <typename T, typename Tag = void>
class IntrusiveList {
  using Hook = ListHook<Tag>;

 public:
  // Reads the next element before the caller sees the current one, so that the loop's body may
  // unlink or destroy the current element. If the body may unlink other elements, too, splice the
  // list into a local one and use pop_front().
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

  // Puts `item` at the end (or the start). If it is in another list of this tag, it leaves that
  // list.
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

  // Appends all elements of `other`, in order, in O(1). `other` is empty afterwards.
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
