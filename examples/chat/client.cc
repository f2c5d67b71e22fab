// weir-chat: a chat client, in a terminal or between pipes.
//
// The line that is being typed stays below the messages (client_screen.cc). When the connection
// breaks, the client reconnects with the same nickname and sends the lines that were entered
// meanwhile. A server cannot control the terminal. Between pipes (client_pipe.cc) every line is
// sent, and the server's lines are printed until it closes. Every wait has a deadline.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "chat/client_front.h"
#include "common/command_line.h"
#include "weir/base/log.h"
#include "weir/base/result.h"
#include "weir/base/utf8.h"
#include "weir/net/codec/framed_handler.h"
#include "weir/net/codec/line_codec.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/signal_set.h"
#include "weir/net/tcp/tcp_client.h"

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Settings {
  std::string address;
  std::string nickname;
  weir::Duration timeout = seconds(10);  // to connect, for the welcome, for the end; 0: none
  bool terminal = false;
};

// `text` made safe for a terminal: everything that is not printable becomes U+FFFD.
std::string harmless(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const weir::CodePoint next = weir::first_code_point(text);
    const std::size_t size = next.size == 0 ? 1 : next.size;
    out += next.size != 0 && weir::is_printable(next.value) ? text.substr(0, size) : "\xEF\xBF\xBD";
    text.remove_prefix(size);
  }
  return out;
}

class Chat final : public weir::FramedHandler<weir::LineCodec>, public chat::Front::Listener {
 public:
  Chat(weir::EventLoop& loop, weir::TcpClient& client, const Settings& settings)
      : loop_(loop), client_(client), settings_(settings), nickname_(settings.nickname) {}

  // Starts to connect. `front` must exist as long as the loop runs.
  weir::Result<void> join(chat::Front& front) {
    front_ = &front;
    front.set_prompt(nickname_ + "> ");
    // The server ignores an empty line, but it counts as activity in a silent room.
    loop_.run_every(std::chrono::minutes(5), [this] {
      if (state_ == State::joined) current_.send("\n");
    });
    return client_.connect(settings_.address);
  }

  // The exit code of main(). Call it last: it prints the error.
  int result() const { return error_ ? weir::fail(*error_) : exit_code_; }

  // From keys or kill(1). The first signal leaves in order, the second at once.
  void on_signal(int signal) {
    if (signal == SIGINT && front_->clear_line()) return;
    leave(128 + signal);
  }

  void on_connect_error(const weir::Error& error, int attempt) {
    if (!welcomed_once_ || !settings_.terminal) return fail(error);
    if (attempt == 1) notice(error.message() + "; trying again");
  }

  // -- the server ---------------------------------------------------------------------------------

  void on_open(weir::TcpConnection& conn) override {
    state_ = State::joining;
    current_ = conn.ref();
    paused_ = false;
    conn.send(nickname_ + "\n");
    set_timer({}, nullptr);
    if (has_timeout()) set_timer(settings_.timeout, [this] { on_welcome_timeout(); });
  }

  void on_frame(weir::TcpConnection& conn, std::string_view line) override {
    if (state_ == State::joining && line.starts_with("! ")) return on_refused(line);
    // The server's greeting is for people without a client.
    if (state_ == State::joining && line.starts_with("* hello; ")) return;
    front_->show(harmless(line));
    if (state_ == State::joining && line.starts_with("* welcome, ")) welcomed(conn);
    constexpr std::string_view kRenamed = "* you are now ";
    if (state_ == State::joined && line.starts_with(kRenamed)) {
      nickname_ = harmless(line.substr(kRenamed.size()));
      front_->set_prompt(nickname_ + "> ");
    }
    if (front_->full() && !std::exchange(paused_, true)) conn.pause_reading();
  }

  void on_frame_error(weir::TcpConnection& conn, const weir::Error& error) override {
    if (conn.peer_half_closed()) return;  // the stream ended inside a line; on_close follows
    fail(error.within(settings_.address));
  }

  void on_drained(weir::TcpConnection&) override {
    if (state_ == State::joined) front_->take_lines(true);
  }

  void on_close(weir::TcpConnection& conn, weir::CloseReason reason) override {
    if (conn.ref() != current_) return;  // a connection that was replaced
    current_ = {};
    set_timer({}, nullptr);
    if (state_ == State::leaving) {
      if (sending_rest_ && reason.kind != weir::CloseReason::Kind::peer_eof) return lost(reason);
      return loop_.stop();
    }
    if (!welcomed_once_ || !settings_.terminal) return lost(reason);
    // The TcpClient reconnects by itself.
    state_ = State::connecting;
    notice(why(reason) + "; connecting again");
  }

  // -- the user -----------------------------------------------------------------------------------

  void on_line(std::string_view line) override {
    if (state_ == State::asking) return ask_again_with(line);
    const std::string_view words = line.substr(0, line.find_last_not_of(" \t") + 1);
    if (words == "/quit") return leave(0);
    if (state_ == State::leaving) return;
    if (state_ == State::joined) return send(line);
    if (kept_.size() == kMostKept) return notice("not connected; this line is dropped");
    if (kept_.empty()) notice("not connected; this line is sent after the connection is made");
    kept_.emplace_back(line);
  }

  void on_end() override {
    if (settings_.terminal) return leave(0);
    // All lines were sent. The server sends its answers, and closes after it has read our end.
    if (state_ != State::joined) return;
    state_ = State::leaving;
    sending_rest_ = true;
    current_.shutdown();
    if (!has_timeout()) return;
    set_timer(settings_.timeout + lines_ * kLineTakes, [this] {
      fail(weir::Error(settings_.address + ": the server did not close the connection in time"));
    });
  }

  void on_output_drained() override {
    if (std::exchange(paused_, false)) resume();
  }

  void on_output_lost() override {
    if (state_ == State::leaving && !sending_rest_) return loop_.stop();  // the terminal is gone
    fail(weir::Error("standard output cannot be written"));
  }

 private:
  enum class State {
    connecting,  // or waiting to connect
    joining,     // the nickname was sent
    joined,
    asking,  // the user for another nickname
    leaving,
  };
  static constexpr std::size_t kMostKept = 100;  // lines entered while not connected
  // The server delays fast clients, for example to ten lines a second.
  static constexpr weir::Duration kLineTakes = milliseconds(200);
  // Attempts while our old connection, which the server has not closed yet, holds the nickname.
  static constexpr int kMostRefusals = 5;

  void resume() {
    if (weir::TcpConnection* conn = current_.get()) conn->resume_reading();
  }

  void welcomed(weir::TcpConnection& conn) {
    set_timer({}, nullptr);
    state_ = State::joined;
    welcomed_once_ = true;
    refusals_ = 0;
    for (const std::string& line : std::exchange(kept_, {})) send_to(conn, line);
    front_->take_lines(true);
  }

  void on_refused(std::string_view line) {
    const std::string why = harmless(line.substr(2));
    if (!settings_.terminal) return fail(weir::Error(settings_.address + ": " + why));
    drop_connection();
    if (welcomed_once_ && refusals_ < kMostRefusals) {
      if (refusals_ == 0) notice(why + "; our old connection may hold it, trying again");
      return connect_after(seconds(1 << refusals_++));
    }
    notice(why);
    notice("enter another nickname");
    state_ = State::asking;
    front_->set_prompt("nickname: ");
  }

  void ask_again_with(std::string_view nickname) {
    const std::size_t begin = nickname.find_first_not_of(' ');
    nickname_ = nickname.substr(begin, nickname.find_last_not_of(' ') + 1 - begin);
    front_->set_prompt(nickname_ + "> ");
    refusals_ = kMostRefusals;  // this nickname was never ours
    connect_after(weir::Duration::zero());
  }

  void on_welcome_timeout() {
    const std::string what = settings_.address + ": no welcome in time";
    if (!welcomed_once_ || !settings_.terminal) return fail(weir::Error(what));
    notice(what + "; connecting again");
    drop_connection();
    connect_after(seconds(5));
  }

  void drop_connection() {
    current_ = {};
    client_.close();
  }

  void connect_after(weir::Duration pause) {
    state_ = State::connecting;
    set_timer(pause, [this] {
      if (auto begun = client_.connect(settings_.address); !begun) fail(begun.error());
    });
  }

  void send(std::string_view line) {
    if (weir::TcpConnection* conn = current_.get()) send_to(*conn, line);
  }

  void send_to(weir::TcpConnection& conn, std::string_view line) {
    ++lines_;
    const auto sent = conn.send(std::string(line) + "\n");
    if (sent == weir::SendResult::above_high_mark) front_->take_lines(false);  // until on_drained
  }

  // Sends /quit, and waits a moment for the server's answer.
  void leave(int code) {
    exit_code_ = code;
    if (std::exchange(state_, State::leaving) != State::joined) return loop_.stop();
    current_.send("/quit\n");
    const weir::Duration most = seconds(2);
    set_timer(has_timeout() ? std::min(settings_.timeout, most) : most, [this] { loop_.stop(); });
  }

  bool has_timeout() const { return settings_.timeout > weir::Duration::zero(); }

  static std::string why(weir::CloseReason reason) {
    if (reason.kind == weir::CloseReason::Kind::peer_eof) return "the server closed the connection";
    return "the connection was lost: " + reason.to_string();
  }

  void lost(weir::CloseReason reason) { fail(weir::Error(settings_.address + ": " + why(reason))); }

  void fail(const weir::Error& error) {
    if (!error_) error_ = error;
    loop_.stop();
  }

  // Prints a message of the client itself.
  void notice(std::string_view what) { front_->show("- " + harmless(what)); }

  // Sets the only timer: the deadline of the current state.
  void set_timer(weir::Duration delay, weir::Task task) {
    loop_.cancel(std::exchange(timer_, {}));
    if (task) timer_ = loop_.run_after(delay, std::move(task));
  }

  weir::EventLoop& loop_;
  weir::TcpClient& client_;
  chat::Front* front_ = nullptr;
  const Settings& settings_;
  State state_ = State::connecting;
  weir::ConnectionRef current_;
  weir::TimerId timer_;
  std::string nickname_;
  std::deque<std::string> kept_;
  int refusals_ = 0;
  int lines_ = 0;  // sent
  bool welcomed_once_ = false;
  bool sending_rest_ = false;  // leaving because the input ended
  bool paused_ = false;        // current_ is not read, because the front is full
  int exit_code_ = 0;
  std::optional<weir::Error> error_;
};

int talk(const Settings& settings) {
  weir::EventLoop loop;
  weir::TcpClient client(loop, {.connect_timeout = settings.timeout,
                                .reconnect = {.initial = milliseconds(250),
                                              .max = seconds(15),
                                              .enabled = settings.terminal},
                                .keep_alive = true,
                                .user_timeout = seconds(30)});
  const auto chat = std::make_shared<Chat>(loop, client, settings);
  client.use_handler(chat);
  client.on_connect_error(
      [&](const weir::Error& error, int attempt) { chat->on_connect_error(error, attempt); });
  const weir::SignalSet signals(loop, {SIGINT, SIGTERM, SIGHUP, SIGQUIT},
                                [&](int signal) { chat->on_signal(signal); });

  auto front = settings.terminal ? chat::make_screen(loop, *chat) : chat::make_pipe(loop, *chat);
  if (auto begun = chat->join(*front); !begun) return weir::fail(begun.error());
  loop.run();
  front.reset();  // restores the terminal
  return chat->result();
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("A client of weir-chat-server.", "weir-chat");
  sample::address_option(app, "address", settings.address, "the server");
  app.add_option("nickname", settings.nickname, "your name for the others")
      ->required()
      ->check(CLI::Validator(
          [](const std::string& text) {
            const bool fit = !text.empty() && text == harmless(text);
            return std::string(
                fit ? "" : "a nickname must have at least one character, and only printable ones");
          },
          ""))
      ->type_name("NICK");
  sample::seconds_option(app, "--timeout", settings.timeout,
                         "to connect, to be welcomed, and to end; 0: for ever");
  return sample::run(app, argc, argv, [&] {
    settings.terminal = isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0;
    // Log lines would be mixed with the line that is being typed.
    if (settings.terminal) weir::set_log_level(weir::LogLevel::critical);
    return talk(settings);
  });
}
