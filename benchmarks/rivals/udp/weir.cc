// bench_udp-weir: weir's UdpServer without packet_info, like the others. --plain: also without
// UDP_SEGMENT and UDP_GRO, which the others do not support.
#include <CLI/CLI.hpp>

#include "rivals/settings.h"
#include "weir/net/service/serve.h"
#include "weir/net/udp/udp_server.h"

int main(int argc, char** argv) {
  bool plain = false;
  return rival::run(
      argc, argv, RIVAL_NAME,
      [&](const rival::Settings& settings) {
        weir::EventLoop loop;
        weir::UdpServer server(loop, {.socket = {.segment = !plain, .coalesce = !plain}});
        server.on_datagrams([](weir::UdpSocket& socket, std::span<const weir::Datagram> batch) {
          for (const weir::Datagram& in : batch) socket.reply(in, in.payload);
        });
        return weir::serve(loop, server, {settings.address});
      },
      [&](CLI::App& app) { app.add_flag("--plain", plain, "without UDP_SEGMENT and UDP_GRO"); });
}
