// Chat: the protocol of weir-chat-server, the effect of each line of a client.
//
// One handler for all connections of all loops. Their shared state is in the Room and the TalkRate.
#pragma once

#include <array>
#include <chrono>
#include <string>
#include <string_view>

#include "chat/room.h"
#include "chat/talk_rate.h"
#include "weir/net/codec/framed_handler.h"
#include "weir/net/codec/line_codec.h"
#include "weir/net/reactor/event_loop.h"

namespace chat {

inline constexpr std::size_t kMaxLine = 4096;

class Chat final : public weir::FramedHandler<weir::LineCodec> {
 public:
  struct Options {
    weir::SlowPolicy slow = weir::SlowPolicy::skip;
    std::size_t history = 20;
    unsigned rate = 10;  // lines a second of one client; 0: no limit
    weir::Duration nickname_timeout = std::chrono::seconds(30);  // 0: no limit
  };

  explicit Chat(const Options& options);

  void on_open(weir::TcpConnection& conn) override;
  void on_frame(weir::TcpConnection& conn, std::string_view line) override;
  // The line is too long, or the stream ended inside a line.
  void on_frame_error(weir::TcpConnection& conn, const weir::Error& error) override;
  // After each of the next three the guest can send no more lines, so it leaves the room, although
  // output for it may still be queued.
  void on_half_close(weir::TcpConnection& conn) override;
  bool on_timeout(weir::TcpConnection& conn, weir::CloseReason::Kind kind) override;
  void on_close(weir::TcpConnection& conn, weir::CloseReason reason) override;

  void say_goodbye() { room_.end("* the server is going down; goodbye"); }

 private:
  struct Guest;
  struct Command {
    std::string_view name;
    std::string_view help;
    void (Chat::*run)(weir::TcpConnection&, Guest&, std::string_view rest);
  };
  static const std::array<Command, 6> kCommands;

  void slow_down(weir::TcpConnection& conn, Guest& guest, int lines);
  void introduce(weir::TcpConnection& conn, Guest& guest, std::string_view nickname);
  void leave(weir::TcpConnection& conn);
  void say(const Guest& guest, std::string_view text);
  void command(weir::TcpConnection& conn, Guest& guest, std::string_view line);
  void me(weir::TcpConnection& conn, Guest& guest, std::string_view rest);
  void msg(weir::TcpConnection& conn, Guest& guest, std::string_view rest);
  void nick(weir::TcpConnection& conn, Guest& guest, std::string_view rest);
  void who(weir::TcpConnection& conn, Guest& guest, std::string_view rest);
  void quit(weir::TcpConnection& conn, Guest& guest, std::string_view rest);
  void help(weir::TcpConnection& conn, Guest& guest, std::string_view rest);

  const weir::Duration nickname_timeout_;
  TalkRate rate_;
  Room room_;
};

}  // namespace chat
