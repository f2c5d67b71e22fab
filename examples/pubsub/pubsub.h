// PubSub: the protocol of weir-pubsub. It consists of lines. Each is answered by one line, "ok" or
// "error WHY". Between the answers the server sends lines "message TOPIC TEXT" and, with
// --heartbeat, lines "ping". A ping needs no answer: it shows that the server of a quiet topic is
// alive.
//
//   sub TOPIC        sends the last message of the topic, if any, and then each new one
//   unsub TOPIC
//   pub TOPIC TEXT   TEXT is the rest of the line
//   ping             keeps a client connected that is otherwise silent
//   quit
#pragma once

#include <cstddef>
#include <string_view>

#include "pubsub/topics.h"
#include "weir/net/codec/framed_handler.h"
#include "weir/net/codec/line_codec.h"
#include "weir/net/tcp/tcp_server.h"

class PubSub final : public weir::FramedHandler<weir::LineCodec> {
 public:
  PubSub(weir::TcpServer& server, std::size_t most_topics, std::size_t most_topics_each,
         weir::SlowPolicy slow);

  void on_open(weir::TcpConnection& conn) override;
  void on_frame(weir::TcpConnection& conn, std::string_view line) override;
  // A line is too long (the connection continues), or the stream ended inside a line.
  void on_frame_error(weir::TcpConnection& conn, const weir::Error& error) override;
  void on_close(weir::TcpConnection& conn, weir::CloseReason reason) override;

 private:
  void subscribe(weir::TcpConnection& conn, std::string_view name);
  void unsubscribe(weir::TcpConnection& conn, std::string_view name);
  void publish(weir::TcpConnection& conn, std::string_view rest);
  void wait_for_loops_behind(weir::TcpConnection& publisher);

  weir::TcpServer& server_;
  Topics topics_;
  const std::size_t most_topics_each_;
};
