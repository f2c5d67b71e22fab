// weir-pubsub: clients publish messages on topics, and get those of the topics they subscribe to.
//
// The protocol consists of lines. Each is answered by one line, "ok" or "error WHY". Between the
// answers the server sends lines "message TOPIC TEXT" and, with --heartbeat, lines "ping". A ping
// needs no answer: it shows that the server of a quiet topic is alive.
//
//   sub TOPIC        sends the last message of the topic, if any, and then each new one
//   unsub TOPIC
//   pub TOPIC TEXT   TEXT is the rest of the line
//   ping             keeps a client connected that is otherwise silent
//   quit
//
// A late subscriber gets the last message and then each newer one, none twice and none missing, on
// every loop. A message is encoded once for all subscribers. A subscriber that does not read
// affects no other client (--slow decides about its messages). A client that publishes faster than
// the loops deliver is not read until they have caught up. The numbers of topics and the lengths of
// names and lines are limited. Nothing that is sent to a client can control its terminal.

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
// Tasks that may be pending on a loop before publishers are paused: 4 MiB of the longest messages.
constexpr std::uint64_t kMaxBacklog = 1000;

struct Client {
  std::set<std::string, std::less<>> topics;  // its subscriptions
};

// The first word, and the text after the space that follows it.
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
      refuse(conn, "a line must be printable text in UTF-8");
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

  // A line is too long (the connection continues), or the stream ended inside a line.
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
      refuse(conn, "sub TOPIC: a name has 1 to 64 bytes and no spaces");
    } else if (mine.contains(name)) {
      conn.send("ok\n");
    } else if (mine.size() >= most_topics_each_) {
      refuse(conn, "you have reached the limit of topics for one client");
    } else if (topics_.subscribe(std::string(name), conn, "ok\n")) {
      mine.emplace(name);
    } else {
      refuse(conn, "the server has reached its limit of topics");
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
      refuse(conn, "the server has reached its limit of topics");
    }
    wait_for_loops_behind(conn);
  }

  // A loop with many subscribers takes longer to deliver a message than another loop to read it.
  // The publisher is not read until the slow loop has run the tasks that are pending now.
  void wait_for_loops_behind(weir::TcpConnection& publisher) {
    for (std::size_t i = 0; i < server_.loop_count(); ++i) {
      weir::EventLoop& loop = server_.loop(i);
      if (loop.backlog() < kMaxBacklog) continue;
      publisher.pause_reading();  // pauses are counted: one for each loop
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
      "for a subscriber that does not read: skip messages, keep the latest, or close it")
      ->default_str("skip")
      ->type_name("POLICY");
  weir::program::number_option(app, "--max-topics", most_topics, 1, 10'000'000, "N",
                               "topics at a time");
  weir::program::number_option(app, "--max-topics-per-client", most_topics_each, 1, 1'000'000, "N",
                               "topics that one connection may subscribe to");
  sample::seconds_option(app, "--idle-timeout", options.idle_timeout,
                         "of silence after which a client is disconnected; 0: never");
  sample::seconds_option(app, "--heartbeat", options.heartbeat_interval,
                         "without output after which a client is sent \"ping\"; then "
                         "--idle-timeout counts only what the client sends; 0: never");
  return sample::run(app, argc, argv, [&] {
    if (options.heartbeat_interval > weir::Duration::zero()) {
      // Our heartbeats are output, so only input can show that the client is alive.
      options.read_idle_timeout = std::exchange(options.idle_timeout, weir::Duration::zero());
    }
    weir::EventLoop loop;
    weir::TcpServer server(loop, options);
    server.use_handler(std::make_shared<PubSub>(server, most_topics, most_topics_each, slow));
    return weir::serve(loop, server, listen);
  });
}
