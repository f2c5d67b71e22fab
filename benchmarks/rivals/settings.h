// What all servers of this folder have in common: their command line, the address they listen on,
// and how they cut a stream into messages.
#pragma once

#include <netinet/in.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <string_view>

namespace CLI {
class App;
}

namespace rival {

enum class Work {
  echo,       // send back what was read
  each,       // answer each message of `size` bytes with a send of its own
  broadcast,  // send each message of `size` bytes to all connections, the sender's too
};

struct Settings {
  sockaddr_in listen{};
  std::string address;  // the same as a text
  Work work = Work::echo;
  std::size_t size = 0;  // of a message
};

// What one read takes, unless the server is about another size.
inline constexpr std::size_t kBlock = 64 * 1024;
inline constexpr int kBacklog = 4096;
// A receiver of broadcasts for which more than this waits is cut off: what it cannot take has to
// end somewhere. With the other works nothing is read from a connection while too much waits for
// it.
inline constexpr std::size_t kMostWaiting = 4 * 1024 * 1024;
// From so many bytes waiting on nothing is read, in libraries that keep the bytes themselves.
inline constexpr std::size_t kPauseAt = 512 * 1024;
// For so long nothing is accepted after the kernel had no descriptor or no memory left.
inline constexpr int kBackOffMs = 100;

// Memory that the kernel copies into begins at a page, as weir's does: on some processors the copy
// takes two to three times as long where malloc(3) and new put it, 16 bytes behind one.
inline constexpr std::align_val_t kPage{4096};
struct FreeBlock {
  void operator()(char* block) const { ::operator delete(block, kPage); }
};
using Block = std::unique_ptr<char[], FreeBlock>;
inline Block make_block(std::size_t size) {
  return Block(static_cast<char*>(::operator new(size, kPage)));
}

// Reads the command line and calls `serve`, whose result is that of main(). `more` may add options.
int run(int argc, char** argv, const std::string& name,
        const std::function<int(const Settings&)>& serve,
        const std::function<void(CLI::App&)>& more = {});

// Says what failed and ends the program with 1. An `error` of 0 has no text.
[[noreturn]] void give_up(const char* what, int error);

// TCP_NODELAY; accepted sockets inherit it.
void set_no_delay(int listener);
// "listening on ADDRESS"
void announce(int listener);
// A listening socket that does not block, for servers whose library makes none.
int listen_on(const Settings& settings);

// Cuts a stream into messages of a fixed size; keeps what is not whole yet.
class Cutter {
 public:
  template <typename Message>
  void cut(std::string_view in, std::size_t size, Message&& message) {
    if (rest_) [[unlikely]] {
      const std::size_t missing = std::min(size - rest_->size(), in.size());
      rest_->append(in.substr(0, missing));
      in.remove_prefix(missing);
      if (rest_->size() < size) return;
      message(std::string_view(*rest_));
      rest_.reset();
    }
    for (; in.size() >= size; in.remove_prefix(size)) message(in.substr(0, size));
    if (!in.empty()) rest_ = std::make_unique<std::string>(in);
  }

 private:
  std::unique_ptr<std::string> rest_;
};

}  // namespace rival
