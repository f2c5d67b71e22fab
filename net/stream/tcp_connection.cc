// TcpConnection: each function calls the function of internal::Connection with the same name.
#include "weir/net/stream/tcp_connection.h"

#include <utility>

#include "weir/net/stream/connection_ref.h"
#include "weir/net/stream/internal/connection_inline.h"

namespace weir {

using internal::machine_of;

SendResult TcpConnection::send(std::span<const std::byte> bytes) {
  return machine_of(*this).send(bytes);
}
SendResult TcpConnection::send(Buffer& bytes) {
  const SendResult result = send(bytes.bytes());
  bytes.clear();
  return result;
}
SendResult TcpConnection::send_moved(std::string&& bytes) {
  return machine_of(*this).send(std::move(bytes));
}
SendResult TcpConnection::send(SharedBytes bytes) {
  return machine_of(*this).send(std::move(bytes));
}
SendResult TcpConnection::send_file(Fd file, std::uint64_t offset, std::uint64_t length) {
  return machine_of(*this).send_file(std::move(file), offset, length);
}

void TcpConnection::shutdown() { machine_of(*this).shutdown(); }
void TcpConnection::close() { machine_of(*this).close(); }
void TcpConnection::abort() { machine_of(*this).abort(); }

void TcpConnection::hold_open() { machine_of(*this).hold_open(); }
void TcpConnection::release() { machine_of(*this).release(); }
void TcpConnection::pause_reading() { machine_of(*this).pause_reading(); }
void TcpConnection::resume_reading() { machine_of(*this).resume_reading(); }
bool TcpConnection::reading() const { return machine_of(*this).reading(); }
void TcpConnection::redeliver_input() { machine_of(*this).redeliver_input(); }
void TcpConnection::message_continues() { machine_of(*this).message_continues(); }

ConnectionRef TcpConnection::ref() const { return machine_of(*this).ref(); }
EventLoop& TcpConnection::loop() const { return machine_of(*this).loop(); }
std::uint64_t TcpConnection::id() const { return machine_of(*this).id(); }
TcpConnection::State TcpConnection::state() const { return machine_of(*this).state(); }
int TcpConnection::fd() const { return machine_of(*this).fd(); }

SocketAddress TcpConnection::local_address() const { return internal::local_address_of(fd()); }
SocketAddress TcpConnection::peer_address() const { return internal::peer_address_of(fd()); }
SysResult<struct tcp_info> TcpConnection::tcp_info() const { return internal::tcp_info_of(fd()); }
SysResult<Credentials> TcpConnection::peer_credentials() const {
  return internal::peer_credentials_of(fd());
}

std::uint64_t TcpConnection::pending_output() const { return machine_of(*this).pending_output(); }
std::size_t TcpConnection::pending_input() const { return machine_of(*this).pending_input(); }
std::uint64_t TcpConnection::bytes_in() const { return machine_of(*this).bytes_in(); }
std::uint64_t TcpConnection::bytes_out() const { return machine_of(*this).bytes_out(); }
bool TcpConnection::peer_half_closed() const { return machine_of(*this).peer_half_closed(); }

void TcpConnection::when_sent(std::move_only_function<void(TcpConnection&, bool)> notify) {
  machine_of(*this).when_sent(std::move(notify));
}
void TcpConnection::set_handler(ConnectionHandler& handler) {
  machine_of(*this).set_handler(handler);
}
void TcpConnection::set_handler(std::unique_ptr<ConnectionHandler> handler) {
  machine_of(*this).set_handler(std::move(handler));
}
void TcpConnection::set_idle_timeout(Duration timeout) {
  machine_of(*this).set_idle_timeout(timeout);
}
void TcpConnection::set_message_timeout(Duration timeout) {
  machine_of(*this).set_message_timeout(timeout);
}
internal::TypedContext& TcpConnection::make_protocol_slot() {
  return machine_of(*this).make_protocol_slot();
}
const internal::TypedContext* TcpConnection::protocol_slot() const {
  return machine_of(*this).protocol_slot();
}
std::string TcpConnection::failure() const { return machine_of(*this).failure(); }
ConnectionHandler* TcpConnection::handler() const { return machine_of(*this).handler(); }

}  // namespace weir
