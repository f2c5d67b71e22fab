#include "soak/proxy.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "weir/net/stream/connection_ref.h"

namespace weir::test::soak {
namespace {

// Enough to cut the header and some bytes behind it everywhere.
constexpr std::uint64_t kFragments = 40;

// More than the largest plan sends: a proxy that stopped to read one direction because the other
// waits would make both peers wait for each other.
constexpr std::uint64_t kHighWater = 8 * 1024 * 1024;

template <typename Options>
Options proxy_options() {
  Options options;
  options.allow_half_open = true;
  options.high_water = kHighWater;
  options.max_output = 2 * kHighWater;
  options.receive_buffer = 32 * 1024;  // so that a stopped reader is soon seen by its peer
  return options;
}

}  // namespace

// One connection of a client, with the one to a server.
class Link {
 public:
  Link(Proxy& proxy, TcpConnection& client) : proxy_(proxy), id_(client.id()) {
    to_client_.to = to_server_.from = client.ref();
  }

  // Of the client's side.
  bool begun() const { return plan_.has_value(); }
  void begin(std::uint64_t number) {
    plan_ = draw_plan(proxy_.settings_, number);
    up_.emplace(proxy_.loop_, up_options(number));
    up_->on_open([this](TcpConnection& server) {
      to_server_.to = to_client_.from = server.ref();
      pump(to_server_);
    });
    up_->on_data([this](TcpConnection&, Buffer& in) { arrived(to_client_, in); });
    up_->on_half_close([this](TcpConnection&) { ended(to_client_); });
    up_->on_close([this](TcpConnection&, CloseReason reason) { closed(to_client_, reason); });
    up_->on_connect_error([this](const Error&, int) {
      to_client_.closed = true;
      to_server_.from.abort();
      finish();
    });
    if (!up_->connect(plan_->replaced ? proxy_.replaced_ : proxy_.steady_)) {
      to_client_.closed = true;
      to_server_.from.abort();
    }
  }
  void client_data(Buffer& in) { arrived(to_server_, in); }
  void client_ended() {
    if (begun()) {
      ended(to_server_);
    } else {
      to_server_.from.close();
    }
  }
  void client_closed(CloseReason reason) { closed(to_server_, reason); }

 private:
  struct Way {
    ConnectionRef from;
    ConnectionRef to;
    std::string waiting;
    std::uint64_t moved = 0;
    bool held = false;      // until a timer or a task
    bool applied = false;   // the chaos of the plan
    bool ended = false;     // the FIN of `from` was read
    bool finished = false;  // our FIN was sent
    bool closed = false;    // `from` has ended
  };

  static TcpClient::Options up_options(std::uint64_t number) {
    auto options = proxy_options<TcpClient::Options>();
    // Source addresses in turn, because each has ports for one minute of TIME_WAIT only.
    const auto host = static_cast<unsigned>(1 + number % 64);
    options.bind_to = SocketAddress::from_ip("127.0.2." + std::to_string(host), 0).value();
    return options;
  }

  Way& other(Way& way) { return &way == &to_server_ ? to_client_ : to_server_; }
  bool acts_on(const Way& way) const { return plan_->to_server == (&way == &to_server_); }

  void arrived(Way& way, Buffer& in) {
    if (!way.finished) way.waiting += in.view();
    in.clear();
    pump(way);
  }
  void ended(Way& way) {
    way.ended = true;
    pump(way);
  }

  // Forwards what waits, as far as the plan allows now.
  void pump(Way& way) {
    if (way.held || way.to.get() == nullptr) return;
    if (plan_->chaos != Chaos::none && acts_on(way) && !way.waiting.empty()) disturb(way);
    if (way.held) return;
    forward(way, way.waiting.size());
    if (way.ended) finish_way(way);
  }

  void disturb(Way& way) {
    const bool reached = way.moved + way.waiting.size() > plan_->after;
    if (plan_->chaos == Chaos::fragments) {
      if (way.moved >= kFragments) return;
      count(way);
      forward(way, 1);
      hold(way, Duration::zero());
      return;
    }
    if (way.applied || (!reached && plan_->chaos != Chaos::delay)) return;
    count(way);
    if (plan_->chaos != Chaos::delay) forward(way, plan_->after - way.moved);
    switch (plan_->chaos) {
      case Chaos::stop:
        way.from.post([](TcpConnection& from) { from.pause_reading(); });
        hold(way, plan_->time);
        break;
      case Chaos::delay:
        hold(way, plan_->time);
        break;
      case Chaos::half_close:
        way.waiting.clear();
        finish_way(way);
        break;
      case Chaos::reset:
        hold(way, Duration::zero());  // abort() would discard what was just forwarded
        break;
      default:
        break;
    }
  }

  void count(Way& way) {
    if (!way.applied) ++proxy_.applied_[static_cast<std::size_t>(plan_->chaos)];
    way.applied = true;
  }

  void hold(Way& way, Duration time) {
    way.held = true;
    const bool server_way = &way == &to_server_;
    proxy_.loop_.run_after(time, [&proxy = proxy_, id = id_, server_way] {
      const auto found = proxy.links_.find(id);
      if (found != proxy.links_.end()) found->second->release(server_way);
    });
  }
  void release(bool server_way) {
    Way& way = server_way ? to_server_ : to_client_;
    way.held = false;
    if (plan_->chaos == Chaos::reset) {
      to_client_.from.abort();
      to_server_.from.abort();
      return;
    }
    if (plan_->chaos == Chaos::stop) {
      way.from.post([](TcpConnection& from) { from.resume_reading(); });
    }
    pump(way);
  }

  void forward(Way& way, std::size_t size) {
    if (size == 0) return;
    way.to.send(std::string_view(way.waiting).substr(0, size));
    way.waiting.erase(0, size);
    way.moved += size;
  }

  void finish_way(Way& way) {
    if (std::exchange(way.finished, true)) return;
    way.to.shutdown();
    if (to_client_.finished && to_server_.finished) {
      way.to.close();
      way.from.close();
    }
  }

  void closed(Way& way, CloseReason reason) {
    way.closed = true;
    const bool orderly =
        reason.kind == CloseReason::Kind::peer_eof || reason.kind == CloseReason::Kind::local_close;
    Way& back = other(way);
    if (!orderly) {
      back.from.abort();
    } else if (begun()) {
      ended(way);
    }
    if (!begun() || (up_ && up_->state() == TcpClient::State::connecting)) {
      up_.reset();
      back.closed = true;
    }
    finish();
  }

  // Both sides have ended: removes this object, later, because one of them is still calling.
  void finish() {
    if (!to_client_.closed || !to_server_.closed) return;
    proxy_.loop_.post([&proxy = proxy_, id = id_] { proxy.links_.erase(id); });
  }

  Proxy& proxy_;
  const std::uint64_t id_;
  std::optional<Plan> plan_;
  std::optional<TcpClient> up_;
  Way to_server_;
  Way to_client_;
};

Proxy::Proxy(EventLoop& loop, const Settings& settings, SocketAddress steady,
             SocketAddress replaced)
    : loop_(loop),
      settings_(settings),
      steady_(std::move(steady)),
      replaced_(std::move(replaced)),
      server_(loop, proxy_options<TcpServer::Options>()) {
  server_.on_open([this](TcpConnection& client) {
    links_.emplace(client.id(), std::make_unique<Link>(*this, client));
  });
  server_.on_data([this](TcpConnection& client, Buffer& in) {
    Link& link = *links_.at(client.id());
    if (!link.begun()) {
      const auto number = number_in(in);
      if (!number) return;
      link.begin(*number);
    }
    link.client_data(in);
  });
  server_.on_half_close([this](TcpConnection& client) { links_.at(client.id())->client_ended(); });
  server_.on_close([this](TcpConnection& client, CloseReason reason) {
    links_.at(client.id())->client_closed(reason);
  });
}

Proxy::~Proxy() = default;

}  // namespace weir::test::soak
