// weir-parts-compare: the cost of timers and posts in weir and in other libraries.
//
// In each round all libraries run once, in alternating order (forwards, then backwards), so that a
// change of the machine's speed affects all.
#include <sched.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>

#include "rivals/parts.h"
#include "rivals/parts_table.h"

namespace parts {

void give_up(const std::string& what) {
  std::fflush(stdout);
  std::fprintf(stderr, "error: %s\n", what.c_str());
  std::_Exit(1);
}

namespace {

struct Settings {
  bool quick = false;
  int rounds = 0;
  std::string only;
};

Catalog make_catalog() {
  Catalog catalog;
  const auto add = [&](const char* name, void (*library)(Catalog&)) {
    if (library != nullptr) {
      library(catalog);
    } else {
      catalog.missing.emplace_back(name);
    }
  };
  add("weir", &add_weir);
#if PARTS_HAS_LIBEV
  add("libev", &add_libev);
#else
  add("libev", nullptr);
#endif
#if PARTS_HAS_LIBUV
  add("libuv", &add_libuv);
#else
  add("libuv", nullptr);
#endif
#if PARTS_HAS_ASIO
  add("Asio", &add_asio);
#else
  add("Asio", nullptr);
#endif
#if PARTS_HAS_LIBEVENT
  add("libevent", &add_libevent);
#else
  add("libevent", nullptr);
#endif
  return catalog;
}

// Yields the same order in every run.
std::vector<Place> shuffled(std::uint32_t count) {
  std::vector<Place> places(count);
  std::iota(places.begin(), places.end(), Place{0});
  std::mt19937_64 random(20);
  std::shuffle(places.begin(), places.end(), random);
  return places;
}

class Comparison {
 public:
  Comparison(const Settings& settings, Catalog catalog)
      : settings_(settings), catalog_(std::move(catalog)) {
    for (const std::uint32_t live : {1'000u, 100'000u, 1'000'000u}) {
      if (settings.only == "post" || (settings.quick && live > 100'000)) continue;
      timers_.push_back({shuffled(live), std::vector<TimerSamples>(catalog_.timers.size())});
    }
    if (settings.only != "timers") posts_.resize(catalog_.posts.size());
  }

  // Runs the requested rounds, unless the time is over before.
  void measure() {
    const int rounds = settings_.rounds > 0 ? settings_.rounds : settings_.quick ? 3 : 5;
    const std::chrono::seconds limit(settings_.quick ? 7 : 55);
    const Time start = std::chrono::steady_clock::now();
    Time now = start;
    auto longest = Time::duration::zero();
    for (rounds_ = 0; rounds_ < rounds && now - start + longest <= limit; ++rounds_) {
      if (::isatty(STDERR_FILENO) != 0) {
        std::fprintf(stderr, "round %d of %d\n", rounds_ + 1, rounds);
      }
      round(rounds_ % 2 == 1);
      const Time end = std::chrono::steady_clock::now();
      longest = std::max(longest, end - now);
      now = end;
    }
    cut_short_ = rounds_ < rounds;
  }

  void print() const {
    print_head();
    if (!timers_.empty()) print_timers();
    if (!posts_.empty()) print_posts();
    std::printf("\nWhat is called:\n");
    print_calls("set and cancel", catalog_.timers, !timers_.empty());
    print_calls("post", catalog_.posts, !posts_.empty());
  }

 private:
  struct TimerSamples {
    Samples set, cancel;
  };
  struct TimersOfCount {
    std::vector<Place> turn;
    std::vector<TimerSamples> ways;
  };
  struct PostSamples {
    Samples one, two, trip;
  };

  template <typename Ways, typename Work>
  static void in_order(const Ways& ways, bool backwards, Work&& work) {
    for (std::size_t i = 0; i < ways.size(); ++i) work(backwards ? ways.size() - 1 - i : i);
  }

  void round(bool backwards) {
    for (TimersOfCount& count : timers_) {
      in_order(count.ways, backwards, [&](std::size_t way) {
        const TimerTimes times = measure_timers(catalog_.timers[way], count.turn);
        count.ways[way].set.push_back(times.set_ns);
        count.ways[way].cancel.push_back(times.cancel_ns);
      });
    }
    const PostCounts counts = settings_.quick ? PostCounts{.posts = 200'000, .trips = 200}
                                              : PostCounts{.posts = 1'000'000, .trips = 1000};
    in_order(posts_, backwards, [&](std::size_t way) {
      const PostTimes times = measure_posts(catalog_.posts[way], counts);
      posts_[way].one.push_back(times.post_ns[0]);
      posts_[way].two.push_back(times.post_ns[1]);
      posts_[way].trip.push_back(times.trip_us);
    });
  }

  void print_head() const {
    cpu_set_t cores{};
    const int count = ::sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 0;
    std::string libraries;
    for (const std::string& version : catalog_.versions) {
      libraries += (libraries.empty() ? "" : ", ") + version;
    }
    std::printf("%s\n", libraries.c_str());
    for (const std::string& name : catalog_.missing) {
      std::printf("missing: %s was not found when this program was configured\n", name.c_str());
    }
    std::printf(
        "%d round%s%s, on %d core%s. Medians and ranges of the rounds; \"to weir\" is the "
        "median of\nthe ratios within a round: above 1 weir takes less.\n",
        rounds_, rounds_ == 1 ? "" : "s", cut_short_ ? " (then the time was over)" : "", count,
        count == 1 ? "" : "s");
  }

  void print_timers() const {
    std::printf(
        "\nTimers, by the number of live ones: CPU time to set one, and to cancel one chosen "
        "at random.\nAll have the same timeout, so the deadlines ascend.\n\n");
    Table table({"live", "library", "set, ns", "min - max", "to weir", "cancel, ns", "min - max",
                 "to weir"},
                {1});
    for (const TimersOfCount& count : timers_) {
      if (&count != &timers_.front()) table.add_gap();
      for (std::size_t i = 0; i < count.ways.size(); ++i) {
        std::vector<std::string> row{grouped(count.turn.size()), catalog_.timers[i].name};
        add_figures(row, count.ways[i].set, count.ways.front().set);
        add_figures(row, count.ways[i].cancel, count.ways.front().cancel);
        table.add(std::move(row));
      }
    }
    table.print();
  }

  void print_posts() const {
    std::printf(
        "\nPosts from 1 and 2 other threads to a running loop: time per post, from the first "
        "one to the\nend of the last one, with at most 4,096 pending. Posters and loop need "
        "a core each.\n\n");
    Table bursts({"library", "1 thread, ns", "min - max", "to weir", "2 threads, ns", "min - max",
                  "to weir"},
                 {0});
    Table trips({"library", "round trip, us", "min - max", "to weir"}, {0});
    for (std::size_t i = 0; i < posts_.size(); ++i) {
      std::vector<std::string> row{catalog_.posts[i].name};
      add_figures(row, posts_[i].one, posts_.front().one);
      add_figures(row, posts_[i].two, posts_.front().two);
      bursts.add(std::move(row));
      std::vector<std::string> trip{catalog_.posts[i].name};
      add_figures(trip, posts_[i].trip, posts_.front().trip);
      trips.add(std::move(trip));
    }
    bursts.print();
    std::printf(
        "\nOne post to a sleeping loop, until the posting thread, which also sleeps, "
        "continues:\ntwo wake-ups.\n\n");
    trips.print();
  }

  template <typename Ways>
  static void print_calls(const char* what, const Ways& ways, bool measured) {
    if (!measured) return;
    for (const auto& way : ways) {
      std::printf("  %-14s  %-24s  %s\n", what, way.name.c_str(), way.calls.c_str());
    }
  }

  const Settings settings_;
  const Catalog catalog_;
  std::vector<TimersOfCount> timers_;
  std::vector<PostSamples> posts_;
  int rounds_ = 0;
  bool cut_short_ = false;
};

int run(int argc, char** argv) {
  Settings settings;
  CLI::App app("Compares the timers and posts of weir with those of other libraries.",
               "weir-parts-compare");
  app.add_flag("--quick", settings.quick,
               "3 rounds instead of 5, at most 100,000 timers, fewer posts; less than 8 s "
               "instead of less than 60 s");
  app.add_option("--rounds", settings.rounds, "number of rounds; fewer if the time is over before")
      ->check(CLI::Range(1, 1000).description(""))
      ->type_name("N");
  app.add_option("--only", settings.only, "timers or post (default: both)")
      ->check(CLI::IsMember({"timers", "post"}).description(""))
      ->type_name("PART");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    std::fprintf(stderr, "error: %s; see weir-parts-compare --help\n", error.what());
    return 2;
  }
  Comparison comparison(settings, make_catalog());
  comparison.measure();
  comparison.print();
  return 0;
}

}  // namespace
}  // namespace parts

int main(int argc, char** argv) { return parts::run(argc, argv); }
