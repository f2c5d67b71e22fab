// rival_drive: exchanges an exact number of messages, for counting the operations of a server for
// each. In a round it sends a batch of messages on every connection, with one send, and then
// receives and compares all answers. It measures no time.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

// The socket buffers of both sides can hold this much.
constexpr std::size_t kMostBatch = 64 * 1024;

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "error: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

struct Settings {
  std::string host;
  std::uint16_t port = 0;
  std::size_t connections = 1;
  std::size_t rounds = 1;
  std::size_t batch = 1;
  std::size_t size = 64;
};

int connect_to(const Settings& settings) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(settings.port);
  if (::inet_pton(AF_INET, settings.host.c_str(), &address.sin_addr) != 1) {
    errno = EINVAL;
    give_up("address");
  }
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) give_up("socket");
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const timeval deadline{.tv_sec = 60, .tv_usec = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    give_up("connect");
  }
  return fd;
}

int drive(const Settings& settings) {
  std::vector<int> clients;
  for (std::size_t i = 0; i < settings.connections; ++i) clients.push_back(connect_to(settings));
  std::string out(settings.batch * settings.size, '\0');
  std::string in(out.size(), '\0');
  for (std::size_t round = 0; round < settings.rounds; ++round) {
    // The messages of each connection and round differ, so that a wrong one is detected.
    const auto fill = [&](std::size_t client) {
      for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = static_cast<char>(i + i / settings.size + client * 7 + round * 13);
      }
    };
    for (std::size_t client = 0; client < clients.size(); ++client) {
      fill(client);
      const ssize_t sent = ::send(clients[client], out.data(), out.size(), MSG_NOSIGNAL);
      if (sent != static_cast<ssize_t>(out.size())) give_up("send");
    }
    for (std::size_t client = 0; client < clients.size(); ++client) {
      fill(client);
      const ssize_t received = ::recv(clients[client], in.data(), in.size(), MSG_WAITALL);
      if (received < 0) give_up("recv");
      if (received != static_cast<ssize_t>(in.size()) || in != out) {
        std::fprintf(stderr, "error: connection %zu, round %zu: wrong answer\n", client, round);
        return 1;
      }
    }
  }
  for (const int fd : clients) ::close(fd);
  std::printf("%zu messages\n", settings.connections * settings.rounds * settings.batch);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  std::string address;
  CLI::App app("Exchanges an exact number of messages with an echo server.", "rival_drive");
  app.add_option("address", address, "of the server")->required()->type_name("HOST:PORT");
  const auto number = [&app](const char* name, std::size_t& value, const char* what) {
    app.add_option(name, value, what)
        ->check(CLI::Range(std::size_t{1}, std::size_t{100'000'000}).description(""))
        ->capture_default_str()
        ->type_name("N");
  };
  number("--connections", settings.connections, "clients");
  number("--rounds", settings.rounds, "batches on each");
  number("--batch", settings.batch, "messages sent at once on each");
  number("--size", settings.size, "bytes per message");
  try {
    app.parse(argc, argv);
    const std::size_t colon = address.rfind(':');
    if (colon == std::string::npos) throw CLI::ValidationError("address", "has no port");
    settings.host = address.substr(0, colon);
    settings.port = static_cast<std::uint16_t>(std::atoi(address.c_str() + colon + 1));
    if (settings.batch > kMostBatch / settings.size) {
      throw CLI::ValidationError("--batch", "more than 64 KiB at once might not fit the sockets");
    }
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    std::fprintf(stderr, "error: %s; see rival_drive --help\n", error.what());
    return 2;
  }
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  return drive(settings);
}
