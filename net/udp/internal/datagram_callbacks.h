// The handler that calls the functions which UdpSocket::on_datagrams(), UdpServer::on_datagrams()
// and the other on_ functions have set. Internal to the udp floor.
#pragma once

#include <functional>
#include <span>

#include "weir/net/udp/datagram.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::internal {

struct DatagramCallbacks final : DatagramHandler {
  std::move_only_function<void(UdpSocket&, std::span<const Datagram>)> datagrams;
  std::move_only_function<void(UdpSocket&, const FailedDatagram&)> send_failed;
  std::move_only_function<void(UdpSocket&)> drained;
  std::move_only_function<void(UdpSocket&, Errno)> error;

  void on_datagrams(UdpSocket& socket, std::span<const Datagram> batch) override {
    if (datagrams) datagrams(socket, batch);
  }
  void on_send_failed(UdpSocket& socket, const FailedDatagram& failed) override {
    if (send_failed) send_failed(socket, failed);
  }
  void on_drained(UdpSocket& socket) override {
    if (drained) drained(socket);
  }
  void on_error(UdpSocket& socket, Errno what) override {
    if (error) error(socket, what);
  }
};

}  // namespace weir::internal
