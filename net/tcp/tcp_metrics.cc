// The metrics of TcpServer and TcpClient.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "weir/base/metrics.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir {

// Each queue is a sample with its listener as the label. The sum of several servers has the queues
// of all of them.
template <>
struct internal::MetricField<std::vector<TcpServer::AcceptQueue>> {
  using Value = std::vector<TcpServer::AcceptQueue>;
  using Label = std::uint32_t TcpServer::AcceptQueue::*;  // the member to export
  static void subtract(Value&, const Value&) {}
  static void add(Value& to, const Value& what) { to.insert(to.end(), what.begin(), what.end()); }
  static std::vector<MetricSample> samples(const Value& queues, Label number) {
    std::vector<MetricSample> all;
    all.reserve(queues.size());
    for (const TcpServer::AcceptQueue& queue : queues) {
      all.push_back({.value = static_cast<double>(queue.*number),
                     .label = metric_label("listener", queue.address.to_string())});
    }
    return all;
  }
};

namespace {

using internal::also;
using internal::metric;
using enum MetricKind;

std::string reason(std::size_t kind) {
  return metric_label("reason", to_string(static_cast<CloseReason::Kind>(kind)));
}

using Server = TcpServer::Stats;
using Queue = TcpServer::AcceptQueue;
constexpr std::array kServer{
    metric<&Server::connections>(gauge, "connections", "", "Open connections."),
    metric<&Server::accepted>(counter, "accepted", "",
                              "Connections accepted or adopted, including refused ones."),
    metric<&Server::refused>(counter, "refused", "",
                             "Connections closed at once because of max_connections."),
    metric<&Server::refused_per_peer>(
        counter, "refused_per_peer", "",
        "Connections closed at once because of max_connections_per_peer."),
    metric<&Server::shed>(counter, "shed", "",
                          "Connections closed right after accept: no descriptor was left."),
    metric<&Server::accept_errors>(counter, "accept_errors", "", "Errors of accept(2)."),
    metric<&Server::accept_back_offs>(counter, "accept_back_offs", "",
                                      "Pauses of a listener because a resource was exhausted."),
    metric<&Server::accept_rate_pauses>(counter, "accept_rate_pauses", "",
                                        "Pauses of a listener because of max_accept_rate."),
    metric<&Server::buffered>(gauge, "buffered", "bytes", "Bytes buffered for connections."),
    metric<&Server::over_budget>(counter, "over_budget", "",
                                 "Sends refused because the budget of buffered bytes is spent."),
    metric<&Server::starved>(counter, "starved", "",
                             "Times that the budget stopped reading a connection."),
    metric<&Server::bytes_in>(counter, "bytes_in", "bytes", "Bytes received."),
    metric<&Server::bytes_out>(counter, "bytes_out", "bytes", "Bytes sent."),
    metric<&Server::closed, reason>(counter, "closed", "", "Connections ended, by reason."),
    metric<&Server::accept_queues, &Queue::waiting>(
        gauge, "accept_queue", "", "Connections waiting to be accepted, by listener."),
    also(metric<&Server::accept_queues, &Queue::limit>(
        gauge, "accept_queue_limit", "", "Connections that may wait to be accepted.")),
};
static_assert(internal::covers_all<Server>(kServer));

using Client = TcpClient::Stats;
constexpr std::array kClient{
    metric<&Client::attempts>(counter, "attempts", "", "Attempts to connect."),
    metric<&Client::failures>(counter, "failures", "", "Attempts that failed."),
    metric<&Client::opened>(counter, "opened", "", "Connections made."),
    metric<&Client::bytes_in>(counter, "bytes_in", "bytes", "Bytes received."),
    metric<&Client::bytes_out>(counter, "bytes_out", "bytes", "Bytes sent."),
    metric<&Client::closed, reason>(counter, "closed", "", "Connections ended, by reason."),
};
static_assert(internal::covers_all<Client>(kClient));

}  // namespace

MetricList<TcpServer::Stats> TcpServer::Stats::metrics() { return kServer; }
MetricList<TcpClient::Stats> TcpClient::Stats::metrics() { return kClient; }

}  // namespace weir
