// weir-worker-pool: answers questions that need much processor time.
//
//   primes N   the number of primes up to N
//   factor N   the prime factors of N
//   ping       pong, from the loop itself
//
// The loop computes nothing, so it continues to serve while all workers are busy. A connection is
// not read while its question is queued or computed: answers come in the order of the questions,
// and further input waits on the client's side. One client gets neither all workers nor the whole
// queue, however many connections it opens. Questions beyond --queue are refused with a sentence. A
// question is cancelled after --time-limit, the time in the queue included, and when its client
// disconnects. A client that half-closes still gets its answer; so do all clients when the server
// stops, if the answer is ready before the deadline.

#include <atomic>
#include <charconv>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/client_key.h"
#include "common/command_line.h"
#include "program/command_line.h"
#include "weir/net/codec/framed_handler.h"
#include "weir/net/codec/line_codec.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/serve.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/tcp/tcp_server.h"
#include "worker_pool/numbers.h"
#include "worker_pool/worker_pool.h"

namespace {

constexpr std::size_t kMaxLine = 64;

struct Question {
  enum class Kind { primes, factor } kind;
  std::uint64_t number;
};

std::optional<Question> parse(std::string_view line) {
  constexpr std::string_view kPrimes = "primes ";
  constexpr std::string_view kFactor = "factor ";
  Question question{};
  if (line.starts_with(kPrimes)) {
    question.kind = Question::Kind::primes;
  } else if (line.starts_with(kFactor)) {
    question.kind = Question::Kind::factor;
  } else {
    return std::nullopt;
  }
  line.remove_prefix(kPrimes.size());  // both prefixes have this size
  const auto [end, error] =
      std::from_chars(line.data(), line.data() + line.size(), question.number);
  if (error != std::errc() || end != line.data() + line.size()) return std::nullopt;
  return question;
}

struct Asker {
  std::string key;  // of the client, for WorkerPool::submit
  std::shared_ptr<std::atomic<bool>> gone = std::make_shared<std::atomic<bool>>(false);
};

// Runs on a worker.
std::string answer(const Question& question, const Cancelled& cancelled) {
  if (question.kind == Question::Kind::primes) {
    const auto count = count_primes(question.number, cancelled);
    if (count) return std::to_string(*count);
  } else if (const auto found = factors(question.number, cancelled)) {
    std::string text = std::to_string(question.number) + " =";
    for (const std::uint64_t factor : *found) text += " " + std::to_string(factor);
    return text;
  }
  return "error: the question took too long";
}

class Answerer final : public weir::FramedHandler<weir::LineCodec> {
 public:
  Answerer(WorkerPool& pool, weir::Duration time_limit)
      : FramedHandler(weir::LineCodec({.max_frame = kMaxLine, .skip_overlong = true})),
        pool_(pool),
        time_limit_(time_limit) {}

  void on_open(weir::TcpConnection& conn) override {
    conn.set_context<Asker>().key = sample::client_key(conn);
  }

  void on_close(weir::TcpConnection& conn, weir::CloseReason) override {
    conn.context<Asker>()->gone->store(true, std::memory_order_relaxed);
  }

  void on_frame(weir::TcpConnection& conn, std::string_view line) override {
    const auto question = parse(line);
    if (line == "ping") {
      conn.send("pong\n");
    } else if (!question) {
      conn.send("error: a question is primes N, factor N or ping\n");
    } else if (!ask(conn, *question)) {
      conn.send("error: too many questions are queued; ask again later\n");
    }
  }

  void on_frame_error(weir::TcpConnection& conn, const weir::Error& error) override {
    conn.send("error: " + error.message() + "\n");
  }

 private:
  // The worker gets the question and a ConnectionRef, and no object of the loop.
  bool ask(weir::TcpConnection& conn, const Question& question) {
    const auto deadline = time_limit_ > weir::Duration::zero()
                              ? weir::saturating_add(weir::Clock::now(), time_limit_)
                              : weir::TimePoint::max();
    const Asker& asker = *conn.context<Asker>();
    const bool taken = pool_.submit(asker.key, [question, deadline, gone = asker.gone,
                                                client = conn.ref()](const std::stop_token& stop) {
      const auto cancelled = [&] {
        return stop.stop_requested() || gone->load(std::memory_order_relaxed) ||
               weir::Clock::now() >= deadline;
      };
      if (gone->load(std::memory_order_relaxed)) return;
      client.post([text = answer(question, cancelled) + "\n"](weir::TcpConnection& back) {
        // A client that no longer receives: its pipelined questions are dropped.
        if (back.send(text) == weir::SendResult::closed) back.abort();
        back.resume_reading();
        back.release();
      });
    });
    if (taken) {
      conn.pause_reading();
      conn.hold_open();
    }
    return taken;
  }

  WorkerPool& pool_;
  const weir::Duration time_limit_;
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> listen = {"127.0.0.1:7009"};
  std::size_t workers = 2;
  std::size_t queue = 100;
  weir::Duration time_limit = std::chrono::seconds(10);
  weir::TcpServer::Options options{.idle_timeout = std::chrono::minutes(5),
                                   .message_timeout = std::chrono::seconds(30),
                                   .high_water = 64 * 1024};
  CLI::App app("Answers questions that need much processor time.", "weir-worker-pool");
  sample::listen_option(app, listen);
  sample::threads_option(app, options.threads);
  weir::program::number_option(app, "--workers", workers, 1, 1024, "N", "threads that compute");
  weir::program::number_option(app, "--queue", queue, 1, 1'000'000, "N",
                               "questions that may be queued for a worker");
  sample::seconds_option(app, "--time-limit", time_limit,
                         "for a question, the time in the queue included; 0: none");
  sample::seconds_option(app, "--idle-timeout", options.idle_timeout,
                         "of silence after which a client is disconnected; 0: never");
  return sample::run(app, argc, argv, [&] {
    WorkerPool pool(workers, queue);
    weir::EventLoop loop;
    weir::TcpServer server(loop, options);
    server.use_handler(std::make_shared<Answerer>(pool, time_limit));
    return weir::serve(loop, server, listen);
  });
}
