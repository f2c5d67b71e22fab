// The chat client on a terminal: the line editor libedit on a loop.
//
// Received text is printed above the line that is being typed; that line and its cursor stay. The
// editor gets only complete keys, so it never waits for the rest of one. The terminal's settings
// are restored at the end, and while the program is stopped (^Z).
#include <histedit.h>
#include <langinfo.h>
#include <unistd.h>

#include <chrono>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <new>
#include <string>
#include <utility>

#include "chat/client_front.h"
#include "chat/client_io.h"
#include "weir/base/utf8.h"
#include "weir/net/reactor/signal_set.h"

namespace chat {
namespace {

struct Key {
  std::string_view bytes;
  const char* command;  // see editline(7)
};

// The keys that the editor gets, besides characters. All others are dropped: some commands of
// libedit read further keys (^R, ^V) and would block the loop.
constexpr Key kKeys[] = {
    {"\x01", "ed-move-to-beg"},       // ^A
    {"\x02", "ed-prev-char"},         // ^B
    {"\x05", "ed-move-to-end"},       // ^E
    {"\x06", "ed-next-char"},         // ^F
    {"\x07", "ed-start-over"},        // ^G
    {"\x08", "ed-delete-prev-char"},  // ^H
    {"\n", "ed-newline"},
    {"\x0b", "ed-kill-line"},     // ^K
    {"\x0c", "ed-clear-screen"},  // ^L
    {"\r", "ed-newline"},
    {"\x0e", "ed-next-history"},      // ^N
    {"\x10", "ed-prev-history"},      // ^P
    {"\x14", "ed-transpose-chars"},   // ^T
    {"\x15", "em-kill-line"},         // ^U
    {"\x17", "ed-delete-prev-word"},  // ^W
    {"\x19", "em-yank"},              // ^Y
    {"\x7f", "ed-delete-prev-char"},  // Backspace
    {"\033b", "ed-prev-word"},        // Alt-B
    {"\033d", "em-delete-next-word"},
    {"\033f", "em-next-word"},
    {"\033n", "ed-search-next-history"},
    {"\033p", "ed-search-prev-history"},
    {"\x1b\x7f", "ed-delete-prev-word"},
    {"\x1b[A", "ed-prev-history"},  // arrows
    {"\x1b[B", "ed-next-history"},
    {"\x1b[C", "ed-next-char"},
    {"\x1b[D", "ed-prev-char"},
    {"\x1bOA", "ed-prev-history"},
    {"\x1bOB", "ed-next-history"},
    {"\x1bOC", "ed-next-char"},
    {"\x1bOD", "ed-prev-char"},
    {"\x1b[1;3C", "em-next-word"},  // with Alt
    {"\x1b[1;3D", "ed-prev-word"},
    {"\x1b[1;5C", "em-next-word"},  // with Ctrl
    {"\x1b[1;5D", "ed-prev-word"},
    {"\x1b[H", "ed-move-to-beg"},  // Home
    {"\x1bOH", "ed-move-to-beg"},
    {"\x1b[1~", "ed-move-to-beg"},
    {"\x1b[F", "ed-move-to-end"},  // End
    {"\x1bOF", "ed-move-to-end"},
    {"\x1b[4~", "ed-move-to-end"},
    {"\x1b[3~", "ed-delete-next-char"},  // Delete
};
constexpr std::wstring_view kToBeginning = L"\x01";
constexpr std::wstring_view kStartOver = L"\x07";
constexpr std::wstring_view kDelete = L"\x1b[3~";
constexpr char kCtrlD = 4;
constexpr char kEscape = 27;
constexpr std::size_t kLongestKey = 32;

// The size of the key at the beginning of `typed`; 0: the key is incomplete.
std::size_t key_size(std::string_view typed) {
  const auto lead = static_cast<unsigned char>(typed[0]);
  if (lead == kEscape) {
    if (typed.size() < 2) return 0;
    if (typed[1] == 'O') return typed.size() < 3 ? 0 : 3;
    if (typed[1] != '[') return 2;
    for (std::size_t i = 2; i < typed.size(); ++i) {  // ECMA-48, 5.4
      if (typed[i] >= 0x40 && typed[i] <= 0x7e) return i + 1;
      if (typed[i] < 0x20 || i == kLongestKey) return i;  // not a key
    }
    return 0;
  }
  const std::size_t size = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  return size <= typed.size() ? size : 0;
}

class Screen final : public Front {
 public:
  Screen(weir::EventLoop& loop, Listener& listener);
  ~Screen() override;
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  void show(std::string_view line) override;
  bool full() const override { return output_.full() || shown_.size() >= Output::kHighMark; }
  void set_prompt(std::string_view prompt) override;
  bool clear_line() override;
  void take_lines(bool) override {}

 private:
  static constexpr int kHistory = 500;

  static int next_character(EditLine* editor, wchar_t* character);
  static char* prompt_of(EditLine* editor);
  std::size_t typed_size() const;

  void read(std::string_view block);
  void take_key(std::string_view key);
  void press(std::wstring_view key);
  void enter(std::string_view line);

  void hide_line();
  void bring_line_back();
  void show_waiting();
  void on_signal(int signal);
  void write(std::string_view bytes);

  weir::EventLoop& loop_;
  Listener& listener_;
  Input input_;
  Output output_;
  FILE* file_;  // the editor's output, passed on to output_
  EditLine* editor_ = nullptr;
  History* history_ = history_init();
  std::string prompt_;
  std::string typed_;          // an incomplete key
  std::wstring_view given_;    // the rest of the key that the editor is reading
  std::ptrdiff_t cursor_ = 0;  // in the hidden line
  std::string shown_;          // lines to print at the end of this turn
  weir::TimerId show_timer_;
  weir::SignalSet signals_;
};

FILE* open_as_file(Output& output) {
  const cookie_io_functions_t functions{.read = nullptr,
                                        .write =
                                            [](void* to, const char* bytes, std::size_t size) {
                                              static_cast<Output*>(to)->write({bytes, size});
                                              return static_cast<ssize_t>(size);
                                            },
                                        .seek = nullptr,
                                        .close = nullptr};
  FILE* const file = fopencookie(&output, "w", functions);
  if (file == nullptr) throw std::bad_alloc();
  return file;
}

Screen::Screen(weir::EventLoop& loop, Listener& listener)
    : loop_(loop),
      listener_(listener),
      input_(loop, STDIN_FILENO, [this](std::string_view block) { read(block); }),
      output_(loop, STDOUT_FILENO,
              {.drained = [this] { listener_.on_output_drained(); },
               .failed = [this] { listener_.on_output_lost(); }}),
      file_(open_as_file(output_)),
      signals_(loop, {SIGTSTP, SIGCONT, SIGWINCH}, [this](int signal) { on_signal(signal); }) {
  // The chat is UTF-8, also if the locale of the environment is not.
  std::setlocale(LC_CTYPE, "");
  if (std::string_view(nl_langinfo(CODESET)) != "UTF-8") std::setlocale(LC_CTYPE, "C.UTF-8");

  editor_ =
      el_init_fd("weir-chat", stdin, file_, stderr, STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO);
  if (editor_ == nullptr || history_ == nullptr) throw std::bad_alloc();
  el_set(editor_, EL_CLIENTDATA, this);
  el_set(editor_, EL_PROMPT, &prompt_of);
  el_set(editor_, EL_GETCFN, &next_character);
  el_set(editor_, EL_EDITOR, "emacs");
  for (const Key& key : kKeys) {
    el_set(editor_, EL_BIND, std::string(key.bytes).c_str(), key.command, nullptr);
  }
  HistEvent event;
  history(history_, &event, H_SETSIZE, kHistory);
  history(history_, &event, H_SETUNIQUE, 1);
  el_set(editor_, EL_HIST, history, history_);
  el_set(editor_, EL_UNBUFFERED, 1);  // one key per call; changes the terminal's settings
  input_.resume();
}

Screen::~Screen() {
  loop_.cancel(show_timer_);
  show_waiting();
  hide_line();
  el_set(editor_, EL_UNBUFFERED, 0);
  history_end(history_);
  el_end(editor_);  // restores the terminal's settings
  std::fclose(file_);
  output_.finish(std::chrono::seconds(1));
}

// --- keys ----------------------------------------------------------------------------------------

void Screen::read(std::string_view block) {
  if (block.empty()) return listener_.on_end();  // the terminal hung up
  typed_ += block;
  std::string_view rest = typed_;
  while (!rest.empty()) {
    const std::size_t size = key_size(rest);
    if (size == 0) break;
    take_key(rest.substr(0, size));
    rest.remove_prefix(size);
  }
  typed_.erase(0, typed_.size() - rest.size());
}

void Screen::take_key(std::string_view key) {
  if (key[0] == kCtrlD) {
    if (typed_size() == 0) return listener_.on_end();
    return press(kDelete);
  }
  for (const Key& known : kKeys) {
    if (known.bytes == key) return press(std::wstring(key.begin(), key.end()));
  }
  const weir::CodePoint character = weir::first_code_point(key);
  if (character.size != key.size() || !weir::is_printable(character.value)) return;
  if (typed_size() + key.size() > kMaxLine) return el_beep(editor_);
  press(std::wstring(1, static_cast<wchar_t>(character.value)));
}

// Passes one complete key to the editor.
void Screen::press(std::wstring_view key) {
  given_ = key;
  while (!given_.empty()) {
    int size = 0;
    const char* const line = el_gets(editor_, &size);
    if (line == nullptr || size < 1 || line[size - 1] != '\n') continue;
    const std::string entered(line, static_cast<std::size_t>(size) - 1);
    press(kStartOver);
    enter(entered);
  }
}

int Screen::next_character(EditLine* editor, wchar_t* character) {
  Screen* self = nullptr;
  el_get(editor, EL_CLIENTDATA, &self);
  *character = L'\0';
  if (self->given_.empty()) return -1;
  *character = self->given_.front();
  self->given_.remove_prefix(1);
  return 1;
}

void Screen::enter(std::string_view line) {
  if (line.find_first_not_of(' ') == std::string_view::npos) return;
  HistEvent event;
  history(history_, &event, H_ENTER, std::string(line).c_str());
  listener_.on_line(line);
}

// In bytes, as the server counts them.
std::size_t Screen::typed_size() const {
  const LineInfo* const line = el_line(editor_);
  return static_cast<std::size_t>(line->lastchar - line->buffer);
}

bool Screen::clear_line() {
  if (typed_size() == 0) return false;
  press(kStartOver);
  return true;
}

// --- output --------------------------------------------------------------------------------------

char* Screen::prompt_of(EditLine* editor) {
  Screen* self = nullptr;
  el_get(editor, EL_CLIENTDATA, &self);
  return self->prompt_.data();
}

void Screen::set_prompt(std::string_view prompt) {
  hide_line();
  prompt_ = prompt;
  bring_line_back();
}

void Screen::show(std::string_view line) {
  shown_ += line;
  shown_ += '\n';
  if (show_timer_ != weir::TimerId{}) return;
  show_timer_ = loop_.run_after(weir::Duration::zero(), [this] {
    show_timer_ = {};
    show_waiting();
  });
}

void Screen::show_waiting() {
  if (shown_.empty()) return;
  hide_line();
  write(std::exchange(shown_, {}));
  bring_line_back();
}

// Only the editor knows how many rows it has drawn, so it has to move back to the first one.
void Screen::hide_line() {
  const LineInfoW* const line = el_wline(editor_);
  cursor_ = line->cursor - line->buffer;
  press(kToBeginning);
  write("\r\x1b[J");  // ECMA-48: erase to the end of the screen
}

void Screen::bring_line_back() {
  el_cursor(editor_, static_cast<int>(cursor_));
  el_set(editor_, EL_REFRESH);
}

void Screen::write(std::string_view bytes) {
  std::fflush(file_);
  output_.write(bytes);
}

void Screen::on_signal(int signal) {
  hide_line();
  if (signal == SIGWINCH) {
    el_resize(editor_);
  } else {
    // SIGCONT without SIGTSTP follows a SIGSTOP. Another program may have changed the terminal.
    el_set(editor_, EL_PREP_TERM, 0);
    if (signal == SIGTSTP) {
      output_.finish(std::chrono::seconds(1));
      raise(SIGSTOP);
    }
    el_set(editor_, EL_PREP_TERM, 1);
  }
  bring_line_back();
}

}  // namespace

std::unique_ptr<Front> make_screen(weir::EventLoop& loop, Front::Listener& listener) {
  return std::make_unique<Screen>(loop, listener);
}

}  // namespace chat
