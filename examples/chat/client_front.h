// What the person, or the program at the other end of the pipes, has of the chat.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "weir/net/reactor/event_loop.h"

namespace chat {

// The longest line that a server takes.
inline constexpr std::size_t kMaxLine = 4096;

class Front {
 public:
  struct Listener {
    virtual void on_line(std::string_view line) = 0;  // entered, without its end
    virtual void on_end() = 0;                        // nothing more will be; once
    virtual void on_room() = 0;                       // after full()
    virtual void on_output_lost() = 0;

   protected:
    ~Listener() = default;
  };

  virtual ~Front() = default;
  // A line for the person, fit for a terminal.
  virtual void show(std::string_view line) = 0;
  // More waits to be shown than is wanted; on_room() follows.
  virtual bool full() const = 0;
  virtual void set_prompt(std::string_view prompt) = 0;
  // Empties the line that is being typed; false if it is empty.
  virtual bool clear_line() = 0;
  // Whether on_line() may be called. A person types on regardless.
  virtual void take_lines(bool wanted) = 0;
};

// A terminal: a line editor below what others say. There can be one.
std::unique_ptr<Front> make_screen(weir::EventLoop& loop, Front::Listener& listener);
// Pipes, files: lines in, lines out. Takes none before take_lines().
std::unique_ptr<Front> make_pipe(weir::EventLoop& loop, Front::Listener& listener);

}  // namespace chat
