// UdpSessions: a handler for UdpSocket and UdpServer that groups datagrams by peer. A session
// begins with a peer's first datagram, and ends with close() or when nothing was received for
// idle_timeout. [loop]
//
//   server.handlers_per_loop([](weir::EventLoop& loop) {
//     return std::make_shared<weir::UdpSessions>(loop, std::make_shared<MyHandler>());
//   });
//
// A peer is identified only by its address, which anybody can forge: a session does not prove who
// sends. If answers are larger than requests, an attacker can direct them at a third machine
// (amplification). With UdpSocket::Options::packet_info a peer has one session for each local
// address that it sends to, and is answered from that address. Without it, all of these are one
// session, and the kernel chooses the source address of answers; on a machine with several
// addresses it may differ from the one that the peer has sent to.
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

// One peer. Lives until its on_close has returned. If its socket closes, the session ends without
// on_close, and is destroyed at the end of the turn.
class UdpSession final : public internal::WithContext, private internal::DeadlineClient {
 public:
  UdpSession(const UdpSession&) = delete;
  UdpSession& operator=(const UdpSession&) = delete;

  const SocketAddress& peer() const { return peer_; }
  UdpSocket* socket() const { return socket_; }  // null after it was closed
  // Sends from the local address that the peer has sent to, if that is known (see above) and not a
  // multicast or broadcast address.
  DatagramResult send(std::span<const std::byte> bytes) {
    return socket_ == nullptr ? DatagramResult::closed : socket_->send_to(peer_, bytes, sent_to_);
  }
  DatagramResult send(std::string_view bytes) { return send(std::as_bytes(std::span(bytes))); }
  // Ends the session; on_close is called later in the turn. The peer's next datagram begins a new
  // session.
  void close();

  std::uint64_t received() const { return received_; }

 private:
  friend class UdpSessions;
  UdpSession(UdpSessions& owner, UdpSocket& socket, const Datagram& first);
  ~UdpSession() = default;

  void on_deadline() override;
  void on_reap() override;

  UdpSessions* owner_;  // null: ended without on_close
  UdpSocket* socket_;   // null: closed
  const SocketAddress peer_;
  const internal::LocalIp local_;
  const PacketInfo sent_to_;  // of the first datagram: the source address of answers
  std::uint64_t received_ = 0;
  internal::Tick last_ = 0;
  std::size_t ending_at_ = 0;  // index in UdpSessions::ending_, once end() was called
  bool closed_ = false;
  bool timed_out_ = false;
};

// The events of a session. They are called like those of DatagramHandler. An exception from one is
// logged and the session stays, except that for on_open it counts as false.
class UdpSessionHandler {
 public:
  virtual ~UdpSessionHandler() = default;
  // False: rejects the peer. Its datagram is discarded, and nothing is stored.
  virtual bool on_open(UdpSession&) { return true; }
  virtual void on_datagram(UdpSession&, const Datagram&) {}
  // The last event. `timed_out`: nothing was received for idle_timeout. Can still send.
  virtual void on_close(UdpSession&, bool timed_out) { static_cast<void>(timed_out); }
};

class UdpSessions final : public DatagramHandler {
 public:
  struct Options {
    // Zero: never. Coarse: late by at most a fifteenth.
    Duration idle_timeout = std::chrono::seconds(60);
    // Sessions at the same time on this loop. Datagrams of further peers are discarded, and counted
    // by refused().
    std::size_t max_sessions = 10'000;
  };

  UdpSessions(EventLoop& loop, std::shared_ptr<UdpSessionHandler> handler)
      : UdpSessions(loop, std::move(handler), Options{}) {}
  UdpSessions(EventLoop& loop, std::shared_ptr<UdpSessionHandler> handler, Options options);
  // Ends all sessions without a call of on_close. Do not destroy it inside an event of its handler.
  // (A socket that has it as its handler keeps it alive for that time.)
  ~UdpSessions() override;
  UdpSessions(const UdpSessions&) = delete;
  UdpSessions& operator=(const UdpSessions&) = delete;

  std::size_t size() const { return sessions_.size(); }
  // Datagrams for which no session was begun: max_sessions, no memory, or no peer address. [any]
  std::uint64_t refused() const { return refused_.value(); }

  void on_datagrams(UdpSocket& socket, std::span<const Datagram> batch) override;
  void forget(UdpSocket& socket) override;

 private:
  friend class UdpSession;
  // A peer together with the socket and the local address that it sends to.
  struct Key {
    const UdpSocket* socket;
    SocketAddress peer;
    internal::LocalIp local;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct Hash {
    // A peer can choose only its own address, so only the hash of that is keyed.
    std::size_t operator()(const Key& key) const {
      const auto words = std::bit_cast<std::array<std::uint64_t, 2>>(key.local);
      return key.peer.hash() ^ std::hash<const void*>()(key.socket) ^
             static_cast<std::size_t>(words[0] ^ words[1]);
    }
  };

  UdpSession* find_or_open(UdpSocket& socket, const Datagram& first);
  void end(UdpSession& session, bool timed_out);
  void drop(UdpSession& session);
  void check_idle(UdpSession& session);
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
  UdpSession* closing_ = nullptr;       // the session whose on_close is running
  const UdpSocket* current_ = nullptr;  // the socket whose batch is being delivered
  Counter refused_;
};

}  // namespace weir
