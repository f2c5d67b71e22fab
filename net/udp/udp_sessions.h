// UdpSessions: a handler for UdpSocket and UdpServer that tells peers apart. A session begins with
// a peer's first datagram and ends by close() or when nothing came for a while. [loop]
//
//   server.handlers_per_loop([](weir::EventLoop& loop) {
//     return std::make_shared<weir::UdpSessions>(loop, std::make_shared<MyHandler>());
//   });
//
// A peer is known by its address alone, and anybody can forge that: a session proves nothing about
// who sends, and an answer that is larger than the question makes the server a weapon against a
// third. With UdpSocket::Options::packet_info a peer has a session for each address of ours that it
// sends to, and is answered from that one; without it, all of these are one session, and the kernel
// chooses the address to answer from, which on a machine with several may be another than the peer
// has asked.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "weir/base/counter.h"
#include "weir/base/export.h"
#include "weir/base/typed_context.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/loop_client.h"
#include "weir/net/udp/datagram.h"
#include "weir/net/udp/udp_socket.h"

namespace WEIR_EXPORT weir {

class UdpSessions;

// One peer. Lives until its on_close has returned. If its socket closes, it goes without that.
class UdpSession final : public internal::WithContext, private internal::DeadlineClient {
 public:
  UdpSession(const UdpSession&) = delete;
  UdpSession& operator=(const UdpSession&) = delete;

  const SocketAddress& peer() const { return peer_; }
  UdpSocket* socket() const { return socket_; }  // null: it was closed
  // Answers from the address that was asked, as far as that is known (see above) and can be
  // answered from (a group's cannot).
  DatagramResult send(std::span<const std::byte> bytes) {
    return socket_ == nullptr ? DatagramResult::closed : socket_->send_to(peer_, bytes, asked_);
  }
  DatagramResult send(std::string_view bytes) { return send(std::as_bytes(std::span(bytes))); }
  // Ends it; on_close follows later in the turn. The next datagram of the peer begins a new one.
  void close();

  std::uint64_t received() const { return received_; }

 private:
  friend class UdpSessions;
  UdpSession(UdpSessions& owner, UdpSocket& socket, const Datagram& first)
      : owner_(&owner),
        socket_(&socket),
        peer_(first.peer.copy()),
        local_(internal::local_ip_of(first)),
        asked_(first) {}
  ~UdpSession() = default;

  void on_deadline() override;
  void on_reap() override;

  UdpSessions* owner_;  // null: gone
  UdpSocket* socket_;   // null: gone
  const SocketAddress peer_;
  const internal::LocalIp local_;
  const PacketInfo asked_;  // to answer from
  std::uint64_t received_ = 0;
  internal::Tick last_ = 0;
  std::size_t ending_at_ = 0;  // in UdpSessions::ending_, once closed_
  bool closed_ = false;
  bool timed_out_ = false;
};

// The events of a session, as those of DatagramHandler. An exception that leaves one is logged; the
// session stays, but for on_open, which did not want it then.
class UdpSessionHandler {
 public:
  virtual ~UdpSessionHandler() = default;
  // False: this peer is not wanted; its datagram is thrown away, and nothing is kept.
  virtual bool on_open(UdpSession&) { return true; }
  virtual void on_datagram(UdpSession&, const Datagram&) {}
  // Last. `timed_out`: nothing came for idle_timeout; something can still be sent.
  virtual void on_close(UdpSession&, bool timed_out) { static_cast<void>(timed_out); }
};

class UdpSessions final : public DatagramHandler {
 public:
  struct Options {
    Duration idle_timeout = std::chrono::seconds(60);  // coarse: late by a fifteenth at most
    // Peers at a time, on this loop; datagrams of others are thrown away and counted.
    std::size_t max_sessions = 10'000;
  };

  UdpSessions(EventLoop& loop, std::shared_ptr<UdpSessionHandler> handler)
      : UdpSessions(loop, std::move(handler), Options{}) {}
  UdpSessions(EventLoop& loop, std::shared_ptr<UdpSessionHandler> handler, Options options);
  // Ends all sessions without a call of on_close. Not from inside one of its handler's events; as
  // the handler of a socket it lives as long as those.
  ~UdpSessions() override;
  UdpSessions(const UdpSessions&) = delete;
  UdpSessions& operator=(const UdpSessions&) = delete;

  std::size_t size() const { return sessions_.size(); }
  std::uint64_t refused() const { return refused_.value(); }  // [any]

  void on_datagrams(UdpSocket& socket, std::span<const Datagram> batch) override;
  void forget(UdpSocket& socket) override;

 private:
  friend class UdpSession;
  // A peer as one address of ours sees it.
  struct Key {
    const UdpSocket* socket;
    SocketAddress peer;
    internal::LocalIp local;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct Hash {
    // Only the peer's part is the peer's to choose; its hash is keyed.
    std::size_t operator()(const Key& key) const {
      const auto words = std::bit_cast<std::array<std::uint64_t, 2>>(key.local);
      return key.peer.hash() ^ std::hash<const void*>()(key.socket) ^
             static_cast<std::size_t>(words[0] ^ words[1]);
    }
  };

  UdpSession* find_or_open(UdpSocket& socket, const Datagram& first);
  void end(UdpSession& session, bool timed_out);
  void drop(UdpSession& session);
  void look_at(UdpSession& session);
  void reap(UdpSession& session);
  void leave_ending(UdpSession& session);
  template <typename Call>
  static void guarded(const char* event, Call&& call);

  internal::LoopCore& core_;
  const std::shared_ptr<UdpSessionHandler> handler_;
  const Options options_;
  const internal::Tick idle_;
  std::unordered_map<Key, UdpSession*, Hash> sessions_;
  std::vector<UdpSession*> ending_;     // closed, not yet reaped
  UdpSession* told_ = nullptr;          // whose on_close is running
  const UdpSocket* current_ = nullptr;  // whose batch is being told
  Counter refused_;
};

}  // namespace weir
