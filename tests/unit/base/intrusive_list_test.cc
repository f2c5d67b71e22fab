#include "weir/base/intrusive_list.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <list>
#include <memory>
#include <random>
#include <utility>
#include <vector>

namespace weir {
namespace {

struct Red;
struct Blue;

struct Item : ListHook<Red>, ListHook<Blue> {
  explicit Item(int v) : value(v) {}
  int value;
};
using RedList = IntrusiveList<Item, Red>;
using BlueList = IntrusiveList<Item, Blue>;

ListHook<Red>& red(Item& item) { return item; }

std::vector<int> values(RedList& list) {
  std::vector<int> result;
  for (const Item& item : list) result.push_back(item.value);
  return result;
}

TEST(IntrusiveList, StartsEmpty) {
  RedList list;
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.front(), nullptr);
  EXPECT_EQ(list.back(), nullptr);
  EXPECT_EQ(list.pop_front(), nullptr);
  EXPECT_EQ(list.pop_back(), nullptr);
  EXPECT_TRUE(list.begin() == list.end());
}

TEST(IntrusiveList, KeepsOrder) {
  Item a(1), b(2), c(3);
  RedList list;
  list.push_back(b);
  list.push_back(c);
  list.push_front(a);
  EXPECT_EQ(values(list), (std::vector{1, 2, 3}));
  EXPECT_EQ(list.front(), &a);
  EXPECT_EQ(list.back(), &c);
  EXPECT_EQ(list.pop_front(), &a);
  EXPECT_EQ(list.pop_back(), &c);
  EXPECT_EQ(list.pop_back(), &b);
  EXPECT_TRUE(list.empty());
}

TEST(IntrusiveList, AnElementUnlinksItself) {
  Item a(1), b(2), c(3);
  RedList list;
  for (Item* item : {&a, &b, &c}) list.push_back(*item);
  EXPECT_TRUE(red(b).linked());
  red(b).unlink();
  EXPECT_FALSE(red(b).linked());
  red(b).unlink();
  EXPECT_EQ(values(list), (std::vector{1, 3}));
}

TEST(IntrusiveList, AnElementLeavesWhenDestroyed) {
  Item a(1), c(3);
  RedList list;
  BlueList blue;
  list.push_back(a);
  {
    Item b(2);
    list.push_back(b);
    blue.push_back(b);
    list.push_back(c);
    EXPECT_EQ(values(list), (std::vector{1, 2, 3}));
  }
  EXPECT_EQ(values(list), (std::vector{1, 3}));
  EXPECT_TRUE(blue.empty());
}

TEST(IntrusiveList, AListThatDiesLetsItsElementsGo) {
  Item a(1);
  {
    RedList list;
    list.push_back(a);
  }
  EXPECT_FALSE(red(a).linked());
}

TEST(IntrusiveList, PushMovesFromWhereverTheElementWas) {
  Item a(1), b(2), c(3);
  RedList list;
  RedList other;
  for (Item* item : {&a, &b, &c}) list.push_back(*item);
  list.push_back(a);
  EXPECT_EQ(values(list), (std::vector{2, 3, 1}));
  list.push_back(a);
  EXPECT_EQ(values(list), (std::vector{2, 3, 1}));
  list.push_front(a);
  list.push_front(a);
  EXPECT_EQ(values(list), (std::vector{1, 2, 3}));
  other.push_back(b);
  EXPECT_EQ(values(list), (std::vector{1, 3}));
  EXPECT_EQ(values(other), (std::vector{2}));
}

TEST(IntrusiveList, OneElementIsInOneListPerTag) {
  Item a(1), b(2);
  RedList reds;
  BlueList blues;
  reds.push_back(a);
  reds.push_back(b);
  blues.push_back(b);
  blues.push_back(a);
  EXPECT_EQ(reds.front(), &a);
  EXPECT_EQ(blues.front(), &b);
  red(a).unlink();
  EXPECT_EQ(blues.back(), &a);
}

TEST(IntrusiveList, SpliceMovesAllInOrder) {
  Item a(1), b(2), c(3);
  RedList one;
  RedList two;
  one.splice(two);
  EXPECT_TRUE(one.empty());
  two.push_back(a);
  two.push_back(b);
  one.splice(two);
  EXPECT_EQ(values(one), (std::vector{1, 2}));
  EXPECT_TRUE(two.empty());
  two.push_back(c);
  one.splice(two);
  one.splice(two);
  one.splice(one);
  EXPECT_EQ(values(one), (std::vector{1, 2, 3}));
  two.push_back(a);
  EXPECT_EQ(values(one), (std::vector{2, 3}));
  EXPECT_EQ(values(two), (std::vector{1}));
}

TEST(IntrusiveList, TheCurrentElementMayLeaveDuringIteration) {
  std::vector<std::unique_ptr<Item>> items;
  RedList list;
  for (int i = 0; i < 10; ++i) {
    items.push_back(std::make_unique<Item>(i));
    list.push_back(*items.back());
  }
  int visited = 0;
  for (Item& item : list) {
    ++visited;
    if (item.value % 2 == 0) items[static_cast<std::size_t>(item.value)].reset();
  }
  EXPECT_EQ(visited, 10);
  EXPECT_EQ(values(list), (std::vector{1, 3, 5, 7, 9}));
}

TEST(IntrusiveList, PoppingAllowsAnyElementToLeave) {
  std::vector<std::unique_ptr<Item>> items;
  RedList list;
  for (int i = 0; i < 10; ++i) {
    items.push_back(std::make_unique<Item>(i));
    list.push_back(*items.back());
  }
  std::vector<int> visited;
  while (Item* item = list.pop_front()) {
    const int value = item->value;
    visited.push_back(value);
    if (value < 5) items[static_cast<std::size_t>(9 - value)].reset();
  }
  EXPECT_EQ(visited, (std::vector{0, 1, 2, 3, 4}));
}

TEST(IntrusiveList, BehavesLikeItsModel) {
  for (const unsigned seed : {11U, 12U, 13U}) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    std::vector<std::unique_ptr<Item>> items;
    for (int i = 0; i < 40; ++i) items.push_back(std::make_unique<Item>(i));
    RedList lists[2];
    std::list<int> models[2];
    const auto forget = [&](int value) {
      for (std::list<int>& model : models) std::erase(model, value);
    };
    for (int step = 0; step < 20'000; ++step) {
      const std::size_t which = random() % 2;
      RedList& list = lists[which];
      std::list<int>& model = models[which];
      Item& item = *items[random() % items.size()];
      switch (random() % 8) {
        case 0:
        case 1:
          list.push_back(item);
          forget(item.value);
          model.push_back(item.value);
          break;
        case 2:
          list.push_front(item);
          forget(item.value);
          model.push_front(item.value);
          break;
        case 3:
          red(item).unlink();
          forget(item.value);
          break;
        case 4: {
          const Item* popped = list.pop_front();
          ASSERT_EQ(popped == nullptr, model.empty());
          if (popped != nullptr) {
            ASSERT_EQ(popped->value, model.front());
            model.pop_front();
          }
          break;
        }
        case 5: {
          const Item* popped = list.pop_back();
          ASSERT_EQ(popped == nullptr, model.empty());
          if (popped != nullptr) {
            ASSERT_EQ(popped->value, model.back());
            model.pop_back();
          }
          break;
        }
        case 6:
          if (step % 10 == 0) {
            list.splice(lists[1 - which]);
            model.splice(model.end(), models[1 - which]);
          }
          break;
        default: {
          const int value = item.value;
          items[static_cast<std::size_t>(value)] = std::make_unique<Item>(value);
          forget(value);
        }
      }
      for (std::size_t i = 0; i < 2; ++i) {
        ASSERT_EQ(values(lists[i]), std::vector<int>(models[i].begin(), models[i].end()));
        ASSERT_EQ(lists[i].empty(), models[i].empty());
      }
    }
  }
}

}  // namespace
}  // namespace weir
