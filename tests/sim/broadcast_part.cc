// Messages to all members of a group: each member gets whole messages, in order, none twice.
#include <chrono>
#include <deque>

#include "sim/options.h"
#include "sim/part.h"
#include "weir/net/route/broadcast.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test::simulation {
namespace {

constexpr std::size_t kSize = 256;  // of a message: its number, and a fill

class Group final : public Part {
 public:
  explicit Group(Setting setting)
      : setting_(std::move(setting)),
        loop_(setting_.any_loop()),
        group_(static_cast<SlowPolicy>(setting_.world.random(2))),
        server_(loop_, draw_options<TcpServer::Options>(setting_.world)) {
    server_.on_open([this](TcpConnection& connection) { group_.join(connection); });
    close_after_peer(server_);
    serve_clients(server_, setting_, [this](const SocketAddress& address) { start(address); });
    left_ = 10 * setting_.plan.messages;
    timer_ = loop_.run_every(std::chrono::milliseconds(1), [this] { speak(); });
  }

  ~Group() override { loop_.cancel(timer_); }

  bool done() override { return left_ == 0 && all_ended(members_, server_); }

  void check() override {
    setting_.verdict.expect(group_.stats().members == 0, "broadcast: {} members stay",
                            group_.stats().members);
    for (const Member& member : members_) {
      const bool whole = member.life.reason() == CloseReason::Kind::peer_eof;
      setting_.verdict.expect(!whole || member.rest == 0,
                              "broadcast: a member ended within a message");
    }
  }

 private:
  struct Member {
    Lifecycle life;
    unsigned last = 0;
    std::size_t rest = 0;  // bytes of a message that has begun
    std::unique_ptr<TcpClient> tcp;
  };

  void speak() {
    if (left_ == 0) return;
    std::string text = fmt::format("{:08}", ++number_);
    text.resize(kSize, '.');
    group_.send(SharedBytes::copy(text));
    if (--left_ > 0) return;
    server_.shutdown({.deadline = std::chrono::seconds(100)}, [] {});
  }

  void start(const SocketAddress& address) {
    Member& member = members_.emplace_back();
    member.tcp = std::make_unique<TcpClient>(setting_.any_loop(),
                                             draw_options<TcpClient::Options>(setting_.world));
    member.tcp->on_open(
        [this, &member](TcpConnection&) { member.life.opened(setting_.verdict, "member"); });
    member.tcp->on_data([this, &member](TcpConnection&, Buffer& in) { hear(member, in); });
    close_after_peer(*member.tcp);
    connect(*member.tcp, address, member.life, setting_.verdict, "member");
  }

  void hear(Member& member, Buffer& in) {
    while (in.size() >= kSize) {
      const std::string message(in.take(kSize));
      const auto number = static_cast<unsigned>(std::stoul(message.substr(0, 8)));
      setting_.verdict.expect(number > member.last && number <= number_,
                              "broadcast: message {} after {}", number, member.last);
      setting_.verdict.expect(message.find_first_not_of('.', 8) == std::string::npos,
                              "broadcast: message {} is mixed up", number);
      member.last = number;
    }
    member.rest = in.size();
  }

  Setting setting_;
  EventLoop& loop_;
  Broadcast group_;
  TcpServer server_;
  std::deque<Member> members_;  // their addresses stay
  TimerId timer_;
  unsigned number_ = 0;
  std::size_t left_ = 0;
};

}  // namespace

std::unique_ptr<Part> make_broadcast(const Setting& setting) {
  return std::make_unique<Group>(setting);
}

}  // namespace weir::test::simulation
