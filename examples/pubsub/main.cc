// weir-pubsub: clients publish messages on topics, and get those of the topics they subscribe to.
//
// The protocol is lines. Each is answered by one line, "ok" or "error WHY"; in between come lines
// "message TOPIC TEXT", and with --heartbeat lines "ping", which want no answer: they tell a quiet
// topic from a server that is gone.
//
//   sub TOPIC        the last message of the topic, if there was one, and from then on all
//   unsub TOPIC
//   pub TOPIC TEXT   TEXT is the rest of the line
//   ping             for who is silent otherwise
//   quit
//
// What it takes care of: a late subscriber gets the last message and then each newer one, none
// twice and none missing, on whatever loop; a message is encoded once, however many get it; a
// subscriber that does not read harms nobody (--slow says what becomes of its messages); who
// publishes faster than the loops hand out is not read meanwhile; the number of topics is bounded,
// and so are names and lines; nothing is sent to anybody that could drive a terminal.

#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/command_line.h"
#include "program/command_line.h"
#include "pubsub/topics.h"
#include "weir/base/utf8.h"
#include "weir/net/codec/framed_handler.h"
#include "weir/net/codec/line_codec.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/serve.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

constexpr std::size_t kMaxLine = 4096;
constexpr std::size_t kMaxName = 64;
// Messages that may wait for a loop to hand them out: 4 MiB, if all are of the longest.
constexpr std::uint64_t kMaxBacklog = 1000;

struct Client {
  std::set<std::string, std::less<>> topics;  // those it has subscribed to
};

// The first word, and what follows the space behind it.
std::pair<std::string_view, std::string_view> cut(std::string_view line) {
  const std::size_t end = std::min(line.find(' '), line.size());
  return {line.substr(0, end), line.substr(std::min(end + 1, line.size()))};
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= kMaxName && text.find(' ') == text.npos;
}

class PubSub final : public weir::FramedHandler<weir::LineCodec> {
 public:
  PubSub(weir::TcpServer& server, std::size_t most_topics, std::size_t most_topics_each,
         weir::SlowPolicy slow)
      : FramedHandler(weir::LineCodec({.max_frame = kMaxLine, .skip_overlong = true})),
        server_(server),
        topics_(most_topics, slow),
        most_topics_each_(most_topics_each) {
    set_heartbeat("ping");
  }

  void on_open(weir::TcpConnection& conn) override { conn.set_context<Client>(); }

  void on_frame(weir::TcpConnection& conn, std::string_view line) override {
    const auto [command, rest] = cut(line);
    if (!weir::is_printable(line)) {
      refuse(conn, "a line is printable text in UTF-8");
    } else if (command == "sub") {
      subscribe(conn, rest);
    } else if (command == "unsub") {
      unsubscribe(conn, rest);
    } else if (command == "pub") {
      publish(conn, rest);
    } else if (command == "ping") {
      conn.send("ok\n");
    } else if (command == "quit") {
      conn.send("ok\n");
      conn.close();
    } else {
      refuse(conn, "the commands are sub, unsub, pub, ping and quit");
    }
  }

  // A line that is too long; the connection lives. Or the stream ended inside one.
  void on_frame_error(weir::TcpConnection& conn, const weir::Error& error) override {
    refuse(conn, error.message());
  }

  void on_close(weir::TcpConnection& conn, weir::CloseReason) override {
    for (const std::string& name : conn.context<Client>()->topics) topics_.unsubscribe(name, conn);
  }

 private:
  static void refuse(weir::TcpConnection& conn, std::string_view why) {
    conn.send("error " + std::string(why) + "\n");
  }

  void subscribe(weir::TcpConnection& conn, std::string_view name) {
    auto& mine = conn.context<Client>()->topics;
    if (!is_name(name)) {
      refuse(conn, "sub TOPIC: a name has 1 to 64 bytes, and no spaces");
    } else if (mine.contains(name)) {
      conn.send("ok\n");
    } else if (mine.size() >= most_topics_each_) {
      refuse(conn, "you have subscribed to as many topics as one client may");
    } else if (topics_.subscribe(std::string(name), conn, "ok\n")) {
      mine.emplace(name);
    } else {
      refuse(conn, "there are as many topics as there may be");
    }
  }

  void unsubscribe(weir::TcpConnection& conn, std::string_view name) {
    auto& mine = conn.context<Client>()->topics;
    const auto found = mine.find(name);
    if (found == mine.end()) {
      refuse(conn, "unsub TOPIC: you have not subscribed to it");
      return;
    }
    topics_.unsubscribe(*found, conn);
    mine.erase(found);
    conn.send("ok\n");
  }

  void publish(weir::TcpConnection& conn, std::string_view rest) {
    const auto [name, text] = cut(rest);
    if (!is_name(name) || name.size() == rest.size()) {
      refuse(conn, "pub TOPIC TEXT: a name has 1 to 64 bytes");
      return;
    }
    const std::string message = "message " + std::string(rest) + "\n";
    if (topics_.publish(std::string(name), weir::SharedBytes::copy(message))) {
      conn.send("ok\n");
    } else {
      refuse(conn, "there are as many topics as there may be");
    }
    wait_for_loops_behind(conn);
  }

  // A loop with many subscribers takes longer to hand a message out than another to read it. The
  // publisher is not read before what waits there now was handed out.
  void wait_for_loops_behind(weir::TcpConnection& publisher) {
    for (std::size_t i = 0; i < server_.loop_count(); ++i) {
      weir::EventLoop& loop = server_.loop(i);
      if (loop.backlog() < kMaxBacklog) continue;
      publisher.pause_reading();  // counted: one for each loop
      loop.post([ref = publisher.ref()] {
        ref.post([](weir::TcpConnection& conn) { conn.resume_reading(); });
      });
    }
  }

  weir::TcpServer& server_;
  Topics topics_;
  const std::size_t most_topics_each_;
};

}  // namespace

int main(int argc, char** argv) {
  static const std::map<std::string, weir::SlowPolicy> kPolicies = {
      {"skip", weir::SlowPolicy::skip},
      {"latest", weir::SlowPolicy::latest_only},
      {"close", weir::SlowPolicy::close}};
  std::vector<std::string> listen = {"127.0.0.1:7008"};
  weir::SlowPolicy slow = weir::SlowPolicy::skip;
  std::size_t most_topics = 10'000;
  std::size_t most_topics_each = 100;
  weir::TcpServer::Options options{.idle_timeout = std::chrono::minutes(10),
                                   .message_timeout = std::chrono::seconds(30),
                                   .high_water = 256 * 1024};
  CLI::App app("Clients publish messages on topics, and get those of the topics they subscribe to.",
               "weir-pubsub");
  sample::listen_option(app, listen);
  sample::threads_option(app, options.threads);
  sample::choice_option(
      app, "--slow", kPolicies, slow,
      "for a subscriber that does not read: skip messages, keep the latest, or close")
      ->default_str("skip")
      ->type_name("POLICY");
  weir::program::number_option(app, "--max-topics", most_topics, 1, 10'000'000, "N",
                               "topics at a time");
  weir::program::number_option(app, "--max-topics-per-client", most_topics_each, 1, 1'000'000, "N",
                               "that one connection may subscribe to");
  sample::seconds_option(app, "--idle-timeout", options.idle_timeout,
                         "after which a silent client is let go; 0: never");
  sample::seconds_option(app, "--heartbeat", options.heartbeat_interval,
                         "after which a client that was sent nothing gets a line \"ping\", and "
                         "--idle-timeout is about what the client sends alone; 0: never");
  return sample::run(app, argc, argv, [&] {
    if (options.heartbeat_interval > weir::Duration::zero()) {
      // A heartbeat of ours is activity, but it does not show that the client is there.
      options.read_idle_timeout = std::exchange(options.idle_timeout, weir::Duration::zero());
    }
    weir::EventLoop loop;
    weir::TcpServer server(loop, options);
    server.use_handler(std::make_shared<PubSub>(server, most_topics, most_topics_each, slow));
    return weir::serve(loop, server, listen);
  });
}
