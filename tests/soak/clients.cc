#include "soak/clients.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "support/flow.h"
#include "weir/net/tcp/tcp_client.h"

namespace weir::test::soak {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMostFailures = 10;  // that are described

TcpClient::Options options_of(const Settings& settings, std::uint64_t number) {
  TcpClient::Options options;
  // Beyond each deadline of the server and each stop of the proxy.
  options.idle_timeout = settings.scaled(240s);
  options.linger_timeout = settings.scaled(5s);
  // A client that stopped to read while its own output waits, and a server that does the same,
  // would wait for each other.
  options.high_water = 8 * 1024 * 1024;
  options.max_output = 8 * 1024 * 1024;
  const auto host = static_cast<unsigned>(1 + number % 64);
  options.bind_to = SocketAddress::from_ip("127.0.1." + std::to_string(host), 0).value();
  return options;
}

}  // namespace

class Clients::One {
 public:
  One(Clients& all, std::size_t slot, std::uint64_t number)
      : all_(all),
        slot_(slot),
        number_(number),
        plan_(draw_plan(all.settings_, number)),
        answer_(answer_flow(number)),
        squeezes_(all.squeezes_),
        squeezed_(all.squeezed_),
        client_(all.loop_, options_of(all.settings_, number)) {
    client_.on_open([this](TcpConnection& connection) {
      Flow request(request_flow(number_));
      connection.send(header(number_) + request.next(plan_.size));
      if (plan_.half_closes) connection.shutdown();
    });
    client_.on_data([this](TcpConnection& connection, Buffer& in) {
      answer_.take(in.view());
      in.clear();
      if (answer_.taken() >= plan_.size) connection.close();
    });
    client_.on_close(
        [this](TcpConnection&, CloseReason reason) { end("closed by " + reason.to_string()); });
    client_.on_connect_error([this](const Error& error, int) { end(error.message()); });
    if (auto begun = client_.connect(all.proxy_); !begun) end(begun.error().message());
  }

  std::uint64_t number() const { return number_; }
  const Plan& plan() const { return plan_; }
  const Flow& answer() const { return answer_; }
  bool complete() const { return answer_.intact() && answer_.taken() == plan_.size; }
  bool corrupted() const { return !answer_.intact() || answer_.taken() > plan_.size; }
  // A squeeze of its server overlapped it.
  bool excused() const { return !plan_.replaced && (squeezed_ || squeezes_ != all_.squeezes_); }

 private:
  void end(const std::string& why) {
    all_.ended(*this, why);
    all_.loop_.post([&all = all_, slot = slot_] { all.begin(slot); });
  }

  Clients& all_;
  const std::size_t slot_;
  const std::uint64_t number_;
  const Plan plan_;
  Flow answer_;
  const std::uint64_t squeezes_;
  const bool squeezed_;
  TcpClient client_;
};

Clients::Clients(EventLoop& loop, const Settings& settings, SocketAddress proxy,
                 std::size_t at_a_time)
    : loop_(loop), settings_(settings), proxy_(std::move(proxy)), slots_(at_a_time) {}

Clients::~Clients() = default;

void Clients::start() {
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) begin(slot);
}

void Clients::begin(std::size_t slot) {
  slots_[slot].reset();
  if (stopping_) return;
  ++counts_.begun;
  ++running_;
  slots_[slot] = std::make_unique<One>(*this, slot, next_++);
}

void Clients::ended(const One& one, const std::string& why) {
  --running_;
  counts_.bytes += one.answer().taken();
  const char* failure = nullptr;
  if (one.corrupted()) {
    ++counts_.corrupted;
    failure = "corrupted";
  } else if (one.complete()) {
    ++counts_.complete;
  } else if (!one.plan().gentle() || one.excused()) {
    ++counts_.cut;
  } else {
    ++counts_.lost;
    failure = "lost";
  }
  if (failure == nullptr || failures_.size() >= kMostFailures) return;
  failures_.push_back(
      fmt::format("connection {} ({}, to the {} server) {} after {} of {} bytes: {}", one.number(),
                  name_of(one.plan().chaos), one.plan().replaced ? "replaced" : "steady", failure,
                  one.answer().taken(), one.plan().size, why));
}

}  // namespace weir::test::soak
