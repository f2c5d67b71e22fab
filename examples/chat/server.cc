// weir-chat-server: a chat room with a protocol of lines, so nc is enough as a client.
//
// This file is the protocol: the effect of each line. room.cc holds the members and sends their
// lines; talk_rate.cc limits how fast a client is read. All members see the lines in the same
// order, and a line is encoded once for all. Text from a client can neither forge a notice nor
// control a terminal. A client that reads slowly, sends too fast, sends a line without end, or
// never sends a nickname costs a limited amount of memory and time, and affects no other client.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/room.h"
#include "chat/talk_rate.h"
#include "chat/text.h"
#include "common/client_key.h"
#include "common/command_line.h"
#include "program/command_line.h"
#include "weir/base/log.h"
#include "weir/base/utf8.h"
#include "weir/net/codec/framed_handler.h"
#include "weir/net/codec/line_codec.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/serve.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

using weir::TcpConnection;

constexpr std::size_t kMaxLine = 4096;
// A longer line counts as several lines, so the rate limits bytes, too.
constexpr std::size_t kShortLine = 256;

struct Settings {
  std::vector<std::string> listen;
  weir::SlowPolicy slow = weir::SlowPolicy::skip;
  std::size_t history = 20;
  unsigned rate = 10;  // lines a second of one client; 0: no limit
  weir::Duration nickname_timeout = std::chrono::seconds(30);
  weir::TcpServer::Options server;
};

// The context of a connection, on its loop.
struct Guest {
  std::string nickname;    // empty: not in the room
  weir::TimerId deadline;  // for the nickname
  chat::TalkRate::Accounts::pointer account = nullptr;
};

// One handler for all connections of all loops. Their shared state is in the Room and the TalkRate.
class Chat final : public weir::FramedHandler<weir::LineCodec> {
 public:
  explicit Chat(const Settings& settings)
      : FramedHandler(weir::LineCodec({.max_frame = kMaxLine, .skip_overlong = true})),
        nickname_timeout_(settings.nickname_timeout),
        rate_(settings.rate),
        room_(settings.slow, settings.history) {}

  void on_open(TcpConnection& conn) override {
    auto& guest = conn.set_context<Guest>();
    guest.account = rate_.enter(sample::client_key(conn), conn.loop().now());
    room_.arrive(conn);
    slow_down(conn, guest, 0);  // a client that reconnects may still have a debt
    conn.send("* hello; your first line is your nickname\n");
    if (nickname_timeout_ == weir::Duration::zero()) return;
    guest.deadline = conn.loop().run_after(nickname_timeout_, [ref = conn.ref()] {
      ref.send("! no nickname has come; goodbye\n");
      ref.close();
    });
  }

  void on_frame(TcpConnection& conn, std::string_view line) override {
    auto& guest = *conn.context<Guest>();
    slow_down(conn, guest, lines_of(line.size()));
    if (!weir::is_utf8(line)) {
      refuse(conn, "that line is not valid UTF-8");
    } else if (guest.nickname.empty()) {
      introduce(conn, guest, chat::without_spaces_around(line));
    } else if (line.starts_with("//")) {
      say(guest, line.substr(1));
    } else if (line.starts_with('/')) {
      command(conn, guest, line);
    } else {
      say(guest, line);
    }
  }

  // The line is too long, or the stream ended inside a line.
  void on_frame_error(TcpConnection& conn, const weir::Error& error) override {
    slow_down(conn, *conn.context<Guest>(), lines_of(kMaxLine));
    refuse(conn, "line dropped: " + error.message());
  }

  // After each of the next three the guest can send no more lines, so it leaves the room, although
  // output for it may still be queued.
  void on_half_close(TcpConnection& conn) override {
    FramedHandler::on_half_close(conn);
    leave(conn);
  }
  bool on_timeout(TcpConnection& conn, weir::CloseReason::Kind) override {
    leave(conn);
    conn.send("* nothing was heard for too long; goodbye\n");
    return false;
  }
  void on_close(TcpConnection& conn, weir::CloseReason) override {
    leave(conn);
    rate_.leave(conn.context<Guest>()->account);
  }

  void say_goodbye() { room_.end("* the server is going down; goodbye"); }

 private:
  struct Command {
    std::string_view name;
    std::string_view help;
    void (Chat::*run)(TcpConnection&, Guest&, std::string_view rest);
  };
  static const std::array<Command, 6> kCommands;

  static int lines_of(std::size_t bytes) { return static_cast<int>(1 + bytes / kShortLine); }

  // Reads a client that sends too fast more slowly. No line is lost.
  void slow_down(TcpConnection& conn, Guest& guest, int lines) {
    const weir::TimePoint now = conn.loop().now();
    const weir::TimePoint next = rate_.charge(guest.account, lines, now);
    if (next <= now) return;
    conn.pause_reading();
    conn.loop().run_at(next, [ref = conn.ref()] {
      if (TcpConnection* paused = ref.get()) paused->resume_reading();
    });
  }

  static void refuse(TcpConnection& conn, std::string_view sentence) {
    conn.send(fmt::format("! {}\n", sentence));
  }

  void introduce(TcpConnection& conn, Guest& guest, std::string_view nickname) {
    const std::string sentence = room_.enter(conn, nickname);
    if (!sentence.empty()) return refuse(conn, sentence);
    guest.nickname = nickname;
    conn.loop().cancel(guest.deadline);
  }

  void leave(TcpConnection& conn) {
    auto& guest = *conn.context<Guest>();
    conn.loop().cancel(guest.deadline);
    if (!guest.nickname.empty()) room_.leave(conn, std::exchange(guest.nickname, {}));
  }

  void say(const Guest& guest, std::string_view text) {
    const std::string shown = chat::printable(text);
    if (chat::without_spaces_around(shown).empty()) return;
    room_.say(guest.nickname, fmt::format("{}: {}", guest.nickname, shown));
  }

  void command(TcpConnection& conn, Guest& guest, std::string_view line) {
    const std::string_view name = chat::take_word(line);
    const auto found = std::ranges::find(kCommands, name, &Command::name);
    if (found == kCommands.end()) {
      return refuse(conn, fmt::format("there is no command \"{}\"; /help lists them",
                                      weir::escaped(name, 40)));
    }
    (this->*found->run)(conn, guest, line);
  }

  void me(TcpConnection& conn, Guest& guest, std::string_view rest) {
    const std::string shown = chat::printable(rest);
    if (shown.empty()) return refuse(conn, "what do you do? /me TEXT");
    room_.say(guest.nickname, fmt::format("** {} {}", guest.nickname, shown));
  }

  void msg(TcpConnection& conn, Guest& guest, std::string_view rest) {
    const std::string_view to = chat::take_word(rest);
    const std::string text = chat::printable(rest);
    if (!chat::is_nickname(to) || text.empty()) {
      return refuse(conn, "say what to whom? /msg NICK TEXT");
    }
    const std::string sentence = room_.whisper(guest.nickname, to, text);
    if (!sentence.empty()) refuse(conn, sentence);
  }

  void nick(TcpConnection& conn, Guest& guest, std::string_view rest) {
    const std::string sentence = room_.rename(guest.nickname, rest);
    if (!sentence.empty()) return refuse(conn, sentence);
    guest.nickname = rest;
  }

  void who(TcpConnection&, Guest& guest, std::string_view rest) {
    room_.who(guest.nickname, rest.substr(0, chat::kMaxNickname + 1));
  }

  void quit(TcpConnection& conn, Guest&, std::string_view) {
    leave(conn);
    conn.send("* goodbye\n");
    conn.close();
  }

  void help(TcpConnection&, Guest& guest, std::string_view) {
    std::string lines = "* what you write goes to all others; // says a line that begins with /\n";
    for (const Command& each : kCommands) lines += fmt::format("* {}\n", each.help);
    room_.send_to(guest.nickname, lines);
  }

  const weir::Duration nickname_timeout_;
  chat::TalkRate rate_;
  chat::Room room_;
};

constexpr std::array<Chat::Command, 6> Chat::kCommands{{
    {"/me", "/me TEXT: tells what you do", &Chat::me},
    {"/msg", "/msg NICK TEXT: whispers", &Chat::msg},
    {"/nick", "/nick NEW: takes another nickname", &Chat::nick},
    {"/who", "/who [BEGINNING]: tells who is here", &Chat::who},
    {"/quit", "/quit: ends the connection", &Chat::quit},
    {"/help", "/help: these lines", &Chat::help},
}};

void describe(CLI::App& app, Settings& settings) {
  static const std::map<std::string, weir::SlowPolicy> kPolicies = {
      {"skip", weir::SlowPolicy::skip}, {"close", weir::SlowPolicy::close}};
  weir::TcpServer::Options& server = settings.server;

  sample::listen_option(app, settings.listen);
  sample::threads_option(app, server.threads);
  sample::choice_option(
      app, "--slow", kPolicies, settings.slow,
      "for a client that does not read: skip drops its lines (the default), close ends it")
      ->type_name("POLICY");
  weir::program::number_option(
      app, "--max-output", server.max_output, std::uint64_t{128} << 10, std::uint64_t{1} << 32,
      "BYTES", "bytes that may be queued for one client; from half of it the client is slow");
  weir::program::number_option(app, "--history", settings.history, 0, 10'000, "N",
                               "last lines that a new member gets, at most 64 KiB");
  weir::program::number_option(app, "--rate", settings.rate, 0, 1'000'000, "N",
                               "lines a second of one address in the long run; 0: no limit");
  sample::seconds_option(
      app, "--idle-timeout", server.idle_timeout,
      "of silence in both directions after which a client is disconnected; 0: never");
  sample::seconds_option(app, "--nickname-timeout", settings.nickname_timeout,
                         "in which a client must send a nickname; 0: no limit");
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  settings.server.idle_timeout = std::chrono::hours(1);
  settings.server.max_output = 512 * 1024;
  CLI::App app("A chat room.", "weir-chat-server");
  describe(app, settings);
  return sample::run(app, argc, argv, [&] {
    settings.server.high_water = settings.server.max_output / 2;
    settings.server.overflow =
        settings.slow == weir::SlowPolicy::close ? weir::Overflow::close : weir::Overflow::drop;
    const auto chat = std::make_shared<Chat>(settings);
    weir::EventLoop loop;
    weir::TcpServer server(loop, settings.server);
    server.use_handler(chat);
    return weir::serve(loop, server, settings.listen, {.on_stop = [&] { chat->say_goodbye(); }});
  });
}
