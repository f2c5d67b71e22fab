// The metrics of UdpSocket and UdpServer.
#include <array>

#include "weir/base/metrics.h"
#include "weir/net/udp/udp_socket.h"

namespace weir {

namespace {

using internal::metric;
using Stats = UdpSocket::Stats;
using enum MetricKind;

constexpr std::array kMetrics{
    metric<&Stats::received>(counter, "received", "", "Datagrams received."),
    metric<&Stats::bytes_in>(counter, "bytes_in", "bytes", "Bytes received."),
    metric<&Stats::truncated>(counter, "truncated", "", "Datagrams received in part."),
    metric<&Stats::sent>(counter, "sent", "", "Datagrams sent."),
    metric<&Stats::bytes_out>(counter, "bytes_out", "bytes", "Bytes sent."),
    metric<&Stats::dropped>(counter, "dropped", "",
                            "Datagrams not sent because of max_queued or of close()."),
    metric<&Stats::send_failed>(counter, "send_failed", "", "Datagrams that the kernel refused."),
    metric<&Stats::errors>(counter, "errors", "", "Errors that on_error reported."),
    metric<&Stats::receive_calls>(counter, "receive_calls", "", "Calls of recvmmsg(2)."),
    metric<&Stats::send_calls>(counter, "send_calls", "", "Calls of sendmmsg(2)."),
};
static_assert(internal::covers_all<Stats>(kMetrics));

}  // namespace

MetricList<UdpSocket::Stats> UdpSocket::Stats::metrics() { return kMetrics; }

}  // namespace weir
