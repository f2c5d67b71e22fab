// weir-file-server: serves the files of a folder, with a protocol of lines that you can type.
//
//   LIST [FOLDER]      OK COUNT, then COUNT lines: SIZE NAME of a file, - NAME/ of a folder
//   GET PATH [RANGE]   OK LENGTH, then LENGTH bytes
//   QUIT               the server closes
//
// RANGE is FIRST, FIRST-LAST or -COUNT. A request that fails is answered by ERROR and a sentence.
//
// Requests may come in any number of pieces and many at once; they are answered in order. Files go
// from the page cache to the socket without being copied to the program (sendfile). A client that
// reads slowly or stops, or asks for many listings at once, delays no other client and costs a
// limited amount of memory and descriptors. No path leads out of the folder. A FIFO, or a file that
// becomes shorter while it is sent, does no harm.

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/command_line.h"
#include "file_server/request.h"
#include "file_server/shared_folder.h"
#include "program/command_line.h"
#include "weir/base/log.h"
#include "weir/base/log_limit.h"
#include "weir/base/result.h"
#include "weir/net/codec/framed_handler.h"
#include "weir/net/codec/line_codec.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/serve.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

// A path has at most 4096 bytes (PATH_MAX), each of which may be encoded as three.
constexpr std::size_t kMaxLine = 3 * 4096 + 64;
constexpr std::size_t kMaxPerClient = 100;

// Has no state per connection, so all loops share one. FramedHandler delays the next requests of a
// connection while its queued output is over the high mark, in bytes or in open files. It also does
// so when requests have taken a millisecond of the turn, as the listing of a large folder does.
class FileServer final : public weir::FramedHandler<weir::LineCodec> {
 public:
  explicit FileServer(SharedFolder folder)
      : FramedHandler(weir::LineCodec({.max_frame = kMaxLine})), folder_(std::move(folder)) {}

  void on_frame(weir::TcpConnection& conn, std::string_view line) override {
    const auto request = parse_request(line);
    if (!request) return refuse(conn, request.error());
    switch (request->verb) {
      case Request::Verb::list:
        return list(conn, request->path);
      case Request::Verb::get:
        return get(conn, *request);
      case Request::Verb::quit:
        return conn.close();
    }
  }

  void on_frame_error(weir::TcpConnection& conn, const weir::Error& error) override {
    refuse(conn, error);
    conn.close();
  }

  void on_close(weir::TcpConnection&, weir::CloseReason reason) override {
    if (reason.kind == weir::CloseReason::Kind::io_error && reason.error == EIO) {
      static weir::LogLimit limit(1);  // line a second
      weir::write_log(weir::LogLevel::warn, limit,
                      "the connection is closed: a file could not be sent completely, because it "
                      "became shorter or its disk failed");
    }
  }

 private:
  void list(weir::TcpConnection& conn, const std::string& path) {
    const auto entries = folder_.list(path);
    if (!entries) return refuse(conn, entries.error());
    std::string text = "OK " + std::to_string(entries->size()) + "\n";
    for (const SharedFolder::Entry& entry : *entries) {
      text += (entry.folder ? "-" : std::to_string(entry.size)) + " ";
      text += percent_encoded(entry.name) + (entry.folder ? "/\n" : "\n");
    }
    answer(conn, text);
  }

  void get(weir::TcpConnection& conn, const Request& request) {
    auto file = folder_.open_file(request.path);
    if (!file) return refuse(conn, file.error());
    const auto part = request.range.of(file->size);
    if (!part) return refuse(conn, part.error());
    answer(conn, "OK " + std::to_string(part->length) + "\n");
    conn.send_file(std::move(file->fd), part->offset, part->length);
  }

  static void refuse(weir::TcpConnection& conn, const weir::Error& error) {
    answer(conn, "ERROR " + error.message() + "\n");
  }

  // A client that no longer receives gets no more answers: its pipelined requests are dropped, so
  // they cost no disk access.
  static void answer(weir::TcpConnection& conn, std::string_view text) {
    if (conn.send(text) == weir::SendResult::closed) conn.abort();
  }

  const SharedFolder folder_;
};

int serve(const std::string& root, const std::vector<std::string>& listen,
          const weir::TcpServer::Options& options) {
  auto folder = SharedFolder::open(root);
  if (!folder) return weir::fail(folder.error());
  weir::EventLoop loop;
  weir::TcpServer server(loop, options);
  server.use_handler(std::make_shared<FileServer>(std::move(*folder)));
  return weir::serve(loop, server, listen);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> listen;
  std::string root;
  weir::TcpServer::Options options{.max_connections = 1000,
                                   .max_connections_per_peer = kMaxPerClient,
                                   .idle_timeout = std::chrono::minutes(5),
                                   .message_timeout = std::chrono::seconds(30),
                                   .write_stall_timeout = std::chrono::minutes(1),
                                   // A listing is one piece of up to 3.2 MB, within max_output.
                                   .high_water = 256 * 1024};
  CLI::App app("Serves the files of a folder with a protocol of lines.", "weir-file-server");
  sample::listen_option(app, listen);
  weir::program::text_option(app, "--root", root, "FOLDER", "the folder to serve")->required();
  sample::threads_option(app, options.threads);
  sample::connections_option(app, options.max_connections);
  sample::per_client_option(app, options.max_connections_per_peer);
  sample::seconds_option(app, "--idle-timeout", options.idle_timeout,
                         "of silence after which a client is disconnected; 0: never");
  return sample::run(app, argc, argv, [&] { return serve(root, listen, options); });
}
