// weir-udp-echo: sends every datagram back to its sender.
//
// A batch of datagrams costs one system call to receive, one to answer, and no copy. Peers with a
// port below 1024 are not answered: the sender may be forged, and if that address runs an echo
// service, too, both would answer each other without end.

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "program/command_line.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/serve.h"
#include "weir/net/udp/udp_server.h"

namespace {

constexpr std::uint16_t kFirstClientPort = 1024;

void echo(weir::UdpSocket& socket, std::span<const weir::Datagram> batch) {
  for (const weir::Datagram& in : batch) {
    if (in.truncated) continue;  // the answer would differ from what was sent
    if (in.peer.port() != 0 && in.peer.port() < kFirstClientPort) continue;
    socket.reply(in, in.payload);
  }
}

// Prints on stderr, as one line, what happened since the previous call.
class StatsLine {
 public:
  explicit StatsLine(const weir::UdpServer& server) : server_(server) {}

  void print() {
    const weir::UdpSocket::Stats now = server_.stats();
    const weir::TimePoint at = weir::Clock::now();
    const double seconds = std::chrono::duration<double>(at - at_).count();
    const double received = static_cast<double>(now.received - last_.received);
    const double calls = static_cast<double>(now.receive_calls + now.send_calls -
                                             last_.receive_calls - last_.send_calls);
    std::fprintf(stderr, "%.0f datagrams/s, %.3f calls a datagram, %llu not sent back\n",
                 received / seconds, received > 0 ? calls / received : 0.0,
                 static_cast<unsigned long long>(now.dropped + now.send_failed));
    last_ = now;
    at_ = at;
  }

 private:
  const weir::UdpServer& server_;
  weir::UdpSocket::Stats last_;
  weir::TimePoint at_ = weir::Clock::now();
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> listen;
  weir::UdpServer::Options options;
  weir::Duration stats_every{0};
  bool plain = false;
  CLI::App app("Sends every datagram back to its sender.", "weir-udp-echo");
  sample::listen_option(app, listen);
  sample::threads_option(app, options.threads);
  weir::program::number_option(
      app, "--receive-buffer", options.socket.receive_buffer, 0, 1 << 30, "BYTES",
      "that the kernel queues for the program (SO_RCVBUF); 0: its default");
  app.add_flag("--plain", plain, "without UDP_SEGMENT and UDP_GRO");
  sample::stats_option(app, stats_every);
  return sample::run(app, argc, argv, [&] {
    options.socket.segment = options.socket.coalesce = !plain;
    options.socket.packet_info = true;  // answers come from the address that the client used
    weir::EventLoop loop;
    weir::UdpServer server(loop, options);
    server.on_datagrams(echo);
    StatsLine stats(server);
    if (stats_every > weir::Duration::zero()) {
      loop.run_every(stats_every, [&] { stats.print(); });
    }
    return weir::serve(loop, server, listen);
  });
}
