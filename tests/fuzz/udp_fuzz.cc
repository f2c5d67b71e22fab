// A datagram socket on a network in memory. The script is the network (datagrams, joined ones,
// truncated ones, errors, a full socket) and the program, which answers, pauses and closes in its
// events. Each datagram has to be delivered once and in order, and each accepted one has to be sent
// in order, or reported, or counted.
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/memory_datagrams.h"
#include "fuzz/target.h"
#include "weir/base/check_format.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::fuzz {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kPeers = 3;
constexpr std::size_t kMostBytes = 64 * 1024;  // of all datagrams of a script
constexpr std::uint64_t kMostDatagrams = 2000;
// The model keeps each datagram. This counts like bytes that came in.
constexpr std::size_t kRecord = 192;

// The network and the loop of all scripts. The loop's tables for datagrams have 4 MiB, too much to
// be made for each. Never destroyed: that would need the network once more.
struct World {
  World() { making.reset(); }
  MemoryDatagrams network;
  std::optional<internal::sys::ScopedTable> making{std::in_place, &network};
  EventLoop loop{EventLoop::Options{.stall_threshold = 0ns}};
};

World& world() {
  static World& made = *new World;
  return made;
}

class UdpScript final : public DatagramHandler {
 public:
  explicit UdpScript(Bytes input) : script_(input), ipv6_(script_.flag()), options_(options()) {
    network_.reset(ipv6_);
    network_.sent = [this](const SocketAddress& to, std::string_view bytes) { sent(to, bytes); };
    for (std::uint16_t i = 0; i < kPeers; ++i) {
      const auto port = static_cast<std::uint16_t>(100 + i);
      peers_[i] = ipv6_ ? SocketAddress::loopback_ipv6(port) : SocketAddress::loopback_ipv4(port);
    }
  }

  void run() {
    socket_ = std::make_unique<UdpSocket>(loop_, options_);
    // Not owned: the socket is destroyed first.
    socket_->use_handler(std::shared_ptr<DatagramHandler>(this, [](DatagramHandler*) {}));
    connected_ = script_.flag();
    const auto opened = connected_ ? socket_->connect(peers_[0]) : socket_->bind(network_.local());
    WEIR_CHECK(opened, "{}", opened.error().message());
    HeapMeter heap;
    while (!script_.ended()) {
      step();
      heap.check(counted_);
    }
    finish();
    socket_.reset();
    loop_.turn(0ns);
    network_.sent = nullptr;
    WEIR_CHECK(!network_.is_open(network_.fd()), "the socket is still open");
  }

 private:
  UdpSocket::Options options() {
    constexpr std::array<QueueFull, 3> kFull = {QueueFull::drop_newest, QueueFull::drop_oldest,
                                                QueueFull::refuse};
    UdpSocket::Options options;
    options.packet_info = script_.flag();
    options.segment = script_.flag();
    options.coalesce = script_.flag();
    options.max_queued = 500 + script_.up_to(8000);
    options.queue_full = kFull[script_.byte() % kFull.size()];
    return options;
  }

  // --- the network ---

  void step() {
    constexpr std::array<int, 3> kReceive = {EINTR, ECONNREFUSED, ENOMEM};
    constexpr std::array<int, 8> kSend = {EINTR,  ENOBUFS,     EMSGSIZE,     EPERM,
                                          EINVAL, ENETUNREACH, ECONNREFUSED, EIO};
    switch (script_.byte() % 12) {
      case 0:
      case 1:
      case 2:
      case 3:
        return arrive();
      case 4:
        network_.room = script_.flag() ? script_.byte() : static_cast<std::size_t>(-1);
        break;
      case 5:
        network_.receive_error = kReceive[script_.byte() % kReceive.size()];
        break;
      case 6:
        network_.send_error = kSend[script_.byte() % kSend.size()];
        return;
      case 7:
        network_.error = ECONNREFUSED;
        break;
      case 8:
        return network_.advance(script_.byte() * Duration(1ms));
      case 9:
        network_.forge(network_.registered(network_.fd()), script_.byte());
        return;
      case 10:
        return act(nullptr);
      default:
        loop_.turn(0ns);
        return;
    }
    network_.changed();
  }

  void arrive() {
    MemoryDatagrams::Message message;
    message.peer = peers_[connected_ ? 0 : script_.byte() % kPeers];
    message.packet_info = options_.packet_info;
    const std::size_t size = script_.flag() ? script_.up_to(3000) : script_.up_to(40);
    if (bytes_ + size > kMostBytes) return;
    bytes_ += size;
    counted_ += size;
    message.payload = pattern(bytes_, size);
    message.truncated = script_.byte() % 16 == 0;
    if (options_.coalesce) message.segment = script_.byte();
    const std::size_t segment = message.segment == 0 ? size : message.segment;
    std::size_t at = 0;
    do {
      Message part = {.payload = message.payload.substr(at, segment),
                      .peer = message.peer,
                      .truncated = message.truncated};
      arrived_.push_back(std::move(part));
      counted_ += kRecord;
      at += segment;
    } while (at < size);
    network_.incoming.push_back(std::move(message));
    network_.changed();
  }

  // --- the program ---

  void on_datagrams(UdpSocket& socket, std::span<const Datagram> batch) override {
    WEIR_CHECK(!batch.empty() && batch.size() <= UdpSocket::kMaxBatch, "{}", batch.size());
    for (const Datagram& in : batch) {
      WEIR_CHECK(!arrived_.empty(), "a datagram that was not sent");
      const Message expected = std::move(arrived_.front());
      arrived_.pop_front();
      WEIR_CHECK(in.text() == expected.payload, "{} bytes differ", in.payload.size());
      WEIR_CHECK(in.peer.copy() == expected.peer, "from {}", in.peer.copy().to_string());
      WEIR_CHECK(in.truncated == expected.truncated, "truncated");
      const SocketAddress local =
          options_.packet_info ? network_.local().with_port(0) : SocketAddress();
      WEIR_CHECK(in.local_address() == local, "to {}", in.local_address().to_string());
    }
    for (const Datagram& in : batch) {
      if (!socket.is_open()) return;
      act(&in);
    }
  }
  void on_send_failed(UdpSocket&, const FailedDatagram& failure) override {
    WEIR_CHECK(failure.number < accepted_.size(), "number {}", failure.number);
    const Accepted& lost = accepted_[failure.number];
    WEIR_CHECK(lost.bytes.size() == failure.size && lost.to == failure.to, "another datagram");
    WEIR_CHECK(failure.error != 0, "no error");
    act(nullptr);
  }
  void on_drained(UdpSocket&) override {
    WEIR_CHECK(std::exchange(refused_, false), "nothing was refused");
    act(nullptr);
  }
  void on_error(UdpSocket&, Errno error) override {
    WEIR_CHECK(error != 0, "no error");
    if (error == ESHUTDOWN) shut_ = true;
    act(nullptr);
  }

  void act(const Datagram* in) {
    switch (script_.byte() % 12) {
      case 1:
      case 2:
        if (in == nullptr) return;
        return expect(in->peer.copy(), in->text(),
                      [&] { return socket_->reply(*in, in->payload); });
      case 3:
      case 4:
      case 5:
        return send(script_.up_to(60));
      case 6:
        return send(script_.up_to(2500));
      case 7:
        ++pauses_;
        return socket_->pause_receiving();
      case 8:
        if (pauses_ == 0) return;
        --pauses_;
        return socket_->resume_receiving();
      case 9:
        if (script_.byte() % 4 == 0) socket_->close();
        return;
      case 10:
        if (in != nullptr) throw std::runtime_error("as scripted");
        return;
      default:
        return;
    }
  }

  void send(std::size_t size) {
    if (bytes_ + size > kMostBytes || accepted_.size() > kMostDatagrams) return;
    bytes_ += size;
    // A series of equal sizes to one peer may leave as one message of several segments.
    const std::size_t times = 1 + script_.byte() % 4;
    const std::size_t peer = script_.byte() % (kPeers + 1);
    for (std::size_t i = 0; i < times; ++i) {
      const std::string bytes = pattern(accepted_.size() * 7, size);
      if (peer == kPeers) {
        expect({}, bytes, [&] { return socket_->send(bytes); });
      } else {
        expect(peers_[peer], bytes, [&] { return socket_->send_to(peers_[peer], bytes); });
      }
    }
  }

  template <typename Send>
  void expect(const SocketAddress& to, std::string_view bytes, Send send) {
    counted_ += bytes.size() + kRecord;
    accepted_.push_back({.to = to, .bytes = std::string(bytes)});  // it may be sent in the call
    const DatagramResult result = send();
    if (result != DatagramResult::queued) {
      WEIR_CHECK(next_ < accepted_.size(), "a datagram was sent and not accepted");
      accepted_.pop_back();
    }
    if (result == DatagramResult::dropped) {
      ++dropped_;
      WEIR_CHECK(options_.queue_full != QueueFull::refuse, "dropped");
    } else if (result == DatagramResult::refused) {
      refused_ = true;
      WEIR_CHECK(options_.queue_full == QueueFull::refuse, "refused");
    }
    WEIR_CHECK(socket_->accepted() == accepted_.size(), "accepted {}", socket_->accepted());
    WEIR_CHECK(socket_->queued_bytes() <= options_.max_queued, "queued {}",
               socket_->queued_bytes());
  }

  // The network gets accepted datagrams in order. Those left out have failed or were dropped.
  void sent(const SocketAddress& to, std::string_view bytes) {
    const auto is_it = [&](const Accepted& it) { return it.to == to && it.bytes == bytes; };
    while (next_ < accepted_.size() && !is_it(accepted_[next_])) ++next_;
    WEIR_CHECK(next_ < accepted_.size(), "{} bytes are sent twice, late, or are unknown",
               bytes.size());
    ++next_;
    ++sent_;
  }

  void finish() {
    network_.room = static_cast<std::size_t>(-1);
    network_.receive_error = network_.send_error = 0;
    network_.changed();
    for (; pauses_ > 0; --pauses_) socket_->resume_receiving();
    const std::size_t most = 200 + bytes_ + network_.incoming.size();
    for (std::size_t turn = 0;; ++turn) {
      WEIR_CHECK(turn < most, "the loop does not come to rest");
      network_.advance(1s);
      loop_.turn(0ns);
      if (!network_.has_events() && loop_.max_wait() == Duration::max()) break;
    }
    const UdpSocket::Stats stats = socket_->stats();
    WEIR_CHECK(!socket_->is_open() || shut_ || arrived_.empty(), "{} datagrams were not delivered",
               arrived_.size());
    WEIR_CHECK(socket_->queued_datagrams() == 0, "{} datagrams are queued",
               socket_->queued_datagrams());
    WEIR_CHECK(stats.sent == sent_, "{} were sent, it says {}", sent_, stats.sent);
    WEIR_CHECK(stats.sent + stats.send_failed + stats.dropped == accepted_.size() + dropped_,
               "of {} datagrams {} were sent, {} have failed, {} were dropped",
               accepted_.size() + dropped_, stats.sent, stats.send_failed, stats.dropped);
    WEIR_CHECK(!socket_->is_open() || !refused_, "on_drained was not called");
  }

  struct Message {
    std::string payload;
    SocketAddress peer;
    bool truncated;
  };
  struct Accepted {
    SocketAddress to;  // unspecified: the connected peer
    std::string bytes;
  };

  Script script_;
  const bool ipv6_;
  MemoryDatagrams& network_ = world().network;
  const internal::sys::ScopedTable use_{&network_};
  EventLoop& loop_ = world().loop;
  const UdpSocket::Options options_;
  std::array<SocketAddress, kPeers> peers_;
  std::unique_ptr<UdpSocket> socket_;
  std::deque<Message> arrived_;     // not delivered yet
  std::vector<Accepted> accepted_;  // by number
  std::size_t next_ = 0;            // in accepted_: those before it were sent, or never will be
  std::uint64_t sent_ = 0;
  std::uint64_t dropped_ = 0;  // not accepted
  std::size_t bytes_ = 0;
  std::size_t counted_ = 0;  // bytes and records, for the limit of the heap
  int pauses_ = 0;
  bool connected_ = false;
  bool refused_ = false;
  bool shut_ = false;  // after many hang-ups, which were forged, it receives no more
};

void fuzz_udp(Bytes input) { UdpScript(input).run(); }

const Target kTarget("udp", fuzz_udp);

}  // namespace
}  // namespace weir::fuzz
