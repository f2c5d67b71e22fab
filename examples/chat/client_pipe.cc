// The chat client without a terminal: standard input is sent line by line, and received lines are
// written to standard output.
#include <unistd.h>

#include <chrono>
#include <string>
#include <utility>

#include "chat/client_front.h"
#include "chat/client_io.h"
#include "weir/net/codec/line_codec.h"

namespace chat {
namespace {

class Pipe final : public Front {
 public:
  Pipe(weir::EventLoop& loop, Listener& listener)
      : listener_(listener),
        input_(loop, STDIN_FILENO, [this](std::string_view block) { read(block); }),
        output_(loop, STDOUT_FILENO,
                {.drained = [this] { listener_.on_output_drained(); },
                 .failed = [this] { listener_.on_output_lost(); }}) {}
  ~Pipe() override { output_.finish(std::chrono::seconds(1)); }

  void show(std::string_view line) override { output_.write(std::string(line) + "\n"); }
  bool full() const override { return output_.full(); }
  void set_prompt(std::string_view) override {}
  bool clear_line() override { return false; }

  void take_lines(bool wanted) override {
    wanted_ = wanted;
    if (!wanted) return input_.pause();
    input_.resume();
    take();
  }

 private:
  void read(std::string_view block) {
    if (block.empty()) {
      ended_ = true;
      if (!waiting_.empty()) waiting_.append("\n");  // the last line has no newline
    }
    waiting_.append(block);
    take();
  }

  // Input is not read while lines are pending, so at most one line and one block are buffered.
  void take() {
    while (wanted_ && !waiting_.empty()) {
      const auto decoded = codec_.decode(waiting_.view(), progress_);
      if (!decoded) {
        // The line is too long and the codec skips it. The server gets the beginning and answers
        // with its error.
        listener_.on_line(std::string(waiting_.view().substr(0, kMaxLine + 1)));
        continue;
      }
      if (!*decoded) break;
      const std::string line((*decoded)->payload);
      const bool skipped = (*decoded)->skipped;
      waiting_.consume((*decoded)->consume);
      if (!skipped) listener_.on_line(line);
    }
    if (wanted_ && std::exchange(ended_, false)) listener_.on_end();
  }

  Listener& listener_;
  const weir::LineCodec codec_{{.max_frame = kMaxLine, .skip_overlong = true}};
  weir::Buffer waiting_;
  std::size_t progress_ = 0;
  bool wanted_ = false;
  bool ended_ = false;
  Input input_;
  Output output_;
};

}  // namespace

std::unique_ptr<Front> make_pipe(weir::EventLoop& loop, Front::Listener& listener) {
  return std::make_unique<Pipe>(loop, listener);
}

}  // namespace chat
