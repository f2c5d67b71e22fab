// bench-libuv_try_write, bench-libuv_write: libuv (RIVAL_TRY_WRITE).
//
// uv_write is the way of libuv's guide ("Networking", the echo server): each read gets its own
// memory, which belongs to a write request and is freed in the callback of the request.
// uv_try_write is the cheaper way in its manual: one block for all reads, bytes are written
// immediately, and a request is made only for bytes that the socket does not take.
#include <uv.h>

#include <csignal>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "rivals/settings.h"

namespace {

constexpr bool kTryWrite = RIVAL_TRY_WRITE;

class Server;

struct Peer {
  explicit Peer(Server& its_server) : server(its_server) {}
  uv_stream_t* stream() { return reinterpret_cast<uv_stream_t*>(&tcp); }
  uv_handle_t* handle() { return reinterpret_cast<uv_handle_t*>(&tcp); }

  uv_tcp_t tcp{};
  uv_shutdown_t shutdown{};
  Server& server;
  std::size_t index = 0;  // in Server::all
  bool paused = false;    // not read, because much is queued for it
  bool ended = false;     // its FIN was read
  rival::Cutter cutter;
};

// A pending write and its bytes.
struct Write {
  uv_write_t request{};
  std::unique_ptr<char[]> bytes;
};

class Server {
 public:
  Server(uv_loop_t* loop, const rival::Settings& settings)
      : loop_(loop), settings_(settings), block_(rival::kBlock) {}

  void listen(uv_tcp_t* listener) {
    check("uv_tcp_init", uv_tcp_init(loop_, listener));
    listener->data = this;
    const auto* address = reinterpret_cast<const sockaddr*>(&settings_.listen);
    check("bind", uv_tcp_bind(listener, address, 0));
    uv_os_fd_t fd = -1;
    check("uv_fileno", uv_fileno(reinterpret_cast<uv_handle_t*>(listener), &fd));
    rival::set_no_delay(fd);
    auto* stream = reinterpret_cast<uv_stream_t*>(listener);
    check("listen", uv_listen(stream, rival::kBacklog, &on_connection));
    rival::announce(fd);
  }

  static void check(const char* what, int result) {
    if (result < 0) rival::give_up(what, -result);
  }

 private:
  static Peer& peer_of(uv_stream_t* stream) { return *static_cast<Peer*>(stream->data); }

  static void on_connection(uv_stream_t* listener, int status) {
    if (status < 0) return;  // libuv itself drops connections when descriptors run out
    auto& server = *static_cast<Server*>(listener->data);
    auto* const peer = new Peer(server);
    check("uv_tcp_init", uv_tcp_init(server.loop_, &peer->tcp));
    peer->tcp.data = peer;
    peer->index = server.all_.size();
    server.all_.push_back(peer);
    if (uv_accept(listener, peer->stream()) < 0) {
      end(*peer);
      return;
    }
    uv_read_start(peer->stream(), &on_alloc, &on_read);
  }

  static void on_alloc(uv_handle_t* handle, std::size_t suggested, uv_buf_t* buffer) {
    if (kTryWrite) {
      auto& block = static_cast<Peer*>(handle->data)->server.block_;
      *buffer = uv_buf_init(block.data(), static_cast<unsigned>(block.size()));
    } else {
      *buffer = uv_buf_init(new char[suggested], static_cast<unsigned>(suggested));
    }
  }

  static void on_read(uv_stream_t* stream, ssize_t n, const uv_buf_t* buffer) {
    Peer& peer = peer_of(stream);
    std::unique_ptr<char[]> memory(kTryWrite ? nullptr : buffer->base);
    if (n > 0) {
      const std::string_view in(buffer->base, static_cast<std::size_t>(n));
      peer.server.answer(peer, in, std::move(memory));
    } else if (n == UV_EOF) {
      peer.ended = true;
      // Closing would discard queued output.
      if (uv_stream_get_write_queue_size(stream) == 0 ||
          uv_shutdown(&peer.shutdown, stream, &on_shutdown) < 0) {
        end(peer);
      }
    } else if (n < 0) {
      end(peer);
    }
  }

  // `memory`: the memory of `in`, if it may be kept.
  void answer(Peer& peer, std::string_view in, std::unique_ptr<char[]> memory) {
    switch (settings_.work) {
      case rival::Work::echo:
        if (memory) {
          write(peer, std::move(memory), in.size());
        } else {
          send(peer, in);
        }
        break;
      case rival::Work::each:
        peer.cutter.cut(in, settings_.size, [&](std::string_view message) { send(peer, message); });
        break;
      case rival::Work::broadcast:
        peer.cutter.cut(in, settings_.size, [this](std::string_view message) {
          // From the back: when a connection is closed, the last one takes its place.
          for (std::size_t i = all_.size(); i-- > 0;) send(*all_[i], message);
        });
        break;
    }
    if (!uv_is_closing(peer.handle()) &&
        uv_stream_get_write_queue_size(peer.stream()) > rival::kPauseAt) {
      peer.paused = true;
      uv_read_stop(peer.stream());
    }
  }

  static void send(Peer& peer, std::string_view bytes) {
    if (uv_is_closing(peer.handle())) return;
    if (kTryWrite) {
      const uv_buf_t buffer =
          uv_buf_init(const_cast<char*>(bytes.data()), static_cast<unsigned>(bytes.size()));
      const int n = uv_try_write(peer.stream(), &buffer, 1);
      if (n == static_cast<int>(bytes.size())) return;
      if (n < 0 && n != UV_EAGAIN) {
        end(peer);
        return;
      }
      if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    auto copy = std::make_unique_for_overwrite<char[]>(bytes.size());
    std::memcpy(copy.get(), bytes.data(), bytes.size());
    write(peer, std::move(copy), bytes.size());
  }

  static void write(Peer& peer, std::unique_ptr<char[]> bytes, std::size_t size) {
    auto* const write = new Write;
    write->bytes = std::move(bytes);
    write->request.data = write;
    const uv_buf_t buffer = uv_buf_init(write->bytes.get(), static_cast<unsigned>(size));
    if (uv_write(&write->request, peer.stream(), &buffer, 1, &on_written) < 0) {
      delete write;
      end(peer);
    } else if (uv_stream_get_write_queue_size(peer.stream()) > rival::kMostWaiting) {
      end(peer);
    }
  }

  static void on_written(uv_write_t* request, int status) {
    Peer& peer = peer_of(request->handle);
    delete static_cast<Write*>(request->data);
    if (status < 0) {
      end(peer);
    } else if (peer.paused && !peer.ended && !uv_is_closing(peer.handle()) &&
               uv_stream_get_write_queue_size(peer.stream()) == 0) {
      peer.paused = false;
      uv_read_start(peer.stream(), &on_alloc, &on_read);
    }
  }

  static void on_shutdown(uv_shutdown_t* request, int) { end(peer_of(request->handle)); }

  static void end(Peer& peer) {
    if (uv_is_closing(peer.handle())) return;
    auto& all = peer.server.all_;
    all.back()->index = peer.index;
    all[peer.index] = all.back();
    all.pop_back();
    uv_close(peer.handle(), [](uv_handle_t* handle) { delete static_cast<Peer*>(handle->data); });
  }

  uv_loop_t* const loop_;
  const rival::Settings settings_;
  std::vector<char> block_;  // for uv_try_write
  std::vector<Peer*> all_;
};

int serve(const rival::Settings& settings) {
  uv_loop_t* const loop = uv_default_loop();
  Server server(loop, settings);
  uv_tcp_t listener{};
  server.listen(&listener);
  uv_signal_t signals[2]{};
  const int numbers[2]{SIGTERM, SIGINT};
  for (int i = 0; i < 2; ++i) {
    Server::check("uv_signal_init", uv_signal_init(loop, &signals[i]));
    uv_signal_start(
        &signals[i], [](uv_signal_t* s, int) { uv_stop(s->loop); }, numbers[i]);
  }
  uv_run(loop, UV_RUN_DEFAULT);
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return rival::run(argc, argv, RIVAL_NAME, serve); }
