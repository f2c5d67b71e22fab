#include "scenario.h"

#include <optional>
#include <vector>

namespace weir::test::matrix {

std::span<const Scenario> scenarios() {
  static const std::vector<Scenario> all = [] {
    std::vector<Scenario> made;
    for (const auto& part : {stream_scenarios, server_scenarios, loop_scenarios}) {
      made.insert(made.end(), part.begin(), part.end());
    }
    return made;
  }();
  return all;
}

void Net::serve_another() {
  if (stage.hits() == 0) return;
  stage.end_fault();
  Watch at_next(stage, "the next client");
  at_next.expect("ping");
  at_next.open = [](TcpConnection& c) { c.send("ping"); };
  at_server.data = echo_back;
  bool failed = false;
  std::optional<TcpClient> next(std::in_place, loop,
                                with_trigger(TcpClient::Options{.transport = transport}));
  next->use_handler(at_next.unowned());
  next->on_connect_error([&](const Error& error, int) {
    failed = true;
    stage.report("the next connect", error);
  });
  stage.need("connect", next->connect(address));
  until("the next client", [&] { return at_next.has_all() || failed || at_next.ended(); });
  if (!at_next.has_all()) stage.next_not_served();
  next->close();
  until("the end of the next client", [&] { return is_over(*next, at_next); });
}

void Net::end() {
  client.close();
  bool stopped = false;
  server.shutdown(std::chrono::seconds(20), [&stopped] { stopped = true; });
  until("the end", [&] { return stopped && is_over(client, at_client); });
  report_counters(server);
}

void Net::report_counters(const TcpServer& of) {
  const TcpServer::Stats stats = of.stats();
  if (stats.shed + stats.refused + stats.accept_errors > 0) {
    stage.report("the counters of a server", Errno());
  }
  stage.check(stats.connections == 0, "a stopped server counts connections");
  stage.check(stats.buffered == 0, "a stopped server counts buffered bytes");
}

}  // namespace weir::test::matrix
