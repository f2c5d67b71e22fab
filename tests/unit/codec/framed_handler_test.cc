// FramedHandler over real connections, level- and edge-triggered.
#include "weir/net/codec/framed_handler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "support/allocations.h"
#include "support/expect_log.h"
#include "support/spin_oracle.h"
#include "support/tcp_harness.h"
#include "unit/codec/codec_check.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using Kind = CloseReason::Kind;

// Records its events; a test adds what it wants done.
template <FrameCodec C>
struct Recorder : FramedHandler<C> {
  using FramedHandler<C>::FramedHandler;

  std::function<void(TcpConnection&, std::string_view)> frame;
  std::function<void(TcpConnection&, const Error&)> error;  // without it, the default
  std::vector<std::string> frames;
  std::vector<std::string> errors;
  std::vector<ConnectionRef> refs;
  std::optional<CloseReason> reason;

  void on_open(TcpConnection& c) override { refs.push_back(c.ref()); }
  void on_frame(TcpConnection& c, std::string_view payload) override {
    frames.emplace_back(payload);
    if (frame) frame(c, payload);
  }
  void on_frame_error(TcpConnection& c, const Error& what) override {
    errors.push_back(what.message());
    if (error) {
      error(c, what);
    } else {
      FramedHandler<C>::on_frame_error(c, what);
    }
  }
  void on_close(TcpConnection&, CloseReason why) override { reason = why; }
};

// A server with such a handler on this thread's loop.
template <FrameCodec C>
struct Framed : LoopHarness {
  explicit Framed(C codec, TcpServer::Options options = {})
      : told(std::make_shared<Recorder<C>>(std::move(codec))) {
    server.emplace(loop, options);
    server->use_handler(told);
    auto bound = server->listen("127.0.0.1:0");
    if (!bound) ADD_FAILURE() << bound.error().message();
    if (bound) address = *bound;
  }
  TestClient connect(int receive_buffer = 0) {
    TestClient client;
    client.set_buffers(0, receive_buffer);
    client.connect(address);
    EXPECT_TRUE(until([&] { return !told->refs.empty(); }));
    return client;
  }
  bool until_closed() {
    return until([&] { return told->reason.has_value(); });
  }
  // The one that was opened last; it is still there. (Not inlined, or GCC warns of a null that it
  // cannot rule out.)
  [[gnu::noinline]] TcpConnection& connection() const { return *told->refs.back().get(); }

  std::shared_ptr<Recorder<C>> told;
  std::optional<TcpServer> server;
  SocketAddress address;
};

void limit_receives(FaultTable& faults, std::size_t most) {
  faults.clear();
  faults.on(Call::recv).limit_bytes(most);
  faults.on(Call::recvmsg).limit_bytes(most);
}

template <FrameCodec C>
std::string in_frames(const C& codec, const std::vector<std::string>& payloads) {
  Buffer out;
  for (const std::string& payload : payloads) {
    const auto encoded = codec.encode(payload, out);
    EXPECT_TRUE(encoded) << encoded.error().message();
  }
  return out.take();
}

// Runs fn(trigger) for both.
template <typename Fn>
void both_triggers(Fn&& fn) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    fn(trigger);
  }
}

TEST(FramedHandler, WholeFramesWhicheverWayTheyCome) {
  both_triggers([](Trigger trigger) {
    const auto check = [&](const auto& codec, std::size_t size) {
      std::vector<std::string> payloads;
      for (std::size_t i = 0; i < 50; ++i) {
        payloads.push_back(std::string(size != 0 ? size : i * 3, static_cast<char>('a' + i % 26)));
      }
      const std::string stream = in_frames(codec, payloads);
      for (const std::size_t piece : {1U, 2U, 7U, 100U, 100'000U}) {
        SCOPED_TRACE(piece);
        Framed framed(codec, {.trigger = trigger});
        TestClient client = framed.connect();
        limit_receives(framed.faults, piece);
        ASSERT_TRUE(client.send_all(stream));
        client.shutdown_write();
        ASSERT_TRUE(framed.until_closed());
        EXPECT_EQ(framed.told->frames, payloads);
        EXPECT_TRUE(framed.told->errors.empty());
        EXPECT_EQ(framed.told->reason->kind, Kind::peer_eof);
      }
    };
    check(LineCodec(), 0);
    check(DelimiterCodec("\r\n\r\n"), 0);
    check(LengthPrefixedCodec(), 0);
    check(VarintCodec(), 0);
    check(FixedCodec(31), 31);
  });
}

// A LineCodec that counts the bytes which it is shown for the first time or again.
class CountingCodec {
 public:
  explicit CountingCodec(std::uint64_t& searched, std::size_t max_frame)
      : line_({.max_frame = max_frame}), searched_(&searched) {}
  Decoded decode(std::string_view bytes, std::size_t& progress) const {
    *searched_ += bytes.size() - progress;
    return line_.decode(bytes, progress);
  }
  Decoded decode(std::string_view bytes) const { return line_.decode(bytes); }
  Result<void> encode(std::string_view payload, Buffer& out) const {
    return line_.encode(payload, out);
  }

 private:
  LineCodec line_;
  std::uint64_t* searched_;
};

TEST(FramedHandler, F28_OneByteFragmentsAreSearchedOnce) {
  both_triggers([](Trigger trigger) {
    constexpr std::size_t kSize = 20'000;
    std::uint64_t searched = 0;
    Framed framed(CountingCodec(searched, kSize), {.trigger = trigger});
    TestClient client = framed.connect();
    limit_receives(framed.faults, 1);
    ASSERT_TRUE(client.send_all(std::string(kSize, 'x') + "\nnext\n"));
    ASSERT_TRUE(framed.until([&] { return framed.told->frames.size() == 2; }));
    EXPECT_EQ(framed.told->frames[0].size(), kSize);
    EXPECT_EQ(framed.told->frames[1], "next");
    EXPECT_EQ(searched, kSize + 6);
  });
}

TEST(FramedHandler, PipelinedFramesAreAnsweredInOneSystemCallWithoutAllocation) {
  both_triggers([](Trigger trigger) {
    Framed framed(LengthPrefixedCodec(), {.trigger = trigger});
    std::size_t answered = 0;
    framed.told->frame = [&](TcpConnection& c, std::string_view payload) {
      framed.told->frames.clear();
      ++answered;
      EXPECT_EQ(framed.told->send_frame(c, payload), SendResult::queued);
    };
    TestClient client = framed.connect();
    const std::string batch =
        in_frames(framed.told->codec(), std::vector<std::string>(32, pattern(10)));
    std::uint64_t allocations = 0;
    std::uint64_t turns = 0;  // that sent answers: more than one a batch on a busy machine
    const auto exchange = [&] {
      ASSERT_TRUE(client.send_all(batch));
      const std::size_t whole = answered + 32;
      for (int i = 0; answered < whole && i < 100; ++i) {
        const std::size_t before = answered;
        const AllocationCount count;
        run_turn(framed.loop);
        if (answered > before) ++turns;
        if (answered - before == 32) allocations += count.on_this_thread();
      }
      ASSERT_EQ(answered, whole);
      ASSERT_EQ(client.receive_exactly(batch.size()), batch);
    };
    for (int i = 0; i < 20; ++i) exchange();
    allocations = turns = 0;
    const std::uint64_t sends = framed.faults.count(Call::send);
    for (int i = 0; i < 50; ++i) exchange();
    EXPECT_EQ(framed.faults.count(Call::send) - sends, turns);
    EXPECT_LT(turns, 100u) << "hardly any batch was answered in one turn";
    EXPECT_EQ(allocations, 0u);
  });
}

TEST(FramedHandler, PausingInsideAFrameKeepsTheRestForLater) {
  both_triggers([](Trigger trigger) {
    Framed framed(LineCodec(), {.trigger = trigger});
    framed.told->frame = [](TcpConnection& c, std::string_view) { c.pause_reading(); };
    TestClient client = framed.connect();
    ASSERT_TRUE(client.send_all("a\nb\nc\nd"));
    client.shutdown_write();
    const std::vector<std::string> lines{"a", "b", "c"};
    for (std::size_t n = 1; n <= 3; ++n) {
      ASSERT_TRUE(framed.until([&] { return framed.told->frames.size() == n; }));
      EXPECT_TRUE(rests(framed.loop, framed.faults, 50ms));
      EXPECT_EQ(framed.told->frames, std::vector(lines.begin(), lines.begin() + std::ptrdiff_t(n)));
      framed.connection().resume_reading();
    }
    const AllowLog allow("is closed: the stream ended inside a frame");
    ASSERT_TRUE(framed.until_closed());
    EXPECT_EQ(framed.told->frames, lines);
    EXPECT_EQ(framed.told->errors,
              std::vector<std::string>{"the stream ended inside a frame, after 1 of its bytes"});
  });
}

TEST(FramedHandler, PausingAndResumingInsideAFrameChangesNothing) {
  both_triggers([](Trigger trigger) {
    Framed framed(LineCodec(), {.trigger = trigger});
    framed.told->frame = [](TcpConnection& c, std::string_view) {
      c.pause_reading();
      c.resume_reading();
    };
    TestClient client = framed.connect();
    ASSERT_TRUE(client.send_all("a\nb\nc\n"));
    ASSERT_TRUE(framed.until([&] { return framed.told->frames.size() == 3; }));
    EXPECT_TRUE(rests(framed.loop, framed.faults, 50ms));
    EXPECT_EQ(framed.connection().pending_input(), 0u);
  });
}

TEST(FramedHandler, NoFrameAfterTheConnectionWasEndedInsideOne) {
  const auto throwing = [](TcpConnection&, std::string_view) { throw std::runtime_error("no"); };
  struct Way {
    Kind kind;
    std::function<void(TcpConnection&, std::string_view)> end;
  };
  const std::vector<Way> ways{
      {Kind::local_close, [](TcpConnection& c, std::string_view) { c.close(); }},
      {Kind::aborted, [](TcpConnection& c, std::string_view) { c.abort(); }},
      {Kind::handler_threw, throwing},
  };
  const ExpectLog allow("an exception left on_data");
  both_triggers([&](Trigger trigger) {
    for (const Way& way : ways) {
      SCOPED_TRACE(to_string(way.kind));
      Framed framed(LineCodec(), {.trigger = trigger});
      framed.told->frame = way.end;
      TestClient client = framed.connect();
      ASSERT_TRUE(client.send_all("a\nb\nc\nd"));
      client.shutdown_write();
      ASSERT_TRUE(framed.until_closed());
      EXPECT_EQ(framed.told->frames, std::vector<std::string>{"a"});
      EXPECT_EQ(framed.told->errors, std::vector<std::string>{});
      EXPECT_EQ(framed.told->reason->kind, way.kind);
    }
  });
}

TEST(FramedHandler, TheServerMayBeDestroyedInsideAFrame) {
  both_triggers([](Trigger trigger) {
    Framed framed(LineCodec(), {.trigger = trigger});
    framed.told->frame = [&](TcpConnection&, std::string_view) { framed.server.reset(); };
    TestClient client = framed.connect();
    ASSERT_TRUE(client.send_all("a\nb\n"));
    EXPECT_TRUE(framed.until([&] { return !framed.server; }));
    EXPECT_EQ(client.wait_for_end(), TestClient::End::reset);
    EXPECT_EQ(framed.told->frames, std::vector<std::string>{"a"});
    EXPECT_FALSE(framed.told->reason);
  });
}

TEST(FramedHandler, F65_AnAnnouncedGiantEndsTheConnectionBeforeItIsAwaited) {
  both_triggers([](Trigger trigger) {
    const AllowLog allow("is closed: the length field is 4294967295");
    Framed framed(LengthPrefixedCodec(), {.trigger = trigger});
    TestClient client = framed.connect();
    ASSERT_TRUE(client.send_all(std::string("\0\0\0\2ok\xFF\xFF\xFF\xFF", 10)));
    EXPECT_TRUE(framed.until([&] { return !framed.told->errors.empty(); }));
    EXPECT_NE(framed.connection().state(), TcpConnection::State::open);
    client.send_some("more of it, which nobody looks at");
    client.close();
    ASSERT_TRUE(framed.until_closed());
    EXPECT_EQ(framed.told->frames, std::vector<std::string>{"ok"});
    EXPECT_EQ(framed.told->errors,
              std::vector<std::string>{"the length field is 4294967295, which means 4294967295 "
                                       "bytes of payload; at most 65536 are accepted"});
    EXPECT_EQ(framed.told->reason->kind, Kind::local_close);
  });
}

// Does not say how long its frames may be, so that no listen() can refuse it.
struct Untold {
  Decoded decode(std::string_view bytes) const { return codec.decode(bytes); }
  Result<void> encode(std::string_view payload, Buffer& out) const {
    return codec.encode(payload, out);
  }
  LengthPrefixedCodec codec;
};

TEST(FramedHandler, F65_AFrameThatMaxInputHasNoRoomForEndsTheConnection) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    Framed served(Untold(), {.trigger = trigger, .max_input = 1000});
    TestClient client = served.connect();
    ASSERT_TRUE(client.send_all(in_frames(served.told->codec(), {pattern(996)})));
    EXPECT_TRUE(served.until([&] { return served.told->frames.size() == 1; }));
    ASSERT_TRUE(client.send_all(in_frames(served.told->codec(), {pattern(997)})));
    client.shutdown_write();
    EXPECT_TRUE(served.until_closed());
    EXPECT_EQ(served.told->reason->kind, Kind::input_overflow);
    EXPECT_EQ(served.told->frames.size(), 1u);
    EXPECT_TRUE(served.told->errors.empty()) << "it is a frame";
  }
}

// An override may have the last word, may abort, and need not close.
TEST(FramedHandler, AfterAnErrorTheConnectionEndsInAnyCase) {
  both_triggers([](Trigger trigger) {
    for (const bool abort : {false, true}) {
      Framed framed(LineCodec({.max_frame = 5}), {.trigger = trigger});
      framed.told->error = [&](TcpConnection& c, const Error& error) {
        EXPECT_EQ(framed.told->send_frame(c, "no"), SendResult::queued) << error.message();
        if (abort) c.abort();
      };
      TestClient client = framed.connect();
      ASSERT_TRUE(client.send_all("first\nsecond\nthird\n"));
      ASSERT_TRUE(framed.until([&] { return !framed.told->errors.empty(); }));
      run_turn(framed.loop);
      if (!abort) {
        EXPECT_EQ(client.receive_until_eof(), "no\n");
      }
      client.close();
      ASSERT_TRUE(framed.until_closed());
      EXPECT_EQ(framed.told->reason->kind, abort ? Kind::aborted : Kind::local_close);
      EXPECT_EQ(framed.told->frames, std::vector<std::string>{"first"});
      EXPECT_EQ(framed.told->errors.size(), 1u);
    }
  });
}

// Pausing in the refusal, too, loses nothing of what it has to remember.
TEST(FramedHandler, F65_AnOverlongLineIsRefusedOnceAndSkippedInBoundedMemory) {
  both_triggers([](Trigger trigger) {
    for (const bool pause : {false, true}) {
      for (const std::size_t piece : {1U, 5U, 1000U, 100'000U}) {
        SCOPED_TRACE(piece);
        Framed framed(LineCodec({.max_frame = 5, .skip_overlong = true}), {.trigger = trigger});
        std::size_t most = 0;
        framed.told->error = [&](TcpConnection& c, const Error&) {
          EXPECT_EQ(framed.told->send_frame(c, "no"), SendResult::queued);
          if (!pause) return;
          c.pause_reading();
          framed.loop.post([ref = c.ref()] { ref.get()->resume_reading(); });
        };
        TestClient client = framed.connect();
        limit_receives(framed.faults, piece);
        const std::string endless(piece < 10 ? 500 : 100'000, 'x');
        ASSERT_TRUE(client.send_all("one\n" + endless + "\ntwo\n" + endless + "\r\nthree\n"));
        ASSERT_TRUE(framed.until([&] {
          most = std::max(most, framed.connection().pending_input());
          return framed.told->frames.size() == 3;
        }));
        EXPECT_EQ(framed.told->frames, (std::vector<std::string>{"one", "two", "three"}));
        EXPECT_EQ(framed.told->errors.size(), 2u);
        EXPECT_EQ(client.receive_exactly(6), "no\nno\n");
        EXPECT_LE(most, pause ? endless.size() * 2 + 30 : 6u);
        client.shutdown_write();
        ASSERT_TRUE(framed.until_closed());
        EXPECT_EQ(framed.told->reason->kind, Kind::peer_eof);
      }
    }
  });
}

TEST(FramedHandler, AnEndOfTheStreamInsideAFrameIsToldBeforeTheClose) {
  both_triggers([](Trigger trigger) {
    for (const bool half_open : {false, true}) {
      const AllowLog allow("the stream ended inside a frame, after 4 of its bytes");
      Framed framed(LineCodec(), {.trigger = trigger, .allow_half_open = half_open});
      TestClient client = framed.connect();
      ASSERT_TRUE(client.send_all("whole\npart"));
      client.shutdown_write();
      ASSERT_TRUE(framed.until_closed());
      EXPECT_EQ(framed.told->frames, std::vector<std::string>{"whole"});
      EXPECT_EQ(framed.told->errors.size(), 1u);
      EXPECT_EQ(framed.told->reason->kind, Kind::local_close);
    }
  });
}

// An override that lets a half-open connection live can still answer what was whole.
TEST(FramedHandler, AnEndInsideAFrameNeedNotEndTheOtherDirection) {
  Framed framed(LineCodec(), {.allow_half_open = true});
  framed.told->error = [](TcpConnection&, const Error&) {};
  TestClient client = framed.connect();
  ASSERT_TRUE(client.send_all("whole\npart"));
  client.shutdown_write();
  ASSERT_TRUE(framed.until([&] { return !framed.told->errors.empty(); }));
  EXPECT_EQ(framed.told->send_frame(framed.connection(), "late answer"), SendResult::queued);
  framed.connection().close();
  ASSERT_TRUE(framed.until_closed());
  EXPECT_EQ(client.receive_until_eof(), "late answer\n");
}

// The most frames that came in one turn, until done().
std::size_t most_in_a_turn(auto& framed, auto done) {
  std::size_t most = 0;
  EXPECT_TRUE(wait_until([&] {
    const std::size_t before = framed.told->frames.size();
    run_turn(framed.loop);
    most = std::max(most, framed.told->frames.size() - before);
    return done();
  }));
  return most;
}

// Many small questions with large answers, and a peer that does not read: what waits stays at the
// high mark, and afterwards every answer is there.
TEST(FramedHandler, AnswersAboveTheHighMarkMakeTheNextFramesWait) {
  both_triggers([](Trigger trigger) {
    constexpr std::size_t kAnswer = 4000;
    constexpr std::size_t kHigh = 32 * 1024;
    constexpr std::size_t kQuestions = 1000;
    Framed framed(LineCodec(), {.trigger = trigger, .high_water = kHigh, .max_output = 2 * kHigh});
    std::uint64_t most = 0;
    framed.told->frame = [&](TcpConnection& c, std::string_view) {
      EXPECT_TRUE(framed.told->send_frame(c, std::string(kAnswer, 'a')));
      most = std::max(most, c.pending_output());
    };
    TestClient client = framed.connect(4096);
    shrink_send_buffer(framed.connection());
    std::string questions;
    for (std::size_t i = 0; i < kQuestions; ++i) questions += "?\n";
    ASSERT_TRUE(client.send_all(questions));
    client.shutdown_write();
    ASSERT_TRUE(framed.until([&] { return most >= kHigh; }));
    EXPECT_TRUE(rests(framed.loop, framed.faults, 50ms));
    EXPECT_LT(framed.told->frames.size(), kQuestions);
    std::size_t got = 0;
    ASSERT_TRUE(framed.until([&] {
      got += client.receive_for(Duration::zero()).size();
      return got == kQuestions * (kAnswer + 1);
    }));
    EXPECT_LE(most, kHigh + 2 * kAnswer);
    client.close();
    ASSERT_TRUE(framed.until_closed());
    EXPECT_EQ(framed.told->reason->kind, Kind::peer_eof);
    EXPECT_TRUE(framed.told->errors.empty());
  });
}

TEST(FramedHandler, TinyFramesAreToldInBoundedPortions) {
  both_triggers([](Trigger trigger) {
    constexpr std::size_t kFrames = 3 * FramedHandler<LineCodec>::kMaxFramesPerCall + 5;
    Framed framed(LineCodec(), {.trigger = trigger});
    TestClient client = framed.connect();
    ASSERT_TRUE(client.send_all(std::string(kFrames, '\n')));
    client.shutdown_write();
    const std::size_t most =
        most_in_a_turn(framed, [&] { return framed.told->reason.has_value(); });
    client.close();
    ASSERT_TRUE(framed.until_closed());
    EXPECT_EQ(framed.told->frames.size(), kFrames);
    EXPECT_TRUE(framed.told->errors.empty()) << "the end came after the last of them";
    EXPECT_LE(most, 2u * FramedHandler<LineCodec>::kMaxFramesPerCall);
  });
}

// Their number alone is no bound: 4096 frames of 13 ms would be 53 s.
TEST(FramedHandler, F13_FramesThatTakeLongDoNotHoldTheLoop) {
  both_triggers([](Trigger trigger) {
    constexpr std::size_t kFrames = 100;
    Framed framed(LineCodec(), {.trigger = trigger});
    framed.told->frame = [](TcpConnection&, std::string_view) {
      const TimePoint end = Clock::now() + 2ms;  // a connection's share of a turn is 1 ms
      while (Clock::now() < end) {
      }
    };
    TestClient client = framed.connect();
    ASSERT_TRUE(client.send_all(std::string(kFrames, '\n')));
    const std::size_t most =
        most_in_a_turn(framed, [&] { return framed.told->frames.size() >= kFrames; });
    client.close();
    ASSERT_TRUE(framed.until_closed());
    EXPECT_EQ(framed.told->frames.size(), kFrames);
    EXPECT_LE(most, 1u);
  });
}

// A head as a line, a body of fixed size, and again: one handler each, in one segment.
TEST(FramedHandler, HandlersMayHandOverAtEveryFrame) {
  both_triggers([](Trigger trigger) {
    constexpr int kRounds = 2000;
    Recorder<FixedCodec> bodies{FixedCodec(3)};
    Framed framed(LineCodec(), {.trigger = trigger});
    framed.told->frame = [&](TcpConnection& c, std::string_view) { c.set_handler(bodies); };
    bodies.frame = [&](TcpConnection& c, std::string_view) { c.set_handler(*framed.told); };
    TestClient client = framed.connect();
    std::string stream;
    for (int i = 0; i < kRounds; ++i) stream += "head\nb\no";
    ASSERT_TRUE(client.send_all(stream));
    client.shutdown_write();
    ASSERT_TRUE(framed.until_closed());
    EXPECT_EQ(framed.told->frames, std::vector<std::string>(kRounds, "head"));
    EXPECT_EQ(bodies.frames, std::vector<std::string>(kRounds, "b\no"));
    EXPECT_TRUE(framed.told->errors.empty() && bodies.errors.empty());
  });
}

TEST(FramedHandler, APayloadThatIsNoFrameIsNotSent) {
  const ExpectLog allow("was not sent: ");
  Framed framed{LineCodec()};
  TestClient client = framed.connect();
  const auto refused = framed.told->send_frame(framed.connection(), "two\nlines");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message(),
            "byte 3 of the payload is a line feed, which would end the line");
  const std::string large(60'000, 'x');
  EXPECT_EQ(framed.told->send_frame(framed.connection(), large), SendResult::queued);
  framed.connection().close();
  ASSERT_TRUE(
      framed.until([&] { return framed.connection().state() == TcpConnection::State::lingering; }));
  EXPECT_EQ(client.receive_until_eof(), large + "\n");
  client.close();
  ASSERT_TRUE(framed.until_closed());
}

TEST(FramedHandler, TheContextOfAConnectionIsTheUsers) {
  both_triggers([](Trigger trigger) {
    Framed framed(LineCodec(), {.trigger = trigger});
    std::string seen;
    framed.told->frame = [&](TcpConnection& c, std::string_view payload) {
      std::string* text = c.context<std::string>();
      if (text == nullptr) text = &c.set_context<std::string>();
      *text += payload;
      seen = *text;
    };
    TestClient client = framed.connect();
    limit_receives(framed.faults, 1);
    ASSERT_TRUE(client.send_all("ab\ncd\nef\n"));
    ASSERT_TRUE(framed.until([&] { return framed.told->frames.size() == 3; }));
    EXPECT_EQ(seen, "abcdef");
  });
}

// Whole frames are consumed as they come, so each has its own deadline.
TEST(FramedHandler, F33_ATrickledFrameEndsAtTheMessageDeadline) {
  both_triggers([](Trigger trigger) {
    Framed framed(VarintCodec(), {.trigger = trigger, .message_timeout = 20s});
    TestClient client = framed.connect();
    const auto send_and_pass = [&](std::string_view bytes) {
      ASSERT_TRUE(client.send_all(bytes));
      pass(framed, 1s);
    };
    for (int i = 0; i < 50; ++i) send_and_pass("\x02ok");
    EXPECT_EQ(framed.told->frames.size(), 50u);
    EXPECT_EQ(framed.connection().state(), TcpConnection::State::open);
    send_and_pass("\x40");
    for (int i = 0; i < 25; ++i) send_and_pass("x");
    EXPECT_NE(framed.connection().state(), TcpConnection::State::open);
    client.close();
    ASSERT_TRUE(framed.until_closed());
    EXPECT_EQ(framed.told->reason->kind, Kind::message_timeout);
    EXPECT_EQ(framed.told->frames.size(), 50u);
  });
}

// Bytes of it are consumed as they come, but that is no progress.
TEST(FramedHandler, F33_AnOverlongLineThatIsSkippedEndsAtTheMessageDeadline) {
  both_triggers([](Trigger trigger) {
    Framed framed(LineCodec({.max_frame = 5, .skip_overlong = true}),
                  {.trigger = trigger, .message_timeout = 20s});
    framed.told->error = [](TcpConnection&, const Error&) {};
    TestClient client = framed.connect();
    const auto send_and_pass = [&](std::string_view bytes) {
      ASSERT_TRUE(client.send_all(bytes));
      pass(framed, 1s);
    };
    // Each line ends, and another begins, in time.
    for (int i = 0; i < 10; ++i) {
      send_and_pass("too long");
      for (int second = 0; second < 10; ++second) send_and_pass("still the same");
      send_and_pass("\nok\n");
      for (int second = 0; second < 5; ++second) send_and_pass("\nok\ntoo long");
      send_and_pass("\n");
    }
    EXPECT_EQ(framed.told->frames.size(), 70u);  // 10 empty ones
    EXPECT_EQ(framed.told->errors.size(), 60u);
    EXPECT_EQ(framed.connection().state(), TcpConnection::State::open);
    for (int second = 0; second < 25; ++second) send_and_pass("a line without end");
    EXPECT_NE(framed.connection().state(), TcpConnection::State::open);
    client.close();
    ASSERT_TRUE(framed.until_closed());
    EXPECT_EQ(framed.told->reason->kind, Kind::message_timeout);
    EXPECT_EQ(framed.told->errors.size(), 61u);
  });
}

// As docs/codec.md has it.
TEST(FramedHandler, TheExampleOfTheDocumentation) {
  struct Greeter final : weir::FramedHandler<weir::LineCodec> {
    void on_frame(weir::TcpConnection& conn, std::string_view name) override {
      send_frame(conn, "Hello, " + std::string(name) + "!");
    }
  };

  weir::EventLoop loop;
  weir::TcpServer server(loop, {.message_timeout = std::chrono::seconds(10)});
  server.use_handler(std::make_shared<Greeter>());
  const auto address = server.listen("127.0.0.1:0");
  ASSERT_TRUE(address);
  TestClient client(*address);
  ASSERT_TRUE(client.send_all("Ann\r\nBob\n"));
  std::string got;
  EXPECT_TRUE(run_until(loop, [&] {
    got += client.receive_for(Duration::zero());
    return got == "Hello, Ann!\nHello, Bob!\n";
  }));
}

// One handler for the connections of several loops, partial frames waiting on all of them.
TEST(FramedHandler, OneHandlerServesSeveralLoops) {
  struct Echo final : FramedHandler<LineCodec> {
    std::mutex mutex;
    std::set<std::thread::id> threads;
    void on_frame(TcpConnection& c, std::string_view payload) override {
      {
        const std::lock_guard lock(mutex);
        threads.insert(std::this_thread::get_id());
      }
      EXPECT_TRUE(send_frame(c, payload));
    }
  };
  for (const bool per_loop : {false, true}) {
    EventLoop loop;
    TcpServer server(loop, {.threads = 2});
    std::vector<std::shared_ptr<Echo>> handlers;
    if (per_loop) {
      server.handlers_per_loop([&](EventLoop&) {
        static std::mutex making;
        const std::lock_guard lock(making);
        return handlers.emplace_back(std::make_shared<Echo>());
      });
    } else {
      server.use_handler(handlers.emplace_back(std::make_shared<Echo>()));
    }
    const auto address = server.listen("127.0.0.1:0");
    ASSERT_TRUE(address);
    std::thread clients([&] {
      std::vector<TestClient> some;
      for (int i = 0; i < 8; ++i) some.emplace_back(*address);
      for (int round = 0; round < 10; ++round) {
        for (TestClient& client : some) EXPECT_TRUE(client.send_all("part"));
        for (TestClient& client : some) EXPECT_TRUE(client.send_all("ial\n"));
        for (TestClient& client : some) EXPECT_EQ(client.receive_exactly(8), "partial\n");
      }
      loop.stop();
    });
    loop.run();
    clients.join();
    std::size_t threads = 0;
    for (const auto& handler : handlers) threads += handler->threads.size();
    EXPECT_EQ(threads, 2u);
    EXPECT_EQ(handlers.size(), per_loop ? 2u : 1u);
  }
}

}  // namespace
}  // namespace weir::test
