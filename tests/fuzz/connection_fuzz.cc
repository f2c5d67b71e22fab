// Connections on a kernel in memory. The script is the peer of each (bytes, FIN, reset, a full
// socket, short transfers, errors, forged events, time) and the program: in each event it sends,
// pauses, closes, throws. Every byte is compared, and each event has to come in its order.
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/memory_streams.h"
#include "fuzz/target.h"
#include "weir/base/check_format.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/stream/tcp_connection.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::fuzz {
namespace {

using namespace std::chrono_literals;
using Kind = CloseReason::Kind;

constexpr std::size_t kConnections = 3;
// The most bytes of a stream in each direction. The model has room for them before it starts.
constexpr std::size_t kMost = 6 * 1024;

// The heap that a callback may take counts like bytes: when_sent() says so.
constexpr std::size_t kNotification = 48;

// A connection as the peer and the program see it.
struct Conversation {
  Conversation() { accepted.reserve(kMost + MemoryStreams::kFileSize); }

  int fd = -1;
  MemoryStreams::Stream* stream = nullptr;
  ConnectionRef ref;
  std::size_t arrived = 0;   // bytes that the peer sent
  std::size_t consumed = 0;  // bytes that the program took
  std::string accepted;      // the bytes of sends that were accepted
  int pauses = 0;
  int holds = 0;
  bool opened = false;
  bool half_closed = false;
  bool broken = false;  // the peer or the kernel reported an error, or a file was too short
  std::optional<CloseReason> reason;
};

class ConnectionScript final : public ConnectionHandler {
 public:
  explicit ConnectionScript(Bytes input)
      : script_(input), loop_(std::make_unique<EventLoop>(kLoop)) {
    server_ = std::make_unique<TcpServer>(*loop_, options());
    // Not owned: server_ is destroyed first.
    server_->use_handler(std::shared_ptr<ConnectionHandler>(this, [](ConnectionHandler*) {}));
    for (Conversation& it : all_) {
      it.fd = kernel_.open_stream();
      it.stream = &kernel_.stream(it.fd);
      it.stream->incoming.reserve(kMost);
      it.stream->outgoing.reserve(kMost + MemoryStreams::kFileSize);
    }
  }

  void run() {
    adopt();
    loop_->turn(0ns);
    HeapMeter heap;
    while (!script_.ended()) {
      step();
      check();
      heap.check(bytes_);
    }
    finish();
    server_.reset();
    loop_->turn(0ns);
    loop_.reset();
    for (Conversation& it : all_) it.ref = {};        // they keep the loop's mailbox
    const std::size_t left = all_.size() - adopted_;  // streams that nobody adopted
    WEIR_CHECK(kernel_.open_descriptors() == left, "{} descriptors are open, {} are expected",
               kernel_.open_descriptors(), left);
  }

 private:
  static constexpr EventLoop::Options kLoop{.receive_block = 1024, .stall_threshold = 0ns};

  TcpServer::Options options() {
    constexpr std::array<Duration, 4> kTimes = {0ns, 50ms, 1s, 1h};
    constexpr std::array<Overflow, 3> kOverflows = {Overflow::close, Overflow::drop,
                                                    Overflow::pause};
    TcpServer::Options options;
    options.trigger = script_.flag() ? Trigger::edge : Trigger::level;
    options.allow_half_open = script_.flag();
    options.overflow = kOverflows[script_.byte() % kOverflows.size()];
    options.max_output = 100 + script_.up_to(4000);
    options.high_water = 50 + script_.up_to(static_cast<std::size_t>(options.max_output) - 50);
    options.max_input = 200 + script_.up_to(4000);
    options.idle_timeout = kTimes[script_.byte() % kTimes.size()];
    options.message_timeout = kTimes[script_.byte() % kTimes.size()];
    options.write_stall_timeout = kTimes[script_.byte() % kTimes.size()];
    options.heartbeat_interval = kTimes[script_.byte() % kTimes.size()];
    return options;
  }

  // --- the peers and the kernel ---

  void adopt() {
    if (adopted_ == all_.size()) return;
    const auto taken = server_->adopt(Fd(all_[adopted_++].fd));
    WEIR_CHECK(taken, "{}", taken.error().message());
  }

  Conversation& any() { return all_[script_.byte() % adopted_]; }

  void step() {
    const std::uint8_t choice = script_.byte() % 16;
    if (choice == 0) return adopt();
    if (choice < 4) {
      loop_->turn(0ns);
      return;
    }
    if (choice == 4) return kernel_.advance(script_.byte() * Duration(10ms));
    Conversation& it = any();
    if (choice < 13) return peer_step(choice, it);
    if (TcpConnection* connection = it.ref.get()) {
      guarded([&] { act(*connection, it); });
    } else if (choice == 15) {
      kernel_.forge(script_.byte(), script_.byte());  // of nobody, or of somebody before
    }
  }

  void peer_step(std::uint8_t choice, Conversation& it) {
    MemoryStreams::Stream& stream = *it.stream;
    constexpr std::array<int, 3> kTransient = {EINTR, ENOBUFS, ENOMEM};
    constexpr std::array<int, 3> kFatal = {ECONNRESET, ETIMEDOUT, EHOSTUNREACH};
    switch (choice) {
      case 5:
      case 6:
      case 7:
        arrive(it, script_.up_to(choice == 5 ? 3000 : 100));
        break;
      case 8:
        stream.fin = true;
        break;
      case 9:
        stream.room = script_.flag() ? script_.up_to(3000) : MemoryStreams::kNoLimit;
        break;
      case 10:
        stream.step = script_.flag() ? 1 + script_.up_to(300) : MemoryStreams::kNoLimit;
        break;
      case 11:
        if (script_.byte() % 4 == 0) {
          stream.error = kFatal[script_.byte() % kFatal.size()];
          it.broken = true;
        } else {
          stream.next_error = kTransient[script_.byte() % kTransient.size()];
        }
        break;
      default:
        kernel_.forge(kernel_.registered(it.fd), script_.byte());
        return;
    }
    kernel_.changed(it.fd);
  }

  void arrive(Conversation& it, std::size_t size) {
    if (it.stream->fin || it.stream->error != 0 || it.stream->reset) return;
    size = std::min(size, kMost - it.arrived);
    it.stream->incoming += pattern(it.arrived, size);
    it.arrived += size;
    bytes_ += size;
  }

  // --- the program ---

  Conversation& of(const TcpConnection& connection) {
    const auto found = std::ranges::find(all_, connection.id(),
                                         [](const Conversation& it) { return it.ref.id(); });
    WEIR_CHECK(found != all_.end(), "an event of a connection that was not opened");
    WEIR_CHECK(!found->reason, "an event after on_close");
    return *found;
  }

  void on_open(TcpConnection& connection) override {
    // Descriptors are adopted in order, and closed by a connection only after this call.
    const auto found = std::ranges::find(all_, connection.fd(), &Conversation::fd);
    WEIR_CHECK(found != all_.end() && !found->opened, "on_open of {}", connection.fd());
    found->opened = true;
    found->ref = connection.ref();
    act(connection, *found);
  }

  void on_data(TcpConnection& connection, Buffer& in) override {
    Conversation& it = of(connection);
    WEIR_CHECK(!in.empty() && it.consumed + in.size() <= it.arrived, "{} bytes", in.size());
    WEIR_CHECK(in.view() == pattern(it.consumed, in.size()), "{} bytes differ", in.size());
    // Behind the end of the script all is consumed.
    const std::size_t left = script_.flag() ? script_.up_to(in.size()) : 0;
    it.consumed += in.size() - left;
    in.consume(in.size() - left);
    act(connection, it);
  }

  void on_half_close(TcpConnection& connection) override {
    Conversation& it = of(connection);
    WEIR_CHECK(!std::exchange(it.half_closed, true), "a second on_half_close");
    WEIR_CHECK(it.consumed + connection.pending_input() == it.arrived, "{} of {} bytes at the FIN",
               it.consumed + connection.pending_input(), it.arrived);
    act(connection, it);
  }

  void on_blocked(TcpConnection& connection) override { act(connection, of(connection)); }
  void on_drained(TcpConnection& connection) override { act(connection, of(connection)); }
  void on_heartbeat(TcpConnection& connection) override { act(connection, of(connection)); }
  bool on_timeout(TcpConnection& connection, Kind) override {
    act(connection, of(connection));
    return script_.flag();
  }
  void on_close(TcpConnection& connection, CloseReason reason) override {
    of(connection).reason = reason;
  }

  // False: these bytes were not accepted.
  bool expect(Conversation& it, SendResult result, std::string_view bytes) {
    if (result != SendResult::queued && result != SendResult::above_high_mark) return false;
    it.accepted += bytes;
    bytes_ += bytes.size();
    return true;
  }

  void act(TcpConnection& connection, Conversation& it) {
    const std::size_t room = kMost - std::min(kMost, it.accepted.size());
    switch (script_.byte() % 24) {
      case 1:
      case 2: {
        const std::string bytes = pattern(it.accepted.size(), std::min(room, script_.up_to(200)));
        expect(it, connection.send(bytes), bytes);
        return;
      }
      case 3:
      case 4: {
        const std::string bytes = pattern(it.accepted.size(), std::min(room, script_.up_to(6000)));
        expect(it, connection.send(SharedBytes::copy(bytes)), bytes);
        return;
      }
      case 5: {
        const std::string bytes = pattern(it.accepted.size(), std::min(room, script_.up_to(6000)));
        std::string moved = bytes;
        expect(it, connection.send(std::move(moved)), bytes);
        return;
      }
      case 6:
        return send_file(connection, it);
      case 7:
        return connection.shutdown();
      case 8:
        return connection.close();
      case 9:
        it.broken = true;
        return connection.abort();
      case 10:
        ++it.pauses;
        return connection.pause_reading();
      case 11:
        if (it.pauses == 0) return;
        --it.pauses;
        return connection.resume_reading();
      case 12:
        ++it.holds;
        return connection.hold_open();
      case 13:
        if (it.holds == 0) return;
        --it.holds;
        return connection.release();
      case 14:
        return connection.redeliver_input();
      case 15:
        throw std::runtime_error("as scripted");
      case 16:
        return connection.set_idle_timeout(script_.byte() * Duration(10ms));
      case 17:
        bytes_ += kNotification;
        return connection.when_sent(
            [this](TcpConnection& sender, bool) { act(sender, of(sender)); });
      case 18:
        bytes_ += kNotification;
        it.ref.post([this](TcpConnection& posted) { act(posted, of(posted)); });
        return;
      default:
        return;
    }
  }

  void send_file(TcpConnection& connection, Conversation& it) {
    const std::size_t offset = script_.up_to(MemoryStreams::kFileSize);
    const std::size_t length = script_.up_to(MemoryStreams::kFileSize + 10);
    if (it.accepted.size() + length > kMost) return;
    const std::string bytes = pattern(offset, std::min(length, MemoryStreams::kFileSize - offset));
    const SendResult result = connection.send_file(Fd(kernel_.open_file()), offset, length);
    if (expect(it, result, bytes) && bytes.size() < length) it.broken = true;
  }

  // What an exception does outside an event is the caller's matter.
  template <typename Fn>
  static void guarded(Fn&& fn) {
    try {
      fn();
    } catch (const std::runtime_error&) {
    }
  }

  // --- what must hold ---

  void check() const {
    for (const Conversation& it : all_) {
      WEIR_CHECK(it.accepted.starts_with(it.stream->outgoing),
                 "{} bytes were sent, not the {} that were accepted", it.stream->outgoing.size(),
                 it.accepted.size());
      WEIR_CHECK(!it.reason || it.opened, "closed before it was open");
      WEIR_CHECK(!it.reason || it.ref.get() == nullptr, "a reference to a closed connection");
    }
  }

  // All peers read and end, and the program resumes: then every connection must end in order, with
  // all bytes, unless something was broken.
  void finish() {
    for (Conversation& it : std::span(all_).first(adopted_)) {
      it.stream->room = it.stream->step = MemoryStreams::kNoLimit;
      it.stream->next_error = 0;
      kernel_.changed(it.fd);
    }
    rest();
    for (Conversation& it : all_) {
      TcpConnection* connection = it.ref.get();
      if (connection == nullptr) continue;
      for (; it.pauses > 0; --it.pauses) connection->resume_reading();
      for (; it.holds > 0; --it.holds) connection->release();
    }
    rest();
    check();
    for (const Conversation& it : all_) {
      TcpConnection* connection = it.ref.get();
      const bool clean_end =
          it.reason && (it.reason->kind == Kind::local_close || it.reason->kind == Kind::peer_eof);
      if (it.broken || (connection == nullptr && !clean_end)) continue;
      WEIR_CHECK(it.stream->outgoing.size() == it.accepted.size(), "{} of {} bytes were sent",
                 it.stream->outgoing.size(), it.accepted.size());
      if (connection == nullptr) continue;
      WEIR_CHECK(connection->pending_output() == 0, "pending: {}", connection->pending_output());
      if (connection->state() != TcpConnection::State::open) continue;
      WEIR_CHECK(it.consumed + connection->pending_input() == it.arrived, "{} of {} bytes came in",
                 it.consumed, it.arrived);
    }
  }

  // Until the loop only waits, also after the pause that follows ENOBUFS and ENOMEM.
  void rest() {
    settle();
    kernel_.advance(20ms);
    settle();
  }
  void settle() {
    const std::size_t most = 100 + bytes_;  // a turn makes a step of some connection
    for (std::size_t turn = 0; turn < most; ++turn) {
      loop_->turn(0ns);
      if (!kernel_.has_events() && loop_->max_wait() > 0ns) return;
    }
    WEIR_CHECK(false, "the loop does not come to rest");
  }

  Script script_;
  MemoryStreams kernel_;
  const internal::sys::ScopedTable use_{&kernel_};
  std::array<Conversation, kConnections> all_;
  std::size_t adopted_ = 0;
  std::size_t bytes_ = 0;  // received and sent, of all
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<TcpServer> server_;
};

void fuzz_connection(Bytes input) { ConnectionScript(input).run(); }

const Target kTarget("connection", fuzz_connection);

}  // namespace
}  // namespace weir::fuzz
