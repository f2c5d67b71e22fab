// Transport: how the bytes of one connection get to its peer and back where the plain socket does
// not serve: TLS, a protocol that begins with a header of its own. [loop]
//
// A connection without one reads and writes its socket directly. One that has a transport calls it
// instead, and waits for what the transport says it must wait for. The transport is made by the
// TransportFactory in the options of TcpServer or TcpClient, belongs to its connection, and goes
// with it. It does not close the descriptor and watches nothing.
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

// What a call of a transport moved, and what has to happen before the next one.
struct IoResult {
  enum class Then : std::uint8_t {
    ok,          // call again whenever there is more
    want_read,   // nothing was moved; call again when the socket is readable
    want_write,  // nothing was moved; call again when it is writable
    end,         // of a read: the peer has ended its stream in order
    failed,      // for good: see `error` and Transport::failure()
  };

  Then then = Then::ok;
  std::size_t bytes = 0;  // of the program, with ok: 1 at least
  Errno error{};          // with failed; EPROTO where no errno describes it

  static IoResult moved(std::size_t bytes) { return {.bytes = bytes}; }
  static IoResult want_read() { return {.then = Then::want_read}; }
  static IoResult want_write() { return {.then = Then::want_write}; }
  static IoResult end() { return {.then = Then::end}; }
  static IoResult failed(Errno error) { return {.then = Then::failed, .error = error}; }
};

class Transport {
 public:
  virtual ~Transport() = default;

  // Called until it is ok (`bytes` counts for nothing), before anything else; on_open follows. It
  // sends what it makes itself, and says want_write while the socket does not take it. The last of
  // it, or the alert of a failure, may be left in held(): that is flushed.
  virtual IoResult handshake(int fd) = 0;
  // Reads at most as much as `into` takes.
  virtual IoResult read(int fd, std::span<std::byte> into) = 0;
  // True: the next read() has something that the socket does not show as readable.
  virtual bool has_pending() const = 0;

  // Takes bytes of the program. That all were taken does not say that all were sent: see held().
  // With every other answer than ok none were; an error that comes after that is the next
  // flush()'s.
  virtual IoResult write(int fd, std::span<const std::byte> bytes) = 0;
  // Bytes made for the socket that it has not taken yet. They count as output that waits, for the
  // water marks, the deadlines and the budget of buffered bytes.
  virtual std::size_t held() const = 0;
  // Offers them to the socket. ok: it has taken all of them.
  virtual IoResult flush(int fd) = 0;
  // No more will be written: makes what says so to the peer, once, and may leave it in held(); ok
  // or failed. The FIN of the socket follows when held() is empty.
  virtual IoResult finish(int fd) = 0;

  // After the handshake: true if bytes go straight to the socket from now on, which may then be
  // spliced. The transport is destroyed, and the connection is an ordinary one.
  virtual bool plain() const { return false; }
  // Why its protocol failed, as a sentence; empty if it did not, also when the socket did.
  virtual std::string failure() const { return {}; }
};

// Makes the transports of a server's, or a client's, connections.
class TransportFactory {
 public:
  virtual ~TransportFactory() = default;
  // On the thread of `loop`, with several loops on all of them at once. Null: the plain socket.
  virtual std::unique_ptr<Transport> make(EventLoop& loop) = 0;
};

}  // namespace weir
