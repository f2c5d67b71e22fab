// bench_udp-libuv: libuv with UV_UDP_RECVMMSG, its way for many datagrams: one block for a batch, a
// callback for each datagram. uv_udp_try_send answers immediately, and a request is made only for
// datagrams that the socket does not take.
#include <uv.h>

#include <csignal>
#include <cstring>
#include <memory>
#include <vector>

#include "rivals/settings.h"

namespace {

// A datagram needs 64 KiB of the block, according to the manual; libuv receives at most 20.
constexpr std::size_t kDatagrams = 20;

struct Send {
  uv_udp_send_t request{};
  std::unique_ptr<char[]> bytes;
};

std::vector<char> block(kDatagrams* rival::kBlock);

void check(const char* what, int result) {
  if (result < 0) rival::give_up(what, -result);
}

void on_alloc(uv_handle_t*, std::size_t, uv_buf_t* buffer) {
  *buffer = uv_buf_init(block.data(), static_cast<unsigned>(block.size()));
}

void on_datagram(uv_udp_t* udp, ssize_t n, const uv_buf_t* buffer, const sockaddr* from, unsigned) {
  if (n < 0 || from == nullptr) return;  // the end of a batch, or an error of an earlier answer
  uv_buf_t bytes = uv_buf_init(buffer->base, static_cast<unsigned>(n));
  if (uv_udp_try_send(udp, &bytes, 1, from) != UV_EAGAIN) return;
  auto* const send = new Send;
  send->bytes = std::make_unique_for_overwrite<char[]>(bytes.len);
  std::memcpy(send->bytes.get(), bytes.base, bytes.len);
  bytes.base = send->bytes.get();
  send->request.data = send;
  const auto done = [](uv_udp_send_t* request, int) { delete static_cast<Send*>(request->data); };
  if (uv_udp_send(&send->request, udp, &bytes, 1, from, done) < 0) delete send;
}

int serve(const rival::Settings& settings) {
  uv_loop_t* const loop = uv_default_loop();
  uv_udp_t udp{};
  check("uv_udp_init_ex", uv_udp_init_ex(loop, &udp, AF_INET | UV_UDP_RECVMMSG));
  const auto* address = reinterpret_cast<const sockaddr*>(&settings.listen);
  check("bind", uv_udp_bind(&udp, address, 0));
  uv_os_fd_t fd = -1;
  check("uv_fileno", uv_fileno(reinterpret_cast<uv_handle_t*>(&udp), &fd));
  rival::announce(fd);
  check("uv_udp_recv_start", uv_udp_recv_start(&udp, on_alloc, on_datagram));
  uv_signal_t signals[2]{};
  const int numbers[2]{SIGTERM, SIGINT};
  for (int i = 0; i < 2; ++i) {
    check("uv_signal_init", uv_signal_init(loop, &signals[i]));
    uv_signal_start(
        &signals[i], [](uv_signal_t* s, int) { uv_stop(s->loop); }, numbers[i]);
  }
  uv_run(loop, UV_RUN_DEFAULT);
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return rival::run(argc, argv, RIVAL_NAME, serve); }
