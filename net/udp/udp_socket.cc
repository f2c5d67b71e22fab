#include "weir/net/udp/udp_socket.h"

#include <fmt/format.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>

#include <array>
#include <string>
#include <utility>

#include "weir/base/check_format.h"
#include "weir/net/sys/process.h"
#include "weir/net/sys/sys.h"
#include "weir/net/udp/internal/udp_socket_impl.h"

namespace weir {

namespace sys = internal::sys;
using internal::UdpSocketImpl;

namespace internal {

UdpSocketImpl::UdpSocketImpl(UdpSocket& owner, EventLoop& loop, const UdpSocket::Options& options)
    : loop_(loop),
      options_(options),
      owner_(&owner),
      io_(&loop.local<LoopDatagrams>()),
      callbacks_(std::make_shared<DatagramCallbacks>()) {
  handler_ = callbacks_;
}

DatagramCallbacks& UdpSocketImpl::callbacks(const char* call) {
  internal::core_of(loop_).check_thread(call);
  WEIR_CHECK(state_ == State::unbound, "{}: handlers must be set before bind() and connect()",
             call);
  return *callbacks_;
}

// --- opening -------------------------------------------------------------------------------------

Result<void> UdpSocketImpl::ensure_socket(const SocketAddress& address, const char* doing) {
  const std::string words = fmt::format("{} {}", doing, address.to_string());
  if (state_ == State::closed) return std::unexpected(Error(words + ": the socket was closed"));
  if (socket_.socket.valid()) return {};
  auto made = OpenDatagram::make(address, options_, words);
  if (!made) return std::unexpected(std::move(made.error()));
  socket_ = std::move(*made);
  control_ = is_ip() && (options_.packet_info || options_.coalesce);
  segment_limit_ = options_.segment && is_ip() ? UdpSocket::kMaxDatagram : 0;
  return {};
}

Result<SocketAddress> UdpSocketImpl::bind(const SocketAddress& address) {
  internal::core_of(loop_).check_thread("UdpSocket::bind");
  if (auto made = ensure_socket(address, "bind to"); !made) {
    return std::unexpected(std::move(made.error()));
  }
  const std::string doing = fmt::format("bind to {}", address.to_string());
  if (auto bound = socket_.bind(address, options_.unix_mode, doing); !bound) {
    if (state_ == State::unbound) socket_ = OpenDatagram();  // the next may differ in family
    return std::unexpected(std::move(bound.error()));
  }
  return started(doing);
}

// The kernel has chosen the port: without its answer nobody could send to the socket.
Result<SocketAddress> UdpSocketImpl::started(const std::string& doing) {
  sockaddr_storage name{};
  const auto length = sys::getsockname(socket_.socket.fd(), name);
  if (!length) {
    if (state_ == State::unbound) socket_ = OpenDatagram();
    return std::unexpected(Error(doing + ": getsockname", length.error()));
  }
  start();
  return SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&name), *length);
}

Result<SocketAddress> UdpSocketImpl::connect(const SocketAddress& peer) {
  internal::core_of(loop_).check_thread("UdpSocket::connect");
  if (auto made = ensure_socket(peer, "connect to"); !made) {
    return std::unexpected(std::move(made.error()));
  }
  const auto refused = [&](Errno error) {
    if (state_ == State::unbound) socket_ = OpenDatagram();
    return std::unexpected(Error(fmt::format("connect to {}: connect", peer.to_string()), error));
  };
  if (!is_ip() && state_ == State::unbound) {
    if (auto named = socket_.bind_to_any_name(); !named) return refused(named.error());
  }
  if (connected_) {  // queued datagrams are for the current peer
    if (io_->running == this) send_gathered();
    if (!refusing()) flush_queue();
    if (!queue_.empty()) return refused(Errno(EAGAIN));
  }
  if (auto done = socket_.socket.connect(peer); !done) return refused(done.error());
  auto bound = started(fmt::format("connect to {}", peer.to_string()));
  connected_ = open();
  return bound;
}

void UdpSocketImpl::start() {
  if (state_ == State::open) return;
  state_ = State::open;
  channel_.emplace(loop_, socket_.socket.fd(), *this);
  update_interest();
}

// --- life ----------------------------------------------------------------------------------------

void UdpSocketImpl::pause() {
  internal::core_of(loop_).check_thread("UdpSocket::pause_receiving");
  ++pauses_;
  update_interest();
}

void UdpSocketImpl::resume() {
  internal::core_of(loop_).check_thread("UdpSocket::resume_receiving");
  WEIR_CHECK(pauses_ > 0, "UdpSocket::resume_receiving without a pause_receiving before it");
  if (--pauses_ == 0) behind_since_ = loop_.now();
  update_interest();
}

void UdpSocketImpl::update_interest() {
  if (!open()) return;
  channel_->set_reading(may_receive());
  channel_->set_writing(refused_);
}

void UdpSocketImpl::close() {
  internal::core_of(loop_).check_thread("UdpSocket::close");
  if (!open()) {
    state_ = State::closed;
    return;
  }
  if (!loop_.forked()) {
    if (io_->running == this) send_gathered();
    refused_ = send_waits_ = false;
    flush_queue();
  }
  counters_.dropped.add(queue_.count());
  queue_.clear();
  loop_.cancel(receive_timer_);
  loop_.cancel(send_timer_);
  state_ = State::closed;
  channel_->remove();
  internal::core_of(loop_).reap_later(*this);
  handler_->forget(*owner_);
}

void UdpSocketImpl::orphan() {
  close();
  owner_ = nullptr;
}

void UdpSocketImpl::on_reap() {
  if (flush_queued_) {  // the flush list still refers to this object
    internal::core_of(loop_).reap_again(*this);
    return;
  }
  socket_ = OpenDatagram();
}

void UdpSocketImpl::on_interest_refused(Errno error) {
  if (!open()) return;
  report_error(error);
  close();
  check_invariants();
}

UdpSocket::Stats UdpSocketImpl::stats() const {
  return {.received = counters_.received.value(),
          .bytes_in = counters_.bytes_in.value(),
          .truncated = counters_.truncated.value(),
          .sent = counters_.sent.value(),
          .bytes_out = counters_.bytes_out.value(),
          .dropped = counters_.dropped.value(),
          .send_failed = counters_.send_failed.value(),
          .errors = counters_.errors.value(),
          .receive_calls = counters_.receive_calls.value(),
          .send_calls = counters_.send_calls.value()};
}

}  // namespace internal

// --- the public class ----------------------------------------------------------------------------

UdpSocket::UdpSocket(EventLoop& loop, Options options)
    : impl_((internal::core_of(loop).check_thread("UdpSocket::UdpSocket"),
             std::make_shared<UdpSocketImpl>(*this, loop, options))) {}

UdpSocket::~UdpSocket() {
  impl_->orphan();
  internal::core_of(impl_->loop_)
      .keep_until_reaped(std::move(impl_));  // its handler may be running
}

void UdpSocket::on_datagrams(
    std::move_only_function<void(UdpSocket&, std::span<const Datagram>)> fn) {
  impl_->callbacks("UdpSocket::on_datagrams").datagrams = std::move(fn);
}
void UdpSocket::on_send_failed(
    std::move_only_function<void(UdpSocket&, const FailedDatagram&)> fn) {
  impl_->callbacks("UdpSocket::on_send_failed").send_failed = std::move(fn);
}
void UdpSocket::on_drained(std::move_only_function<void(UdpSocket&)> fn) {
  impl_->callbacks("UdpSocket::on_drained").drained = std::move(fn);
}
void UdpSocket::on_error(std::move_only_function<void(UdpSocket&, Errno)> fn) {
  impl_->callbacks("UdpSocket::on_error").error = std::move(fn);
}
void UdpSocket::use_handler(std::shared_ptr<DatagramHandler> handler) {
  static_cast<void>(impl_->callbacks("UdpSocket::use_handler"));  // checks the same conditions
  WEIR_CHECK(handler != nullptr, "UdpSocket::use_handler without a handler");
  impl_->handler_ = std::move(handler);
}

Result<SocketAddress> UdpSocket::bind(const SocketAddress& address) { return impl_->bind(address); }

Result<SocketAddress> UdpSocket::bind(std::string_view address) {
  auto parsed = SocketAddress::parse(address);
  if (!parsed) return std::unexpected(parsed.error().within("bind"));
  return impl_->bind(*parsed);
}

Result<SocketAddress> UdpSocket::connect(const SocketAddress& peer) { return impl_->connect(peer); }

Result<SocketAddress> UdpSocket::connect(std::string_view peer) {
  auto parsed = SocketAddress::parse(peer);
  if (!parsed) return std::unexpected(parsed.error().within("connect"));
  return impl_->connect(*parsed);
}

DatagramResult UdpSocket::send_to(const AddressView& to, std::span<const std::byte> bytes) {
  if (to.empty()) return DatagramResult::closed;
  return impl_->send(to, nullptr, bytes);
}

DatagramResult UdpSocket::send_to(const AddressView& to, std::span<const std::byte> bytes,
                                  const PacketInfo& from) {
  if (to.empty()) return DatagramResult::closed;
  return impl_->send(to, from.data(), bytes);
}

DatagramResult UdpSocket::reply(const Datagram& in, std::span<const std::byte> bytes) {
  if (in.peer.empty()) return DatagramResult::closed;
  return impl_->send(in.peer, in.packet_info, bytes);
}

DatagramResult UdpSocket::send(std::span<const std::byte> bytes) {
  return impl_->send(AddressView(), nullptr, bytes);
}

namespace {

Result<void> change_membership(int fd, const SocketAddress& group, unsigned interface, bool join) {
  SysResult<void> done;
  if (fd < 0) {
    done = std::unexpected(Errno(EBADF));
  } else if (group.family() == SocketAddress::Family::ipv4) {
    ip_mreqn request{};
    request.imr_multiaddr = reinterpret_cast<const sockaddr_in*>(group.data())->sin_addr;
    request.imr_ifindex = static_cast<int>(interface);
    done = sys::set_option(fd, IPPROTO_IP, join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP, request);
  } else if (group.family() == SocketAddress::Family::ipv6) {
    ipv6_mreq request{};
    request.ipv6mr_multiaddr = reinterpret_cast<const sockaddr_in6*>(group.data())->sin6_addr;
    request.ipv6mr_interface = interface != 0 ? interface : group.scope_id();
    done = sys::set_option(fd, IPPROTO_IPV6, join ? IPV6_ADD_MEMBERSHIP : IPV6_DROP_MEMBERSHIP,
                           request);
  } else {
    done = std::unexpected(Errno(EAFNOSUPPORT));
  }
  if (done) return {};
  return std::unexpected(
      Error(fmt::format("{} the group {}", join ? "join" : "leave", group.ip()), done.error()));
}

}  // namespace

Result<void> UdpSocket::join(const SocketAddress& group, unsigned interface_index) {
  internal::core_of(loop()).check_thread("UdpSocket::join");
  return change_membership(fd(), group, interface_index, true);
}

Result<void> UdpSocket::leave(const SocketAddress& group, unsigned interface_index) {
  internal::core_of(loop()).check_thread("UdpSocket::leave");
  return change_membership(fd(), group, interface_index, false);
}

void UdpSocket::pause_receiving() { impl_->pause(); }
void UdpSocket::resume_receiving() { impl_->resume(); }
bool UdpSocket::receiving_paused() const { return impl_->paused(); }
bool UdpSocket::behind() const { return impl_->behind(); }
void UdpSocket::close() { impl_->close(); }
bool UdpSocket::is_open() const { return impl_->open(); }
EventLoop& UdpSocket::loop() const { return impl_->loop_; }
int UdpSocket::fd() const { return impl_->open() ? impl_->socket_.socket.fd() : -1; }
SocketAddress UdpSocket::local_address() const { return internal::local_address_of(fd()); }
SocketAddress UdpSocket::peer_address() const { return internal::peer_address_of(fd()); }
std::size_t UdpSocket::queued_bytes() const { return impl_->queue_.bytes(); }
std::size_t UdpSocket::queued_datagrams() const { return impl_->queue_.count(); }
std::uint64_t UdpSocket::accepted() const { return impl_->accepted_; }
UdpSocket::Stats UdpSocket::stats() const { return impl_->stats(); }

std::uint64_t UdpSocket::kernel_drops() const {
  std::array<std::uint32_t, SK_MEMINFO_VARS> numbers{};
  socklen_t length = sizeof(numbers);
  if (fd() < 0 || !sys::getsockopt(fd(), SOL_SOCKET, SO_MEMINFO, numbers.data(), &length)) return 0;
  return numbers[SK_MEMINFO_DROPS];
}

Result<unsigned> interface_index(std::string_view name) {
  const auto index = sys::interface_index(std::string(name));
  if (index) return *index;
  return std::unexpected(Error(fmt::format("interface \"{}\"", name), index.error()));
}

}  // namespace weir
