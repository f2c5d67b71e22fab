#include "pubsub/pubsub.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "weir/base/utf8.h"
#include "weir/net/reactor/event_loop.h"

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

void refuse(weir::TcpConnection& conn, std::string_view why) {
  conn.send("error " + std::string(why) + "\n");
}

}  // namespace

PubSub::PubSub(weir::TcpServer& server, std::size_t most_topics, std::size_t most_topics_each,
               weir::SlowPolicy slow)
    : FramedHandler(weir::LineCodec({.max_frame = kMaxLine, .skip_overlong = true})),
      server_(server),
      topics_(most_topics, slow),
      most_topics_each_(most_topics_each) {
  set_heartbeat("ping");
}

void PubSub::on_open(weir::TcpConnection& conn) { conn.set_context<Client>(); }

void PubSub::on_frame(weir::TcpConnection& conn, std::string_view line) {
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

void PubSub::on_frame_error(weir::TcpConnection& conn, const weir::Error& error) {
  refuse(conn, error.message());
}

void PubSub::on_close(weir::TcpConnection& conn, weir::CloseReason) {
  for (const std::string& name : conn.context<Client>()->topics) topics_.unsubscribe(name, conn);
}

void PubSub::subscribe(weir::TcpConnection& conn, std::string_view name) {
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

void PubSub::unsubscribe(weir::TcpConnection& conn, std::string_view name) {
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

void PubSub::publish(weir::TcpConnection& conn, std::string_view rest) {
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
void PubSub::wait_for_loops_behind(weir::TcpConnection& publisher) {
  for (std::size_t i = 0; i < server_.loop_count(); ++i) {
    weir::EventLoop& loop = server_.loop(i);
    if (loop.backlog() < kMaxBacklog) continue;
    publisher.pause_reading();  // pauses are counted: one for each loop
    loop.post([ref = publisher.ref()] {
      ref.post([](weir::TcpConnection& conn) { conn.resume_reading(); });
    });
  }
}
