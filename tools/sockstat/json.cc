#include "sockstat/json.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "sockstat/growth.h"

namespace weir::sockstat {

namespace {

using Json = nlohmann::ordered_json;

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json listener_of(const Listener& listener, const Look& now, const Look* before) {
  Json json = {{"address", listener.address},
               {"queue", listener.queue},
               {"limit", listener.limit},
               {"full", listener.full()},
               {"limit_is_somaxconn", at_somaxconn(listener, now)},
               {"half_open", listener.half_open},
               {"drops", or_null(listener.drops)}};
  if (before != nullptr) json["drops_since_last_look"] = more_drops(listener, before);
  json["uid"] = listener.uid;
  json["inode"] = listener.inode;
  return json;
}

Json connection_of(const TcpSocket& socket) {
  Json json = {
      {"local", socket.local.text()},   {"peer", socket.peer.text()},
      {"state", name_of(socket.state)}, {"recv_q", socket.receive_queue},
      {"send_q", socket.send_queue},    {"timer", name_of(socket.timer)},
      {"timer_ms", socket.timer_ms},    {"retransmits_now", or_null(socket.retransmits_now)},
      {"uid", or_null(socket.uid)},     {"inode", socket.inode}};
  if (const auto& details = socket.details) {
    json["rtt_us"] = details->rtt_us;
    json["retransmits"] = details->retransmits;
    json["bytes_sent"] = or_null(details->bytes_sent);
    json["bytes_received"] = details->bytes_received;
    json["idle_ms"] = details->idle.count();
  }
  return json;
}

Json host_of(const Look& now, const Look* before) {
  Json json = {{"listen_overflows", now.host.listen_overflows},
               {"listen_drops", now.host.listen_drops}};
  if (before != nullptr) {
    json["overflows_since_last_look"] = more_overflows(now, before);
    json["drops_since_last_look"] = more_drops(now, before);
  }
  json["somaxconn"] = or_null(now.somaxconn);
  return json;
}

}  // namespace

std::string json_of(const Look& now, const Look* before, const Selection& selection) {
  const std::chrono::duration<double> clock = now.at.time_since_epoch();
  Json json = {
      {"time", clock.count()}, {"port", or_null(selection.port)}, {"pid", or_null(selection.pid)}};
  json["listeners"] = Json::array();
  for (const Listener& listener : now.listeners) {
    json["listeners"].push_back(listener_of(listener, now, before));
  }
  json["host"] = host_of(now, before);
  for (const State state : kAllStates) json["states"][name_of(state)] = now.count(state);
  if (before != nullptr) {
    json["grown"] = Json::object();
    for (const State state : kAllStates) {
      if (const auto by = grown(now, before, state)) json["grown"][name_of(state)] = by;
    }
  }
  json["unix_connected"] = or_null(now.unix_connected);
  if (selection.connections) {
    json["connections"] = Json::array();
    for (const TcpSocket& socket : now.connections) {
      json["connections"].push_back(connection_of(socket));
    }
    json["unix_connections"] = Json::array();
    for (const UnixSocket& socket : now.unix_connections) {
      json["unix_connections"].push_back({{"address", socket.text()},
                                          {"recv_q", socket.receive_queue},
                                          {"send_q", socket.send_queue},
                                          {"uid", socket.uid},
                                          {"inode", socket.inode},
                                          {"peer_inode", socket.peer_inode}});
    }
  }
  json["remarks"] = Json::array();
  for (const Remark& remark : remarks(now, before)) {
    json["remarks"].push_back({{"what", remark.what}, {"meaning", remark.meaning}});
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace weir::sockstat
