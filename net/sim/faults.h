// Faults: how the simulated network and kernel of a World behave badly. All probabilities are from
// 0 to 1; the defaults are a fast network without faults.
#pragma once

#include <chrono>
#include <cstddef>

#include "weir/base/clock.h"
#include "weir/base/export.h"

namespace weir {
namespace WEIR_EXPORT sim {

struct Faults {
  // The time that a packet takes is drawn from this range. The packets of one connection stay in
  // order; datagrams do not.
  Duration min_latency = std::chrono::microseconds(10);
  Duration max_latency = std::chrono::microseconds(100);
  // The virtual time that each system call takes.
  Duration call_time = std::chrono::nanoseconds(500);

  // The buffers of each socket in bytes, as SO_SNDBUF and SO_RCVBUF, and the largest segment of a
  // TCP connection.
  std::size_t send_buffer = 64 * 1024;
  std::size_t receive_buffer = 64 * 1024;
  std::size_t max_segment = 64 * 1024;
  // Further descriptors are refused with EMFILE.
  std::size_t max_descriptors = 1024;

  double short_read = 0;    // a read returns less than there is
  double short_write = 0;   // a write takes less than there is room for
  double interrupted = 0;   // a read, a write, an accept or a wait fails with EINTR
  double no_buffers = 0;    // a write fails with ENOBUFS
  double accept_error = 0;  // an accept fails with ECONNABORTED, EMFILE, ENFILE, ENOBUFS or EPROTO
  double watch_error = 0;   // a registration with epoll fails with ENOMEM or ENOSPC
  double reset = 0;         // a segment of TCP makes the network reset the connection
  double false_event = 0;   // a wait reports a descriptor without a reason, if it watches input
  double lost = 0;          // a datagram is lost
  double duplicated = 0;    // a datagram arrives twice
  bool shuffle_events = false;  // the events of a wait are in any order, and may be only some
};

}  // namespace sim
}  // namespace weir
