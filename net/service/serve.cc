#include "weir/net/service/serve.h"

#include <optional>
#include <utility>

#include "weir/base/check.h"
#include "weir/net/service/hand_over.h"
#include "weir/net/service/inherited_sockets.h"
#include "weir/net/service/run_until_signal.h"
#include "weir/net/service/serve_group.h"
#include "weir/net/tcp/tcp_server.h"
#include "weir/net/udp/udp_server.h"

namespace weir {

namespace {

using Bound = Result<std::vector<SocketAddress>>;

// The old process accepts until take_over(), so this server listens before that.
Bound listen_in_place_of(Predecessor& old, TcpServer& server) {
  auto bound = server.listen(old.take_listeners());
  if (!bound) return bound;
  if (auto done = old.take_over(); !done) return std::unexpected(std::move(done).error());
  return bound;
}

Bound listen_afresh(TcpServer& server, const std::vector<SocketAddress>& addresses) {
  std::vector<SocketAddress> bound;
  for (const SocketAddress& address : addresses) {
    auto one = server.listen(address);
    if (!one) return std::unexpected(std::move(one).error());
    bound.push_back(*one);
  }
  return bound;
}

// Empty: the service manager has opened none.
Result<std::vector<ListeningSocket>> take_inherited() {
  auto inherited = take_inherited_sockets();
  if (!inherited) return std::unexpected(std::move(inherited).error());
  std::vector<ListeningSocket> sockets;
  for (InheritedSocket& one : *inherited) sockets.push_back(std::move(one.socket));
  return sockets;
}

// A predecessor has precedence, because it must release its sockets. If this process inherited
// sockets, the predecessor inherited the same ones and hands them over.
Bound listen(std::optional<Predecessor>& old, TcpServer& server, bool inherit,
             const std::vector<SocketAddress>& addresses) {
  std::vector<ListeningSocket> inherited;
  if (inherit) {
    auto taken = take_inherited();
    if (!taken) return std::unexpected(std::move(taken).error());
    inherited = std::move(*taken);
  }
  if (old) return listen_in_place_of(*old, server);
  if (!inherited.empty()) return server.listen(std::move(inherited));
  return listen_afresh(server, addresses);
}

}  // namespace

int serve(EventLoop& loop, TcpServer& server, const std::vector<std::string>& addresses,
          ServeOptions options) {
  const auto parsed = parse_addresses(addresses);  // all, before it listens on the first
  if (!parsed) return 2;
  std::optional<Predecessor> old;
  if (!options.hand_over.empty()) {
    auto asked = Predecessor::ask(options.hand_over);
    if (!asked) return fail(asked.error());
    old = std::move(*asked);
  }
  const auto bound = listen(old, server, options.inherit, *parsed);
  if (!bound) return fail(bound.error());

  std::optional<HandOver> offer;
  if (!options.hand_over.empty()) {
    auto point =
        old ? Result<ListeningSocket>(old->take_point()) : HandOver::open_point(options.hand_over);
    if (!point) return fail(point.error());
    const TcpServer::Ending last{.deadline = options.grace + options.deadline,
                                 .grace = options.grace,
                                 .leave_listeners = true};
    offer.emplace(loop, server, std::move(*point),
                  [&loop, &server, last] { server.shutdown(last, [&loop] { loop.stop(); }); });
  }
  return serve_bound(loop, server, *bound, std::move(options));
}

int serve(EventLoop& loop, UdpServer& server, const std::vector<std::string>& addresses,
          ServeOptions options) {
  WEIR_CHECK(options.hand_over.empty() && !options.inherit,
             "serve: the sockets of a UdpServer are neither handed over nor inherited");
  ServeGroup alone(loop);
  alone.on_stop(std::move(options.on_stop));
  alone.add(server, addresses, options.deadline);
  return alone.run();
}

int serve_bound(EventLoop& loop, TcpServer& server, const std::vector<SocketAddress>& bound,
                ServeOptions options) {
  ServeGroup alone(loop);
  alone.on_stop(std::move(options.on_stop));
  alone.add_bound(
      bound, [&](ServeGroup::Done done) { server.shutdown(options.deadline, std::move(done)); });
  return alone.run();
}

}  // namespace weir
