#include "sim/part.h"

#include <utility>

namespace weir::test::simulation {

// -- Lifecycle ------------------------------------------------------------------------------------

void Lifecycle::opened(Verdict& verdict, std::string_view who) {
  verdict.expect(opens_ == 0 && !done_, "{} was opened twice, or after its end", who);
  ++opens_;
}

void Lifecycle::closed(Verdict& verdict, std::string_view who, CloseReason reason) {
  using Kind = CloseReason::Kind;
  verdict.expect(opens_ == 1, "{} was closed without having been opened", who);
  verdict.expect(++closes_ == 1, "{} was closed twice", who);
  reason_ = reason.kind;
  done_ = true;
  switch (reason.kind) {
    case Kind::peer_eof:
    case Kind::local_close:
    case Kind::aborted:
      break;
    case Kind::reset:
    case Kind::io_error:
    case Kind::output_overflow:
      faulty_ = true;
      break;
    default:
      verdict.expect(false, "{} was closed by {}", who, reason.to_string());
  }
}

// -- Setting --------------------------------------------------------------------------------------

std::string Setting::address() {
  switch (world.random(4)) {
    case 0:
      return fmt::format("[::1]:{}", 7000 + number);
    case 1:
      return fmt::format("unix:@part{}", number);
    default:
      return fmt::format("127.0.0.1:{}", 7000 + number);
  }
}

std::unique_ptr<Part> make_part(PartKind kind, const Setting& setting) {
  switch (kind) {
    case PartKind::echo:
      return make_echo(setting);
    case PartKind::flood:
      return make_flood(setting);
    case PartKind::relay:
      return make_relay(setting);
    case PartKind::broadcast:
      return make_broadcast(setting);
    case PartKind::file:
      return make_file(setting);
    case PartKind::datagrams:
      return make_datagrams(setting);
    case PartKind::timers:
      return make_timers(setting);
    case PartKind::posts:
      return make_posts(setting);
    case PartKind::watchers:
      return make_watchers(setting);
    case PartKind::silence:
      return make_silence(setting);
    case PartKind::crowd:
      return make_crowd(setting);
  }
  std::unreachable();
}

}  // namespace weir::test::simulation
