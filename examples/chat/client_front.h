// The user's side of the chat client: a person at a terminal, or programs at the ends of pipes.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "weir/net/reactor/event_loop.h"

namespace chat {

// The longest line that a server accepts.
inline constexpr std::size_t kMaxLine = 4096;

class Front {
 public:
  struct Listener {
    virtual void on_line(std::string_view line) = 0;  // entered, without its end
    virtual void on_end() = 0;                        // the input has ended; called once
    virtual void on_output_drained() = 0;             // follows full()
    virtual void on_output_lost() = 0;

   protected:
    ~Listener() = default;
  };

  virtual ~Front() = default;
  // Prints a line, which must be safe for a terminal.
  virtual void show(std::string_view line) = 0;
  // Whether the queued output is over its limit; then on_output_drained() follows.
  virtual bool full() const = 0;
  virtual void set_prompt(std::string_view prompt) = 0;
  // Clears the line that is being typed; false if it was empty.
  virtual bool clear_line() = 0;
  // Whether on_line() may be called. Has no effect on a terminal.
  virtual void take_lines(bool wanted) = 0;
};

// A terminal: a line editor below the messages. At most one can exist.
std::unique_ptr<Front> make_screen(weir::EventLoop& loop, Front::Listener& listener);
// Pipes and files: lines in, lines out. Reads nothing before take_lines().
std::unique_ptr<Front> make_pipe(weir::EventLoop& loop, Front::Listener& listener);

}  // namespace chat
