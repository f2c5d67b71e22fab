#include "rivals/settings.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <array>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

namespace rival {
namespace {

// Parses "127.0.0.1:7000" or a port. Throws the error of a CLI11 validator.
sockaddr_in parse_address(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  const std::string host = colon == std::string::npos ? "127.0.0.1" : text.substr(0, colon);
  const std::string port = colon == std::string::npos ? text : text.substr(colon + 1);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  std::uint16_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (port.empty() || error != std::errc() || end != port.data() + port.size() ||
      ::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) {
    throw CLI::ValidationError("--listen", "'" + text + "' is not an address like 127.0.0.1:7000");
  }
  address.sin_port = htons(number);
  return address;
}

std::string text_of(const sockaddr_in& address) {
  std::array<char, INET_ADDRSTRLEN> host{};
  ::inet_ntop(AF_INET, &address.sin_addr, host.data(), host.size());
  return std::string(host.data()) + ":" + std::to_string(ntohs(address.sin_port));
}

// 10,000 connections need more than the soft limit that a shell gives.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int run(int argc, char** argv, const std::string& name,
        const std::function<int(const Settings&)>& serve,
        const std::function<void(CLI::App&)>& more) {
  static const std::map<std::string, Work> kWorks = {
      {"echo", Work::echo}, {"each", Work::each}, {"broadcast", Work::broadcast}};
  Settings settings;
  CLI::App app("A server to measure: " + name, "bench-" + name);
  app.add_option_function<std::string>(
         "--listen",
         [&](const std::string& text) {
           settings.listen = parse_address(text);
           settings.address = text_of(settings.listen);
         },
         "IPv4 address and port, or only a port of 127.0.0.1; 0: any free port")
      ->required()
      ->type_name("ADDR");
  app.add_option_function<std::string>(
         "--work", [&](const std::string& work) { settings.work = kWorks.at(work); },
         "echo (the default): send back the bytes that were read; each: answer each message with "
         "its own send; broadcast: send each message to all")
      ->check(CLI::IsMember(kWorks).description(""))
      ->type_name("WORK");
  app.add_option("--size", settings.size, "bytes per message (default: 64; for broadcast 1024)")
      ->check(CLI::Range(std::size_t{1}, kBlock).description(""))
      ->type_name("BYTES");
  if (more) more(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    std::fprintf(stderr, "error: %s; see bench-%s --help\n", error.what(), name.c_str());
    return 2;
  }
  if (settings.size == 0) settings.size = settings.work == Work::broadcast ? 1024 : 64;
  raise_descriptor_limit();
  std::signal(SIGPIPE, SIG_IGN);  // some libraries write without MSG_NOSIGNAL
  return serve(settings);
}

void give_up(const char* what, int error) {
  if (error != 0) {
    std::fprintf(stderr, "error: %s: %s\n", what, std::strerror(error));
  } else {
    std::fprintf(stderr, "error: %s\n", what);
  }
  std::exit(1);
}

void set_no_delay(int listener) {
  const int on = 1;
  if (::setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
    give_up("TCP_NODELAY", errno);
  }
}

void announce(int listener) {
  sockaddr_in bound{};
  socklen_t size = sizeof bound;
  if (::getsockname(listener, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    give_up("getsockname", errno);
  }
  std::printf("listening on %s\n", text_of(bound).c_str());
  std::fflush(stdout);
}

int listen_on(const Settings& settings) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener < 0) give_up("socket", errno);
  const int on = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  set_no_delay(listener);
  const auto* address = reinterpret_cast<const sockaddr*>(&settings.listen);
  if (::bind(listener, address, sizeof settings.listen) != 0) give_up("bind", errno);
  if (::listen(listener, kBacklog) != 0) give_up("listen", errno);
  return listener;
}

}  // namespace rival
