// weir-multicast-chat: a chat on the local network without a server. Each line that you type is
// sent to a multicast group, and all its members see it, including you.
//
// Several processes on one machine share the port. Text and nicknames of others are escaped before
// they reach the terminal, and are printed after the address that they came from. While the
// terminal takes no output, nothing is received and the kernel drops datagrams. Datagrams may be
// lost, duplicated or reordered anyway.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include "chat/client_io.h"
#include "common/command_line.h"
#include "program/command_line.h"
#include "weir/base/log.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/run_until_signal.h"
#include "weir/net/udp/udp_socket.h"

namespace {

// Fits into one packet on every network, so no message depends on the arrival of two.
constexpr std::size_t kMaxMessage = 1200;
constexpr std::size_t kMaxNickname = 32;

struct Settings {
  std::string nickname = "nobody";
  std::string group = "239.255.77.77:7077";
  std::string interface;  // empty: the routing table's choice
  weir::UdpSocket::Options socket{.reuse_addr = true};
};

class Chat {
 public:
  Chat(weir::EventLoop& loop, const Settings& settings)
      : loop_(loop),
        nickname_(settings.nickname),
        socket_(loop, settings.socket),
        input_(loop, STDIN_FILENO, [this](std::string_view block) { on_input(block); }),
        output_(loop, STDOUT_FILENO,
                {.drained = [this] { socket_.resume_receiving(); },
                 .failed =
                     [this] {
                       output_lost_ = true;
                       end();
                     }}) {
    socket_.on_datagrams([this](weir::UdpSocket&, std::span<const weir::Datagram> batch) {
      for (const weir::Datagram& in : batch) print(in);
    });
    socket_.on_send_failed([](weir::UdpSocket&, const weir::FailedDatagram& failed) {
      std::fprintf(stderr, "not sent: %s\n", failed.error.message().c_str());
    });
  }
  ~Chat() { output_.finish(std::chrono::seconds(1)); }

  // Binds to the group's address, so nothing else that is sent to the port is received.
  weir::Result<weir::SocketAddress> join(const weir::SocketAddress& group, unsigned interface) {
    auto bound = socket_.bind(group);
    if (!bound) return bound;
    if (auto joined = socket_.join(group, interface); !joined) {
      return std::unexpected(joined.error());
    }
    group_ = *bound;
    input_.resume();
    return bound;
  }

  void end() { loop_.stop(); }
  bool output_lost() const { return output_lost_; }

 private:
  void print(const weir::Datagram& in) {
    const bool was_full = output_.full();
    std::string_view text = in.text();
    if (text.ends_with('\n')) text.remove_suffix(1);  // as socat and nc send them
    output_.write("[" + in.peer.copy().to_string() + "] " + weir::escaped(text, kMaxMessage) +
                  "\n");
    if (output_.full() && !was_full) socket_.pause_receiving();
  }

  void on_input(std::string_view block) {
    if (block.empty()) {
      send_line();
      end();  // stops at the end of this turn, after the line was sent
    }
    for (const char c : block) {
      if (c == '\n') {
        send_line();
      } else if (line_.size() < kMaxMessage - kMaxNickname - 2) {
        line_ += c;
      }
    }
  }

  void send_line() {
    if (!line_.empty()) socket_.send_to(group_, nickname_ + ": " + line_);
    line_.clear();
  }

  weir::EventLoop& loop_;
  const std::string nickname_;
  weir::UdpSocket socket_;
  weir::SocketAddress group_;
  std::string line_;  // typed so far; bytes beyond the limit are dropped
  chat::Input input_;
  chat::Output output_;
  bool output_lost_ = false;
};

std::string check_nickname(const std::string& text) {
  if (text.empty() || text.size() > kMaxNickname) return "1 to 32 bytes";
  return "";
}

std::string check_group(const std::string& text) {
  const auto group = weir::SocketAddress::parse(text);
  if (!group) return group.error().message();
  return group->is_multicast() ? "" : text + " is not a multicast address";
}

int run(Settings settings) {
  auto group = weir::SocketAddress::parse(settings.group);
  if (!group) return weir::fail(group.error());
  if (!settings.interface.empty()) {
    const auto index = weir::interface_index(settings.interface);
    if (!index) {
      weir::fail(index.error());
      return 2;
    }
    settings.socket.multicast_interface = *index;
    // A link-local group (ff02::) is a different group on each link.
    if (group->family() == weir::SocketAddress::Family::ipv6 && group->scope_id() == 0) {
      group = weir::SocketAddress::from_ip(group->ip() + "%" + settings.interface, group->port());
      if (!group) return weir::fail(group.error());
    }
  }
  weir::EventLoop loop;
  Chat talk(loop, settings);
  const auto bound = talk.join(*group, settings.socket.multicast_interface);
  if (!bound) return weir::fail(bound.error());
  weir::run_until_signal(loop, {*bound}, [&talk] { talk.end(); });
  return talk.output_lost() ? weir::fail(weir::Error("standard output cannot be written")) : 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("A chat on the local network without a server.", "weir-multicast-chat");
  app.add_option("nickname", settings.nickname, "your name for the others")
      ->check(CLI::Validator(check_nickname, ""))
      ->capture_default_str();
  app.add_option("--group", settings.group, "the multicast group and its port")
      ->check(CLI::Validator(check_group, ""))
      ->capture_default_str()
      ->type_name("ADDR");
  weir::program::text_option(app, "--interface", settings.interface, "NAME",
                             "such as eth0 or lo; by default the routing table decides");
  weir::program::number_option(app, "--ttl", settings.socket.multicast_ttl, 0, 255, "N",
                               "hop limit: 0 stays on this machine, 1 on this network");
  return sample::run(app, argc, argv, [&] { return run(settings); });
}
