// A stranger's program that calls the templates and operators of weir. Compiled with all installed
// headers and -fkeep-inline-functions, it also needs every function that an inline one calls.
#include <iostream>
#include <string>

#include "weir/base/metrics.h"
#include "weir/net/codec/delimiter_codec.h"
#include "weir/net/codec/fixed_codec.h"
#include "weir/net/codec/framed_handler.h"
#include "weir/net/codec/length_prefixed_codec.h"
#include "weir/net/codec/line_codec.h"
#include "weir/net/codec/varint_codec.h"
#include "weir/net/route/broadcast.h"
#include "weir/net/service/serve_group.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"
#include "weir/net/udp/udp_server.h"
#include "weir/net/udp/udp_socket.h"

template class weir::FramedHandler<weir::DelimiterCodec>;
template class weir::FramedHandler<weir::FixedCodec>;
template class weir::FramedHandler<weir::LengthPrefixedCodec>;
template class weir::FramedHandler<weir::LineCodec>;
template class weir::FramedHandler<weir::VarintCodec>;

namespace {

// The text of the difference of two stats, as a page and as a line.
template <typename Stats>
std::string text_of(const Stats& later, const Stats& earlier) {
  const Stats difference = later - earlier;
  std::string text;
  weir::append_metrics(text, "stranger", difference);
  return text + weir::metrics_line(difference) + "\n";
}

// Never called, because no client connects: it only has to link.
void use_templates(weir::EventLoop& loop, weir::TcpConnection& conn) {
  conn.set_protocol<std::string>("protocol");
  conn.set_context<std::string>(*conn.protocol<std::string>());
  std::cout << *conn.context<std::string>() << loop.local<std::string>();
  weir::TcpServer tcp(loop, {});
  weir::UdpServer udp(loop, {});
  weir::ServeGroup group(loop);
  group.add(tcp, {});
  group.add(udp, {});
}

}  // namespace

int main() {
  weir::EventLoop loop;
  weir::TcpServer server(loop, {.threads = 0});
  weir::TcpClient client(loop);
  weir::UdpSocket socket(loop);
  weir::Broadcast broadcast;
  server.on_open([&](weir::TcpConnection& conn) { use_templates(loop, conn); });

  std::cout << text_of(loop.stats(), loop.stats()) << text_of(server.stats(), server.stats())
            << text_of(client.stats(), client.stats()) << text_of(socket.stats(), socket.stats())
            << text_of(broadcast.stats(), broadcast.stats());

  const auto address = weir::SocketAddress::loopback_ipv4(80);
  const bool equal = address == weir::SocketAddress::parse("127.0.0.1:80").value();
  return equal && weir::AddressView(address) == weir::AddressView(address) ? 0 : 1;
}
