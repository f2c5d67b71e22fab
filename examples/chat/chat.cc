#include "chat/chat.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "chat/text.h"
#include "common/client_key.h"
#include "weir/base/log.h"
#include "weir/base/utf8.h"

namespace chat {

using weir::TcpConnection;

namespace {

// A longer line counts as several lines, so the rate limits bytes, too.
constexpr std::size_t kShortLine = 256;

int lines_of(std::size_t bytes) { return static_cast<int>(1 + bytes / kShortLine); }

void refuse(TcpConnection& conn, std::string_view sentence) {
  conn.send(fmt::format("! {}\n", sentence));
}

}  // namespace

// The context of a connection, on its loop.
struct Chat::Guest {
  std::string nickname;    // empty: not in the room
  weir::TimerId deadline;  // for the nickname
  TalkRate::Accounts::pointer account = nullptr;
};

Chat::Chat(const Options& options)
    : FramedHandler(weir::LineCodec({.max_frame = kMaxLine, .skip_overlong = true})),
      nickname_timeout_(options.nickname_timeout),
      rate_(options.rate),
      room_(options.slow, options.history) {}

void Chat::on_open(TcpConnection& conn) {
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

void Chat::on_frame(TcpConnection& conn, std::string_view line) {
  auto& guest = *conn.context<Guest>();
  slow_down(conn, guest, lines_of(line.size()));
  if (!weir::is_utf8(line)) {
    refuse(conn, "that line is not valid UTF-8");
  } else if (guest.nickname.empty()) {
    introduce(conn, guest, without_spaces_around(line));
  } else if (line.starts_with("//")) {
    say(guest, line.substr(1));
  } else if (line.starts_with('/')) {
    command(conn, guest, line);
  } else {
    say(guest, line);
  }
}

void Chat::on_frame_error(TcpConnection& conn, const weir::Error& error) {
  slow_down(conn, *conn.context<Guest>(), lines_of(kMaxLine));
  refuse(conn, "line dropped: " + error.message());
}

void Chat::on_half_close(TcpConnection& conn) {
  FramedHandler::on_half_close(conn);
  leave(conn);
}
bool Chat::on_timeout(TcpConnection& conn, weir::CloseReason::Kind) {
  leave(conn);
  conn.send("* nothing was heard for too long; goodbye\n");
  return false;
}
void Chat::on_close(TcpConnection& conn, weir::CloseReason) {
  leave(conn);
  rate_.leave(conn.context<Guest>()->account);
}

// Reads a client that sends too fast more slowly. No line is lost.
void Chat::slow_down(TcpConnection& conn, Guest& guest, int lines) {
  const weir::TimePoint now = conn.loop().now();
  const weir::TimePoint next = rate_.charge(guest.account, lines, now);
  if (next <= now) return;
  conn.pause_reading();
  conn.loop().run_at(next, [ref = conn.ref()] {
    if (TcpConnection* paused = ref.get()) paused->resume_reading();
  });
}

void Chat::introduce(TcpConnection& conn, Guest& guest, std::string_view nickname) {
  const std::string sentence = room_.enter(conn, nickname);
  if (!sentence.empty()) return refuse(conn, sentence);
  guest.nickname = nickname;
  conn.loop().cancel(guest.deadline);
}

void Chat::leave(TcpConnection& conn) {
  auto& guest = *conn.context<Guest>();
  conn.loop().cancel(guest.deadline);
  if (!guest.nickname.empty()) room_.leave(conn, std::exchange(guest.nickname, {}));
}

void Chat::say(const Guest& guest, std::string_view text) {
  const std::string shown = printable(text);
  if (without_spaces_around(shown).empty()) return;
  room_.say(guest.nickname, fmt::format("{}: {}", guest.nickname, shown));
}

void Chat::command(TcpConnection& conn, Guest& guest, std::string_view line) {
  const std::string_view name = take_word(line);
  const auto found = std::ranges::find(kCommands, name, &Command::name);
  if (found == kCommands.end()) {
    return refuse(
        conn, fmt::format("there is no command \"{}\"; /help lists them", weir::escaped(name, 40)));
  }
  (this->*found->run)(conn, guest, line);
}

void Chat::me(TcpConnection& conn, Guest& guest, std::string_view rest) {
  const std::string shown = printable(rest);
  if (shown.empty()) return refuse(conn, "what do you do? /me TEXT");
  room_.say(guest.nickname, fmt::format("** {} {}", guest.nickname, shown));
}

void Chat::msg(TcpConnection& conn, Guest& guest, std::string_view rest) {
  const std::string_view to = take_word(rest);
  const std::string text = printable(rest);
  if (!is_nickname(to) || text.empty()) {
    return refuse(conn, "say what to whom? /msg NICK TEXT");
  }
  const std::string sentence = room_.whisper(guest.nickname, to, text);
  if (!sentence.empty()) refuse(conn, sentence);
}

void Chat::nick(TcpConnection& conn, Guest& guest, std::string_view rest) {
  const std::string sentence = room_.rename(guest.nickname, rest);
  if (!sentence.empty()) return refuse(conn, sentence);
  guest.nickname = rest;
}

void Chat::who(TcpConnection&, Guest& guest, std::string_view rest) {
  room_.who(guest.nickname, rest.substr(0, kMaxNickname + 1));
}

void Chat::quit(TcpConnection& conn, Guest&, std::string_view) {
  leave(conn);
  conn.send("* goodbye\n");
  conn.close();
}

void Chat::help(TcpConnection&, Guest& guest, std::string_view) {
  std::string lines = "* what you write goes to all others; // says a line that begins with /\n";
  for (const Command& each : kCommands) lines += fmt::format("* {}\n", each.help);
  room_.send_to(guest.nickname, lines);
}

constexpr std::array<Chat::Command, 6> Chat::kCommands{{
    {"/me", "/me TEXT: tells what you do", &Chat::me},
    {"/msg", "/msg NICK TEXT: whispers", &Chat::msg},
    {"/nick", "/nick NEW: takes another nickname", &Chat::nick},
    {"/who", "/who [BEGINNING]: tells who is here", &Chat::who},
    {"/quit", "/quit: ends the connection", &Chat::quit},
    {"/help", "/help: these lines", &Chat::help},
}};

}  // namespace chat
