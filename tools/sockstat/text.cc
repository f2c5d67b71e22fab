#include "sockstat/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "sockstat/growth.h"
#include "sockstat/terminal.h"

namespace weir::sockstat {

namespace {

// Rows of words in aligned columns: the first `left` columns to the left, the others to the right.
class Table {
 public:
  Table(std::vector<std::string> head, std::size_t left) : left_(left) {
    rows_.push_back(std::move(head));
  }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

  std::string text() const {
    std::vector<std::size_t> widths(rows_[0].size());
    for (const auto& row : rows_) {
      for (std::size_t i = 0; i < row.size(); ++i) {
        widths[i] = std::max(widths[i], width_of(row[i]));
      }
    }
    std::string text;
    for (const auto& row : rows_) {
      std::string line;
      for (std::size_t i = 0; i < row.size(); ++i) {
        if (i > 0) line += "  ";
        const std::string space(widths[i] - width_of(row[i]), ' ');
        line += i < left_ || i + 1 == row.size() ? row[i] + space : space + row[i];
      }
      line.erase(line.find_last_not_of(' ') + 1);
      text += line + "\n";
    }
    return text;
  }

 private:
  std::vector<std::vector<std::string>> rows_;
  const std::size_t left_;
};

std::string emphasis(const std::string& text, bool bold) {
  return bold && !text.empty() ? "\x1b[1m" + text + "\x1b[0m" : text;
}

std::string plus(std::uint64_t n, bool bold = false) {
  return n == 0 ? "" : " " + emphasis(fmt::format("+{}", n), bold);
}

std::string note_of(const Listener& listener, const Look& now, bool bold) {
  std::string note = emphasis(listener.full() ? "FULL" : "", bold);
  if (at_somaxconn(listener, now)) {
    note += note.empty() ? "" : ", ";
    note += "limit is somaxconn: it caps the backlog";
  }
  return note;
}

std::string listeners_of(const Look& now, const Look* before, bool bold) {
  Table table({"listener", "accept queue", "limit", "half-open", "dropped", ""}, 1);
  for (const Listener& listener : now.listeners) {
    table.add({listener.address, std::to_string(listener.queue), std::to_string(listener.limit),
               listener.tcp ? std::to_string(listener.half_open) : "-",
               listener.drops
                   ? std::to_string(*listener.drops) + plus(more_drops(listener, before), bold)
                   : "-",
               note_of(listener, now, bold)});
  }
  return table.text();
}

std::string states_of(const Look& now, const Look* before, bool bold) {
  // The columns: the begin of a connection, the side that closes first, the other side, the end.
  constexpr State kGrid[3][4] = {
      {State::listen, State::established, State::close_wait, State::closing},
      {State::syn_sent, State::fin_wait_1, State::last_ack, State::time_wait},
      {State::syn_recv, State::fin_wait_2, State::closed, State::closed},
  };
  std::string text;
  for (std::size_t row = 0; row < std::size(kGrid); ++row) {
    std::string line;
    for (std::size_t column = 0; column < 4; ++column) {
      const State state = kGrid[row][column];
      if (row == 2 && column == 3) break;  // eleven, in a grid of twelve
      const std::uint64_t by = grown(now, before, state);
      const std::string more = plus(by);
      std::string cell = fmt::format("{}{:<12} {:>5}{}", column == 0 ? "" : "   ", name_of(state),
                                     now.count(state), more);
      if (before != nullptr) cell += std::string(7 - std::min<std::size_t>(7, more.size()), ' ');
      line += emphasis(cell, bold && by > 0);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string timer_of(const TcpSocket& socket) {
  const std::string left = short_time(std::chrono::milliseconds(socket.timer_ms));
  switch (socket.timer) {
    case Timer::none:
      return "";
    case Timer::retransmit:
      return "retransmits in " + left;
    case Timer::keep_alive:
      return "next probe in " + left;
    case Timer::time_wait:
      return "gone in " + left;
    case Timer::probe:
      return "window probe in " + left;
  }
  return "";
}

std::string connections_of(const Look& now) {
  Table table({"local", "peer", "state", "Recv-Q", "Send-Q", "rtt", "retransmits", "sent",
               "received", "idle", ""},
              3);
  for (const TcpSocket& socket : now.connections) {
    std::vector<std::string> row = {
        socket.local.text(), socket.peer.text(), std::string(name_of(socket.state)),
        std::to_string(socket.receive_queue), std::to_string(socket.send_queue)};
    if (const auto& details = socket.details) {
      const auto rtt = std::chrono::microseconds(details->rtt_us);
      row.insert(row.end(), {details->rtt_us == 0 ? "-" : short_time(rtt),
                             std::to_string(details->retransmits),
                             details->bytes_sent ? std::to_string(*details->bytes_sent) : "-",
                             std::to_string(details->bytes_received), short_time(details->idle)});
    } else {
      const auto again = socket.retransmits_now;
      row.insert(row.end(), {"-", again ? std::to_string(*again) : "-", "-", "-", "-"});
    }
    row.push_back(timer_of(socket));
    table.add(std::move(row));
  }
  for (const UnixSocket& socket : now.unix_connections) {
    table.add({socket.text(), "inode " + std::to_string(socket.peer_inode), "connected",
               std::to_string(socket.receive_queue), std::to_string(socket.send_queue), "-", "-",
               "-", "-", "-", ""});
  }
  return table.text();
}

}  // namespace

std::string short_time(std::chrono::microseconds time) {
  const auto us = static_cast<double>(time.count());
  if (us < 1e3) return fmt::format("{:.0f} us", us);
  if (us < 1e6) return fmt::format("{:.1f} ms", us / 1e3);
  if (us < 120e6) return fmt::format("{:.1f} s", us / 1e6);
  if (us < 7200e6) return fmt::format("{:.0f} min", us / 60e6);
  return fmt::format("{:.0f} h", us / 3600e6);
}

std::string text_of(const Look& now, const Look* before, const Selection& selection, bool bold) {
  std::string text;
  if (now.listeners.empty()) {
    text += selection.port  ? fmt::format("nobody listens on port {}\n", *selection.port)
            : selection.pid ? fmt::format("process {} does not listen\n", *selection.pid)
                            : "nobody listens\n";
  } else {
    text += listeners_of(now, before, bold);
  }
  text += fmt::format(
      "whole machine, not this server alone: {}{} accept queue overflows, {}{} SYNs dropped",
      now.host.listen_overflows, plus(more_overflows(now, before), bold), now.host.listen_drops,
      plus(more_drops(now, before), bold));
  if (now.somaxconn) text += fmt::format("; net.core.somaxconn {}", *now.somaxconn);
  text += "\n\n" + states_of(now, before, bold);
  if (now.unix_connected.value_or(0) > 0) {
    text += fmt::format("Unix sockets connected: {}\n", *now.unix_connected);
  }
  const auto found = remarks(now, before);
  if (!found.empty()) text += "\n";
  for (const Remark& remark : found) {
    text += fmt::format("{}: {}\n", emphasis(remark.what, bold), remark.meaning);
  }
  if (selection.connections && !(now.connections.empty() && now.unix_connections.empty())) {
    text += "\n" + connections_of(now);
  }
  return text;
}

}  // namespace weir::sockstat
