// FramedHandler: a ConnectionHandler that receives whole messages instead of bytes. [loop]
//
//   struct Greeter final : weir::FramedHandler<weir::LineCodec> {
//     void on_frame(weir::TcpConnection& conn, std::string_view name) override {
//       send_frame(conn, name);
//     }
//   };
//   server.use_handler(std::make_shared<Greeter>());
//
// It has no state for each connection, so one handler can serve all connections of all loops, and
// the context of a connection is free for the program. A partial frame is kept in the connection's
// input, together with the position of the codec in it (Buffer::progress()).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "weir/base/export.h"
#include "weir/base/poison.h"
#include "weir/net/codec/frame.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/tcp_connection.h"

namespace weir::internal {

// Memory on the stack to lend to the Buffer of a frame.
struct FrameRoom {
  std::array<std::byte, 2048> bytes;
  FrameRoom() {}  // not zeroed
  ~FrameRoom() { unpoison(bytes); }
};

}  // namespace weir::internal

namespace WEIR_EXPORT weir {

// The part of FramedHandler that is the same for every codec.
class FramedHandlerBase : public ConnectionHandler {
 public:
  // The received bytes are not a valid frame, or the stream ended inside a frame. A last message
  // can still be sent. By default logs a warning, at most one a second, and closes the connection.
  // After an invalid frame the connection is closed in any case, unless the codec recovers
  // (LineCodec with skip_overlong).
  virtual void on_frame_error(TcpConnection& connection, const Error& error);

  // An override must call this function, too.
  void on_half_close(TcpConnection& connection) override;

 private:
  template <FrameCodec Codec>
  friend class FramedHandler;

  // Consumes the frame that `receiver` got. True if it gets the next frame now.
  static bool consume_frame(TcpConnection& connection, const ConnectionHandler* receiver,
                            Buffer& in, std::size_t size);
  static void check_frame(const Frame& frame, std::size_t available);
  static void log_refused_frame(const TcpConnection& connection, const Error& error);
};

template <FrameCodec Codec>
class FramedHandler : public FramedHandlerBase {
 public:
  // One call of on_data ends after this number of frames, or when the connection has used its share
  // of the turn (TcpConnection::reading()). The rest follows in the next turn, so that one
  // connection does not hold the loop.
  static constexpr int kMaxFramesPerCall = 4096;

  explicit FramedHandler(Codec codec = Codec()) : codec_(std::move(codec)) {}

  // A whole frame was received. `payload` is valid during the call. If this call pauses reading, or
  // its answers reach the high mark, the following frames wait. If it closes the connection, they
  // are discarded. If it sets another handler, that handler gets them in the next turn.
  virtual void on_frame(TcpConnection& connection, std::string_view payload) = 0;

  // Sends one frame. If the codec cannot encode this payload, nothing is sent; the error is
  // returned and logged. Small frames need no allocation.
  Result<SendResult> send_frame(TcpConnection& connection, std::string_view payload) const {
    internal::FrameRoom room;
    Buffer frame;
    frame.lend(room.bytes, 0);
    if (auto encoded = codec_.encode(payload, frame); !encoded) {
      log_refused_frame(connection, encoded.error());
      return std::unexpected(std::move(encoded).error());
    }
    return connection.send(frame.bytes());
  }

  // The payload of a frame that only shows that this side is alive. It is sent whenever nothing was
  // sent for heartbeat_interval (TcpServer::Options, TcpClient::Options). A silent peer is closed
  // by read_idle_timeout. Call it before the first connection; empty: no heartbeat.
  void set_heartbeat(std::string payload) { heartbeat_ = std::move(payload); }

  // An override must call this function, too.
  void on_heartbeat(TcpConnection& connection) override {
    if (heartbeat_.empty()) return;
    [[maybe_unused]] const auto sent = send_frame(connection, heartbeat_);
  }

  const Codec& codec() const { return codec_; }
  std::uint64_t longest_message() const override { return longest_frame(codec_); }

  void on_data(TcpConnection& connection, Buffer& in) final {
    const ConnectionHandler* const receiver = connection.handler();
    std::size_t progress = in.progress();
    bool message_ended = false;  // in this call
    for (int frames = 0; !in.empty(); ++frames) {
      if (frames == kMaxFramesPerCall) {
        in.set_progress(progress);
        connection.redeliver_input();
        return;
      }
      const Decoded decoded = decode_frame(codec_, in.view(), progress);
      if (!decoded) {
        on_frame_error(connection, decoded.error());
        if (!recovers(codec_, progress)) {
          connection.close();
          in.clear();
          return;
        }
        if (consume_frame(connection, receiver, in, 0)) continue;
        if (connection.handler() == receiver) in.set_progress(progress);
        return;
      }
      if (!*decoded) {
        in.set_progress(progress);
        if (!message_ended && recovers(codec_, progress)) connection.message_continues();
        return;
      }
      const Frame& frame = **decoded;
      check_frame(frame, in.size());
      if (frame.skipped) {
        in.consume(frame.consume);
        message_ended |= !recovers(codec_, progress);
        continue;
      }
      on_frame(connection, frame.payload);
      if (!consume_frame(connection, receiver, in, frame.consume)) return;
      progress = 0;
      message_ended = true;
    }
  }

 private:
  Codec codec_;
  std::string heartbeat_;
};

}  // namespace weir
