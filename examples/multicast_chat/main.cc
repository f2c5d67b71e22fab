// weir-multicast-chat: a chat on the local network without a server. What you type goes to a
// multicast group, and everybody who has joined it sees it, you too.
//
// What it takes care of: several on one machine share the port; text of others, and who they say
// they are, is escaped before it reaches the terminal, and stands behind the address it came from;
// a terminal that takes nothing stops us from receiving, and the kernel loses the rest: that is
// what datagrams do, as they come in any order, or twice.

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

// Fits into one packet everywhere, so that no message depends on two arriving.
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
        input_(loop, STDIN_FILENO, [this](std::string_view block) { typed(block); }),
        output_(loop, STDOUT_FILENO,
                {.room = [this] { socket_.resume_receiving(); },
                 .broken =
                     [this] {
                       output_lost_ = true;
                       end();
                     }}) {
    socket_.on_datagrams([this](weir::UdpSocket&, std::span<const weir::Datagram> batch) {
      for (const weir::Datagram& in : batch) heard(in);
    });
    socket_.on_send_failed([](weir::UdpSocket&, const weir::FailedDatagram& failed) {
      std::fprintf(stderr, "not sent: %s\n", failed.error.message().c_str());
    });
  }
  ~Chat() { output_.finish(std::chrono::seconds(1)); }

  // Bound to the group's own address, it hears nothing else that comes to the port.
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
  void heard(const weir::Datagram& in) {
    const bool was_full = output_.full();
    std::string_view text = in.text();
    if (text.ends_with('\n')) text.remove_suffix(1);  // as socat and nc send it
    output_.write("[" + in.peer.copy().to_string() + "] " + weir::escaped(text, kMaxMessage) +
                  "\n");
    if (output_.full() && !was_full) socket_.pause_receiving();
  }

  void typed(std::string_view block) {
    if (block.empty()) {
      if (!line_.empty()) say();
      end();  // at the end of this turn, when what was said has left
    }
    for (const char c : block) {
      if (c == '\n') {
        say();
      } else if (line_.size() < kMaxMessage - kMaxNickname - 2) {
        line_ += c;
      }
    }
  }

  void say() {
    if (!line_.empty()) socket_.send_to(group_, nickname_ + ": " + line_);
    line_.clear();
  }

  weir::EventLoop& loop_;
  const std::string nickname_;
  weir::UdpSocket socket_;
  weir::SocketAddress group_;
  std::string line_;  // what has been typed of it; what is too long is left out
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
  return group->is_multicast() ? "" : text + " is no multicast address";
}

int take_part(Settings settings) {
  auto group = weir::SocketAddress::parse(settings.group);
  if (!group) return weir::fail(group.error());
  if (!settings.interface.empty()) {
    const auto index = weir::interface_index(settings.interface);
    if (!index) {
      weir::fail(index.error());
      return 2;
    }
    settings.socket.multicast_interface = *index;
    // A group of one link (ff02::) is another one on each link.
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
  return talk.output_lost() ? weir::fail(weir::Error("standard output can't be written")) : 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("A chat on the local network without a server.", "weir-multicast-chat");
  app.add_option("nickname", settings.nickname, "what the others see")
      ->check(CLI::Validator(check_nickname, ""))
      ->capture_default_str();
  app.add_option("--group", settings.group, "the multicast group, and its port")
      ->check(CLI::Validator(check_group, ""))
      ->capture_default_str()
      ->type_name("ADDR");
  weir::program::text_option(app, "--interface", settings.interface, "NAME",
                             "such as eth0 or lo; else as the routes say");
  weir::program::number_option(app, "--ttl", settings.socket.multicast_ttl, 0, 255, "N",
                               "networks it may pass: 0 stays on this machine, 1 on this network");
  return sample::run(app, argc, argv, [&] { return take_part(settings); });
}
