// weir-pubsub: clients publish messages on topics, and get those of the topics they subscribe to.
//
// A late subscriber gets the last message and then each newer one, none twice and none missing, on
// every loop. A message is encoded once for all subscribers. A subscriber that does not read
// affects no other client (--slow decides about its messages). A client that publishes faster than
// the loops deliver is not read until they have caught up. The numbers of topics and the lengths of
// names and lines are limited. Nothing that is sent to a client can control its terminal.

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/command_line.h"
#include "program/command_line.h"
#include "pubsub/pubsub.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/serve.h"
#include "weir/net/tcp/tcp_server.h"

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
