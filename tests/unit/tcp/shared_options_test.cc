// TcpServer::Options and TcpClient::Options are flat, so that designated initialisers work; what
// both say of a connection has the same type and the same default in each.
#include <gtest/gtest.h>

#include <cstddef>
#include <type_traits>
#include <utility>

#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

#define SHARED_OPTIONS(X) \
  X(trigger)              \
  X(idle_timeout)         \
  X(read_idle_timeout)    \
  X(first_byte_timeout)   \
  X(message_timeout)      \
  X(write_stall_timeout)  \
  X(heartbeat_interval)   \
  X(max_input)            \
  X(high_water)           \
  X(max_output)           \
  X(overflow)             \
  X(allow_half_open)      \
  X(nodelay)              \
  X(keep_alive)           \
  X(transport)            \
  X(handshake_timeout)    \
  X(linger_timeout)       \
  X(drain_timeout)        \
  X(drain_limit)          \
  X(user_timeout)         \
  X(receive_buffer)       \
  X(send_buffer)          \
  X(notsent_lowat)

#define HAVE_ONE_TYPE(field) \
  static_assert(             \
      std::is_same_v<decltype(TcpServer::Options::field), decltype(TcpClient::Options::field)>);
SHARED_OPTIONS(HAVE_ONE_TYPE)

TEST(SharedOptions, HaveOneDefault) {
  const TcpServer::Options server;
  const TcpClient::Options client;
#define EXPECT_ONE_DEFAULT(field) EXPECT_TRUE(server.field == client.field) << #field;
  SHARED_OPTIONS(EXPECT_ONE_DEFAULT)
#undef EXPECT_ONE_DEFAULT
}

// How many fields an aggregate has: as many as it can be initialised from.
struct Anything {
  template <typename T>
  operator T() const;
};
template <typename T, std::size_t... I>
constexpr bool takes(std::index_sequence<I...>) {
  return requires { T{(static_cast<void>(I), Anything())...}; };
}
template <typename T, std::size_t Count = 0>
constexpr std::size_t fields() {
  if constexpr (takes<T>(std::make_index_sequence<Count>()) &&
                !takes<T>(std::make_index_sequence<Count + 1>())) {
    return Count;
  } else {
    return fields<T, Count + 1>();
  }
}

TEST(SharedOptions, AreAllOfAClientButThoseOfAnAttempt) {
#define COUNT(field) +1
  constexpr std::size_t kShared = 0 SHARED_OPTIONS(COUNT);
#undef COUNT
  constexpr std::size_t kOfAnAttempt = 3;  // connect_timeout, reconnect, bind_to
  EXPECT_EQ(fields<TcpClient::Options>(), kShared + kOfAnAttempt);
}

}  // namespace
}  // namespace weir::test
