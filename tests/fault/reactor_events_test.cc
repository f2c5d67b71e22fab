// Events that a kernel reports to a loop, and those that it never should: stale, reused, unknown,
// forged and spurious ones; and refusals to watch.
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "support/expect_log.h"
#include "support/handlers.h"
#include "support/loop_harness.h"
#include "support/spin_oracle.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/sys/sys.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

class ReactorEvents : public ::testing::Test, public LoopHarness {};

// -- F01, F02, F03: who is still there when its event comes ------------------------------

enum class End { remove, destroy, destroy_and_close };

TEST_F(ReactorEvents, F01_AnEventOfAChannelThatWentInTheSameBatchIsDropped) {
  for (const End end : {End::remove, End::destroy, End::destroy_and_close}) {
    std::array<std::size_t, 3> order{0, 1, 2};
    do {
      std::array<std::unique_ptr<Watched>, 3> watched;
      for (auto& each : watched) each = std::make_unique<Watched>(loop);
      std::array<int, 3> calls{};
      std::vector<FaultTable::Event> batch;
      for (const std::size_t i : order) batch.push_back({watched.at(i)->channel.id(), EPOLLIN});
      // The first one to be called ends the two others.
      for (std::size_t i = 0; i < 3; ++i) {
        watched[i]->handler.ready = [&, i](std::uint32_t) {
          ++calls[i];
          for (std::size_t other = 0; other < 3; ++other) {
            if (other == i) continue;
            if (end == End::remove) {
              watched[other]->channel.remove();
            } else {
              if (end == End::destroy_and_close) {
                watched[other]->channel.remove();
                watched[other]->pair.ours.reset();
              }
              watched[other].reset();
            }
          }
        };
      }
      const std::uint64_t spurious = loop.stats().spurious_events;
      faults.forge_batch(batch);
      run_turn(loop);
      const std::size_t first = order[0];
      EXPECT_EQ(calls[first], 1);
      EXPECT_EQ(calls[0] + calls[1] + calls[2], 1) << "only the first was there";
      EXPECT_EQ(loop.stats().spurious_events, spurious + 2);
      EXPECT_EQ(loop.stats().unknown_events, 0u);
    } while (std::next_permutation(order.begin(), order.end()));
  }
}

TEST_F(ReactorEvents, F01_TheSameInARealBatch) {
  constexpr int kChannels = 100;
  std::vector<std::unique_ptr<Watched>> watched;
  for (int i = 0; i < kChannels; ++i) {
    watched.push_back(std::make_unique<Watched>(loop));
    put(watched.back()->pair.theirs);
  }
  int calls = 0;
  for (auto& each : watched) {
    each->handler.ready = [&](std::uint32_t) {
      ++calls;
      watched.clear();
    };
  }
  // The lambda that runs goes with its channel, so it must not be touched after clear().
  run_turn(loop);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(loop.stats().spurious_events, static_cast<std::uint64_t>(kChannels - 1));
}

TEST_F(ReactorEvents, F02_AReusedDescriptorDoesNotGetItsPredecessorsEvent) {
  auto first = std::make_unique<Watched>(loop);
  auto second = std::make_unique<Watched>(loop);
  std::unique_ptr<Watched> third;
  const int number = second->pair.ours.get();
  first->handler.ready = [&](std::uint32_t) {
    second.reset();
    third = std::make_unique<Watched>(loop);
  };
  faults.forge_batch({{first->channel.id(), EPOLLIN}, {second->channel.id(), EPOLLIN}});
  run_turn(loop);
  ASSERT_TRUE(third);
  EXPECT_TRUE(third->pair.ours.get() == number || third->pair.theirs.get() == number)
      << "the test means to reuse the number";
  EXPECT_EQ(third->handler.calls, 0);
  EXPECT_EQ(loop.stats().spurious_events, 1u);
}

// Of two that are ready in one batch, the first replaces the other, and has sent nothing to the
// new.
TEST_F(ReactorEvents, F02_TheSameInARealBatch) {
  std::array<std::unique_ptr<Watched>, 2> watched{std::make_unique<Watched>(loop),
                                                  std::make_unique<Watched>(loop)};
  int calls = 0;
  std::unique_ptr<Watched> successor;
  for (std::size_t i = 0; i < watched.size(); ++i) {
    put(watched[i]->pair.theirs);
    watched[i]->handler.ready = [&, other = 1 - i](std::uint32_t) {
      ++calls;
      const int number = watched[other]->pair.ours.get();
      watched[other].reset();
      successor = std::make_unique<Watched>(loop);
      EXPECT_EQ(successor->pair.ours.get(), number) << "the test means to reuse the number";
    };
  }
  run_turn(loop);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(successor->handler.calls, 0);
}

TEST_F(ReactorEvents, F02_ChurnOfAHundredDescriptorsMixesNothingUp) {
  constexpr std::size_t kChannels = 100;
  std::vector<std::unique_ptr<Watched>> watched(kChannels);
  int wrong = 0;
  int served = 0;
  const auto renew = [&](std::size_t i, auto& self) -> void {
    watched[i] = std::make_unique<Watched>(loop);
    const std::string name = std::to_string(i) + "/" + std::to_string(served);
    put(watched[i]->pair.theirs, name);
    watched[i]->handler.ready = [&, i, name](std::uint32_t) {
      ++served;
      const std::string expected = name;
      if (take(watched[i]->pair.ours) != expected) ++wrong;
      // Ends itself and a neighbour that may be in this batch, and puts new ones in their place.
      const std::size_t mine = i;
      const std::size_t neighbour = (mine * 7 + 3) % kChannels;
      auto& again = self;
      auto keep = std::move(watched[mine]);
      loop.post([k = std::shared_ptr<Watched>(std::move(keep))] {});
      again(mine, again);
      if (neighbour != mine) again(neighbour, again);
    };
  };
  for (std::size_t i = 0; i < kChannels; ++i) renew(i, renew);
  EXPECT_TRUE(run_until(
      loop, [&] { return served > 20'000; }, 60s));
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(loop.stats().unknown_events, 0u);
}

// A handler of several events looks after each step whether it is still there.
TEST_F(ReactorEvents, F03_AHandlerMayEndItselfUnderEveryMask) {
  for (std::uint32_t mask = 1; mask < 32; ++mask) {
    std::uint32_t events = 0;
    if (mask & 1) events |= EPOLLIN;
    if (mask & 2) events |= EPOLLOUT;
    if (mask & 4) events |= EPOLLERR;
    if (mask & 8) events |= EPOLLHUP;
    if (mask & 16) events |= EPOLLRDHUP;
    auto watched = std::make_unique<Watched>(loop);
    int calls = 0;
    const SlotId id = watched->channel.id();
    watched->handler.ready = [&](std::uint32_t got) {
      ++calls;
      EXPECT_EQ(got, events);
      EventLoop& kept = loop;  // captures are destroyed with the handler
      const SlotId self = id;
      watched.reset();
      EXPECT_EQ(internal::core_of(kept).find_handler(self), nullptr)
          << "what a handler asks before it goes on";
    };
    faults.forge_batch({{id, events}, {id, events}});
    run_turn(loop);
    EXPECT_EQ(calls, 1) << "mask " << mask;
  }
}

// -- F04: descriptions that outlive their descriptor -------------------------------------

TEST_F(ReactorEvents, F04_ADuplicatedDescriptorThatIsRemovedFirstLeavesNothing) {
  auto watched = std::make_unique<Watched>(loop);
  run_turn(loop);
  const Fd duplicate(::dup(watched->pair.ours.get()));
  put(watched->pair.theirs);
  Fd peer = std::move(watched->pair.theirs);
  watched.reset();
  EXPECT_TRUE(rests(loop, faults, 200ms));
  EXPECT_EQ(loop.stats().unknown_events, 0u);
}

struct StillInEpoll {
  Fd duplicate;
  Fd peer;
};

// The mistake of foreign code: a descriptor is closed before its channel goes, and a duplicate
// keeps it in epoll, with an event.
StillInEpoll close_too_early(std::unique_ptr<Watched> watched) {
  StillInEpoll kept{.duplicate = Fd(::dup(watched->pair.ours.get())), .peer = Fd()};
  put(watched->pair.theirs);
  watched->pair.ours.reset();
  kept.peer = std::move(watched->pair.theirs);
  return kept;
}

TEST_F(ReactorEvents, F04_ADescriptorClosedTooEarlyWithADuplicateDoesNotSpin) {
  const ExpectLog rebuilt("still in epoll");
  auto watched = std::make_unique<Watched>(loop);
  Watched other(loop);
  run_turn(loop);
  const StillInEpoll kept = close_too_early(std::move(watched));
  EXPECT_TRUE(rests(loop, faults));
  EXPECT_EQ(loop.stats().unknown_events, 1u) << "told once";
  put(other.pair.theirs);
  EXPECT_TRUE(run_until(loop, [&] { return other.handler.calls > 0; }))
      << "the others are watched on";
}

TEST_F(ReactorEvents, F04_AForkThatKeepsTheDescriptionDoesNotSpin) {
  const ExpectLog rebuilt("still in epoll");
  auto watched = std::make_unique<Watched>(loop);
  run_turn(loop);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  put(watched->pair.theirs);
  watched->pair.ours.reset();
  Fd peer = std::move(watched->pair.theirs);
  watched.reset();
  EXPECT_TRUE(rests(loop, faults));
  EXPECT_LE(loop.stats().unknown_events, 1u);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST_F(ReactorEvents, F04_RebuildingSurvivesARefusedEpoll) {
  const ExpectLog failed("make a new epoll set");
  const ExpectLog rebuilt("still in epoll");
  Watched other(loop);
  run_turn(loop);
  faults.on(Call::epoll_create1).first(3).fail(EMFILE);
  faults.forge_batch({{SlotId{4000, 77}, EPOLLIN}});
  run_turn(loop);
  run_turns(loop, 5);
  EXPECT_EQ(faults.count(Call::epoll_create1), 5u) << "the first, three refused, one made";
  put(other.pair.theirs);
  run_turn(loop);
  EXPECT_GE(other.handler.calls, 1);
}

// A set that does not watch the eventfd would leave the loop asleep while others post.
TEST_F(ReactorEvents, F16_ANewSetThatRefusesTheEventfdIsAskedAgain) {
  const ExpectLog refused("watch the loop's eventfd");
  const ExpectLog rebuilt("still in epoll");
  run_turn(loop);
  faults.on(Call::epoll_ctl).argument(EPOLL_CTL_ADD).first(3).fail(ENOMEM);
  faults.forge_batch({{SlotId{4000, 77}, EPOLLIN}});
  run_turns(loop, 6);
  EXPECT_EQ(faults.count(Call::epoll_create1), 2u);
  const auto waits = [&] {
    return faults.count(Call::epoll_pwait2) + faults.count(Call::epoll_wait);
  };
  const std::uint64_t before = waits();
  const TimerId deadline = loop.run_after(kDeadline, [&] { loop.stop(); });
  std::thread other([&] {
    EXPECT_TRUE(wait_until([&] { return waits() > before; }));
    loop.post([&] { loop.stop(); });
  });
  loop.run();
  other.join();
  EXPECT_TRUE(loop.cancel(deadline)) << "the post woke the loop";
  EXPECT_TRUE(rests(loop, faults));
}

// While no new set can be made, the old one reports the event that cannot be removed.
TEST_F(ReactorEvents, F04_ALastingRefusalOfEpollDoesNotSpin) {
  const ExpectLog failed("make a new epoll set");
  const ExpectLog rebuilt("still in epoll");
  auto watched = std::make_unique<Watched>(loop);
  Watched other(loop);
  run_turn(loop);
  const StillInEpoll kept = close_too_early(std::move(watched));
  faults.on(Call::epoll_create1).always().fail(EMFILE);
  const std::uint64_t before = loop.stats().turns;
  constexpr std::uint64_t kMilliseconds = 200;
  run_for(loop, std::chrono::milliseconds(kMilliseconds));
  EXPECT_LE(loop.stats().turns - before, kMilliseconds + 2);
  put(other.pair.theirs);
  EXPECT_TRUE(run_until(loop, [&] { return other.handler.calls > 0; })) << "others are served";
  static_cast<void>(take(other.pair.ours));
  faults.clear();
  EXPECT_TRUE(rests(loop, faults));
}

// -- F07, F08, F09: what a mask may say --------------------------------------------------

TEST_F(ReactorEvents, F07_AHangUpWithoutInterestDoesNotSpinAndComesBackWithInterest) {
  for (const bool rude : {false, true}) {
    Watched watched(loop);
    run_turn(loop);
    watched.channel.set_reading(false);
    if (rude) put(watched.pair.ours);  // unread bytes make the peer's close a reset
    watched.pair.theirs.reset();
    EXPECT_TRUE(rests(loop, faults, 200ms));
    EXPECT_EQ(watched.handler.calls, 0);
    watched.channel.set_reading(true);
    run_turn(loop);
    EXPECT_EQ(watched.handler.calls, 1);
    EXPECT_TRUE(watched.handler.last_events & EPOLLHUP);
    EXPECT_EQ((watched.handler.last_events & EPOLLERR) != 0, rude);
  }
}

TEST_F(ReactorEvents, F08_EveryMaskReachesTheHandlerAsItIs) {
  constexpr std::array<std::uint32_t, 6> kBits{EPOLLIN,  EPOLLOUT, EPOLLERR,
                                               EPOLLHUP, EPOLLPRI, EPOLLRDHUP};
  Watched watched(loop);
  for (std::uint32_t combination = 1; combination < 64; ++combination) {
    std::uint32_t events = 0;
    for (std::size_t bit = 0; bit < kBits.size(); ++bit) {
      if (combination >> bit & 1) events |= kBits.at(bit);
    }
    faults.forge_batch({{watched.channel.id(), events}});
    run_turn(loop);
    EXPECT_EQ(watched.handler.calls, static_cast<int>(combination));
    EXPECT_EQ(watched.handler.last_events, events);
  }
}

TEST_F(ReactorEvents, F09_SpuriousReadinessAndEmptyReturnsHarmNobody) {
  Watched watched(loop);
  for (int i = 0; i < 10; ++i) {
    faults.forge_batch({{watched.channel.id(), EPOLLIN}});
    faults.forge_batch({});
  }
  run_turns(loop, 20);
  EXPECT_EQ(watched.handler.calls, 10);
  put(watched.pair.theirs, "real");
  run_turn(loop);
  EXPECT_EQ(take(watched.pair.ours), "real");
}

// The eventfd may be reported without having been written to.
TEST_F(ReactorEvents, F09_ASpuriousWakeUpIsHarmless) {
  std::optional<SlotId> waker;
  faults.edit_batches([&](std::vector<FaultTable::Event>& batch) {
    if (!batch.empty()) waker = batch.front().id;
  });
  on_other_thread([&] { loop.stop(); });
  loop.run();
  run_turn(loop);
  ASSERT_TRUE(waker);
  faults.clear();
  faults.forge_batch({{*waker, EPOLLIN}});
  run_turn(loop);
  EXPECT_TRUE(rests(loop, faults, 200ms));
}

TEST_F(ReactorEvents, AFullBatchIsServedAndTheRestFollows) {
  constexpr std::size_t kChannels = internal::EpollPoller::kMaxEventsPerTurn + 100;
  std::vector<std::unique_ptr<Watched>> watched;
  std::size_t served = 0;
  for (std::size_t i = 0; i < kChannels; ++i) {
    watched.push_back(std::make_unique<Watched>(loop));
    put(watched.back()->pair.theirs);
    watched.back()->handler.ready = [&, i](std::uint32_t) {
      ++served;
      static_cast<void>(take(watched[i]->pair.ours));
    };
  }
  run_turn(loop);
  EXPECT_EQ(served, internal::EpollPoller::kMaxEventsPerTurn);
  run_turn(loop);
  EXPECT_EQ(served, kChannels);
}

// -- F16: refusals -----------------------------------------------------------------------

TEST_F(ReactorEvents, F16_ARefusedAddIsTheChannelsErrorAndTheLoopGoesOn) {
  Watched other(loop);
  run_turn(loop);
  for (const int error : {ENOMEM, ENOSPC, EPERM, EEXIST, EBADF, ELOOP}) {
    SocketPair pair;
    TestHandler handler;
    Channel channel(loop, pair.ours.get(), handler);
    faults.on(Call::epoll_ctl).argument(EPOLL_CTL_ADD).nth(1).fail(error);
    channel.set_reading(true);
    EXPECT_EQ(handler.refusals, 0) << "never from inside the call";
    run_turn(loop);
    EXPECT_EQ(handler.refusals, 1);
    EXPECT_EQ(handler.last_error, error);
    EXPECT_FALSE(channel.reading());
    run_turn(loop);
    EXPECT_EQ(handler.refusals, 1) << "told once";

    put(other.pair.theirs);
    const int before = other.handler.calls;
    run_turn(loop);
    EXPECT_EQ(other.handler.calls, before + 1);
    static_cast<void>(take(other.pair.ours));

    faults.clear();
    channel.set_reading(true);
    put(pair.theirs);
    run_turn(loop);
    EXPECT_EQ(handler.calls, 1) << "setting it again tries again";
  }
}

TEST_F(ReactorEvents, F16_ARefusedChangeLeavesTheChannelUnregistered) {
  Watched watched(loop);
  run_turn(loop);
  faults.on(Call::epoll_ctl).argument(EPOLL_CTL_MOD).nth(1).fail(ENOMEM);
  watched.channel.set_writing(true);
  run_turn(loop);
  EXPECT_EQ(watched.handler.refusals, 1);
  EXPECT_FALSE(watched.channel.reading());
  EXPECT_FALSE(watched.channel.writing());
  put(watched.pair.theirs);
  run_turn(loop);
  EXPECT_EQ(watched.handler.calls, 0);
  watched.channel.set_reading(true);
  run_turn(loop);
  EXPECT_EQ(watched.handler.calls, 1);
}

TEST_F(ReactorEvents, F16_AModThatFindsNothingAddsAgain) {
  Watched watched(loop);
  run_turn(loop);
  faults.on(Call::epoll_ctl).argument(EPOLL_CTL_MOD).nth(1).hook([&] {
    // As when a descriptor was closed without the loop, and its number was used again.
    Fd fresh(::dup(watched.pair.ours.get()));
    ASSERT_GE(::dup3(fresh.get(), watched.pair.ours.get(), O_CLOEXEC), 0);
  });
  faults.on(Call::epoll_ctl).argument(EPOLL_CTL_MOD).nth(1).fail(ENOENT);
  faults.on(Call::epoll_ctl).argument(EPOLL_CTL_ADD).nth(1).answer(0);
  watched.channel.set_writing(true);
  run_turn(loop);
  EXPECT_EQ(watched.handler.refusals, 0);
  EXPECT_TRUE(watched.channel.writing());
}

TEST_F(ReactorEvents, F16_ARefusedRemovalHarmsNobody) {
  for (const int error : {ENOENT, EBADF}) {
    auto watched = std::make_unique<Watched>(loop);
    run_turn(loop);
    faults.on(Call::epoll_ctl).argument(EPOLL_CTL_DEL).nth(1).do_then_fail(error);
    watched.reset();
    run_turn(loop);
    faults.clear();
  }
  EXPECT_TRUE(rests(loop, faults, 200ms));
}

TEST_F(ReactorEvents, F16_ARegularFileIsRefusedByTheKernel) {
  std::string path = "/tmp/weir_XXXXXX";
  const Fd file(::mkstemp(path.data()));
  ::unlink(path.c_str());
  TestHandler handler;
  Channel channel(loop, file.get(), handler);
  channel.set_reading(true);
  run_turn(loop);
  EXPECT_EQ(handler.refusals, 1);
  EXPECT_EQ(handler.last_error, EPERM);
}

TEST_F(ReactorEvents, F16_TheHandlerMayGoWhenItIsRefused) {
  auto watched = std::make_unique<Watched>(loop);
  faults.on(Call::epoll_ctl).argument(EPOLL_CTL_ADD).nth(1).fail(ENOSPC);
  watched->handler.refused = [&](Errno) { watched.reset(); };
  run_turn(loop);
  EXPECT_EQ(watched, nullptr);
  run_turn(loop);
}

}  // namespace
}  // namespace weir::test
