// TcpSocket: a TCP socket over the wire of the simulation. Each end keeps the bytes that its peer
// has not acknowledged; a segment is acknowledged when it arrives, and the receive buffer of the
// peer limits what is under way (the window).
#pragma once

#include <deque>

#include "weir/net/sim/internal/stream_socket.h"

namespace weir::internal::sim {

class TcpSocket final : public StreamSocket {
 public:
  TcpSocket(Machine& machine, int family) : StreamSocket(machine, family, machine.stream_names) {}

  ssize_t send(std::span<const iovec> from) override;
  int connect(const sockaddr* address, socklen_t length) override;
  int shutdown(int how) override;
  int bytes_out() override;
  void closed() override;

 private:
  // One packet. `count`: bytes that are acknowledged, or by which the window opens.
  struct Packet {
    enum class Kind { syn_ack, data, fin, reset, ack, fin_ack, window };
    Kind kind;
    std::size_t count = 0;
    std::string bytes = {};
    std::weak_ptr<TcpSocket> from = {};
  };

  void input_taken(std::size_t count) override;
  bool writable() override;
  void rejected() override;

  std::shared_ptr<TcpSocket> self();
  void post(const std::shared_ptr<TcpSocket>& to, Packet packet);
  void schedule_arrival(TimePoint at);
  void arrive();
  void handle(const Packet& packet);
  void handle_syn(const std::shared_ptr<TcpSocket>& from);
  void handle_data(const Packet& packet);
  void answer_with_reset(const Packet& packet);
  void handle_fin();
  void handle_reset();
  void knock();          // sends the SYN, again and again
  void transmit();       // what the window allows
  void fail(int error);  // the state after a reset, with this error
  void reset_both();     // and tells the peer
  void end_if_shut();    // both directions are shut and acknowledged
  void tell_peer(Packet::Kind kind, std::size_t count = 0);

  std::weak_ptr<TcpSocket> peer_;
  ByteQueue output_;        // not yet sent
  std::size_t window_ = 0;  // bytes that may be sent now
  bool fin_sent_ = false;
  bool fin_acked_ = false;
  bool gone_ = false;  // the program closed it
  int knocks_ = 0;
  std::deque<Packet> arriving_;  // packets to this socket, in order
  TimePoint last_arrival_{};     // of a packet to this socket
};

}  // namespace weir::internal::sim
