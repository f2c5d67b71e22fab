// DatagramSocket: a UDP socket. Datagrams may be lost, doubled and overtake each other (Faults).
#pragma once

#include <deque>

#include "weir/net/sim/internal/machine.h"
#include "weir/net/sim/internal/object.h"

namespace weir::internal::sim {

class DatagramSocket final : public Object, public std::enable_shared_from_this<DatagramSocket> {
 public:
  DatagramSocket(Machine& machine, int family);

  bool is_socket() const override { return true; }
  std::uint32_t poll() override;
  void closed() override;
  ssize_t receive(std::span<const iovec> into, int flags) override;
  ssize_t send(std::span<const iovec> from) override;
  // recvmsg(2) and sendmsg(2), with the addresses and the segment size of UDP_SEGMENT.
  ssize_t receive_message(msghdr& message, int flags);
  ssize_t send_message(const msghdr& message);

  int bind(const sockaddr* address, socklen_t length) override;
  int connect(const sockaddr* address, socklen_t length) override;
  int get_option(int level, int name, void* value, socklen_t* length) override;
  int set_option(int level, int name, const void* value, socklen_t length) override;
  int own_name(sockaddr* address, socklen_t* length) override;
  int peer_name(sockaddr* address, socklen_t* length) override;
  int bytes_out() override { return static_cast<int>(unsent_); }

 private:
  struct Datagram {
    std::string bytes;
    Name from;
  };

  int take_name();  // an own name, if it has none
  void post(const std::string& bytes, const Name& to);
  void leave_for(const std::string& bytes, const Name& to);
  std::shared_ptr<DatagramSocket> find_receiver(const Name& from, const Name& to);
  void arrive(Datagram datagram);
  void sent(std::size_t size);

  Machine& machine_;
  Name own_;
  Name peer_;
  bool bound_ = false;
  bool connected_ = false;
  bool share_name_ = false;
  bool unwritable_seen_ = false;
  int error_ = 0;
  std::deque<Datagram> input_;
  std::size_t input_bytes_ = 0;
  std::size_t unsent_ = 0;
  std::size_t send_buffer_;
  std::size_t receive_buffer_;
};

}  // namespace weir::internal::sim
