// Shared by all servers of this folder: the command line, the listening address, and the splitting
// of a stream into messages.
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
  echo,       // send back the bytes that were read
  each,       // answer each message of `size` bytes with its own send
  broadcast,  // send each message of `size` bytes to all connections, including the sender's
};

struct Settings {
  sockaddr_in listen{};
  std::string address;  // the same as text
  Work work = Work::echo;
  std::size_t size = 0;  // of a message
};

// The size of one read, unless the server tests another size.
inline constexpr std::size_t kBlock = 64 * 1024;
inline constexpr int kBacklog = 4096;
// A receiver of broadcasts is disconnected if more than this is queued for it. With the other works
// a connection is not read while too much is queued for it.
inline constexpr std::size_t kMostWaiting = 4 * 1024 * 1024;
// For libraries that queue the bytes themselves: a connection is not read while this many bytes are
// queued for it.
inline constexpr std::size_t kPauseAt = 512 * 1024;
// The pause of accepting after the kernel had no descriptor or no memory left.
inline constexpr int kBackOffMs = 100;

// Memory that the kernel copies into begins at a page, as in weir: on some processors the copy
// takes two to three times as long into memory of malloc(3) or new, which begins 16 bytes behind a
// page.
inline constexpr std::align_val_t kPage{4096};
struct FreeBlock {
  void operator()(char* block) const { ::operator delete(block, kPage); }
};
using Block = std::unique_ptr<char[], FreeBlock>;
inline Block make_block(std::size_t size) {
  return Block(static_cast<char*>(::operator new(size, kPage)));
}

// Reads the command line, calls `serve` and returns its result, for main(). `more` may add options.
int run(int argc, char** argv, const std::string& name,
        const std::function<int(const Settings&)>& serve,
        const std::function<void(CLI::App&)>& more = {});

// Prints an error message and exits with status 1. If `error` is 0, its text is left out.
[[noreturn]] void give_up(const char* what, int error);

// Sets TCP_NODELAY; accepted sockets inherit it.
void set_no_delay(int listener);
// Prints "listening on ADDRESS".
void announce(int listener);
// A non-blocking listening socket, for servers whose library does not create one.
int listen_on(const Settings& settings);

// Splits a stream into messages of a fixed size and keeps an incomplete message.
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
