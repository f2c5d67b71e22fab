// Transport: carries the bytes of one connection over its socket where the plain socket is not
// enough: TLS, or a protocol that begins with a header of its own. [loop]
//
// A connection without a transport reads and writes its socket directly. A connection with one
// calls it instead, and waits for the readiness that its results name. The TransportFactory in the
// options of TcpServer or TcpClient makes the transport; its connection owns it. A transport does
// not close the descriptor and does not watch it. The descriptor is non-blocking, and watched
// level-triggered. No function may throw. docs/transport.md has all rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "weir/base/export.h"
#include "weir/base/result.h"

namespace WEIR_EXPORT weir {

class EventLoop;

// The result of a call of a transport: the bytes that it moved, and the condition for the next
// call.
struct IoResult {
  enum class Then : std::uint8_t {
    ok,          // call again whenever there is more
    want_read,   // nothing was moved; call again when the socket is readable
    want_write,  // nothing was moved; call again when the socket is writable
    end,         // of read(): the peer has ended its stream in order
    failed,      // permanently, see `error`: the connection ends with reset (ECONNRESET, EPIPE),
                 // with transport_failed if failure() returns a sentence, or else with io_error
  };

  Then then = Then::ok;
  // Bytes of the program that read() or write() moved. With ok at least 1: 0 ends the connection
  // with io_error (EPROTO).
  std::size_t bytes = 0;
  Errno error{};  // with failed; EPROTO if no errno describes the failure

  static IoResult moved(std::size_t bytes) { return {.bytes = bytes}; }
  static IoResult want_read() { return {.then = Then::want_read}; }
  static IoResult want_write() { return {.then = Then::want_write}; }
  static IoResult end() { return {.then = Then::end}; }
  static IoResult failed(Errno error) { return {.then = Then::failed, .error = error}; }
};

class Transport {
 public:
  virtual ~Transport() = default;

  // Called first, until it returns ok (`bytes` is ignored); then on_open is called. It writes its
  // own messages to the socket, and returns want_write while the socket refuses them: the
  // connection does not flush held() before the end of the handshake. Only with ok or failed it may
  // leave bytes there, its last message or an alert. `end`: the peer has left (peer_eof).
  virtual IoResult handshake(int fd) = 0;
  // Reads at most into.size() bytes.
  virtual IoResult read(int fd, std::span<std::byte> into) = 0;
  // Whether the next read() can return bytes although the socket is not readable.
  virtual bool has_pending() const = 0;

  // Takes bytes of the program. ok does not mean that they were sent: see held(). With any other
  // result no byte was taken. An error that occurs after bytes were taken is returned by the next
  // flush().
  virtual IoResult write(int fd, std::span<const std::byte> bytes) = 0;
  // Bytes made for the socket that it has not taken yet. They count as waiting output for the water
  // marks, the deadlines and the budget of buffered bytes.
  virtual std::size_t held() const = 0;
  // Writes the held bytes to the socket. ok: it has taken all of them.
  virtual IoResult flush(int fd) = 0;
  // The program will write no more. Called once: makes the message that ends our stream, and may
  // leave it in held(). Returns ok or failed. When held() is 0, the FIN of the socket follows.
  virtual IoResult finish(int fd) = 0;

  // Asked once, after the handshake. True: the bytes of the program go to the socket unchanged from
  // now on. held() must be 0 and has_pending() false then: the transport is destroyed, and the
  // connection is an ordinary one, which can be spliced.
  virtual bool plain() const { return false; }
  // Why the protocol failed, as a sentence; empty if it has not failed, even if the socket has.
  virtual std::string failure() const { return {}; }
};

// Makes the transports for the connections of a server or a client.
class TransportFactory {
 public:
  virtual ~TransportFactory() = default;
  // Called on the thread of `loop`; several loops call it at the same time. nullptr: this
  // connection uses the plain socket.
  virtual std::unique_ptr<Transport> make(EventLoop& loop) = 0;
};

}  // namespace weir
