#include "weir/base/byte_order.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <limits>

namespace weir {
namespace {

static_assert(network_to_host(host_to_network(std::uint16_t{0x1234})) == 0x1234);
static_assert(network_to_host(host_to_network(std::uint32_t{0x12345678})) == 0x12345678);
static_assert(network_to_host(host_to_network(std::uint64_t{0x123456789abcdef0})) ==
              0x123456789abcdef0);

template <typename T>
std::array<unsigned char, sizeof(T)> wire_bytes(T value) {
  const T network = host_to_network(value);
  std::array<unsigned char, sizeof(T)> bytes;
  std::memcpy(bytes.data(), &network, sizeof(network));
  return bytes;
}

TEST(ByteOrder, TheHighByteGoesFirst) {
  EXPECT_EQ(wire_bytes(std::uint16_t{0x0102}), (std::array<unsigned char, 2>{1, 2}));
  EXPECT_EQ(wire_bytes(std::uint32_t{0x01020304}), (std::array<unsigned char, 4>{1, 2, 3, 4}));
  EXPECT_EQ(wire_bytes(std::uint64_t{0x0102030405060708}),
            (std::array<unsigned char, 8>{1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST(ByteOrder, AgreesWithTheCLibrary) {
  for (std::uint32_t i = 0; i <= std::numeric_limits<std::uint16_t>::max(); ++i) {
    const auto value = static_cast<std::uint16_t>(i);
    ASSERT_EQ(host_to_network(value), htons(value));
    ASSERT_EQ(network_to_host(value), ntohs(value));
    ASSERT_EQ(host_to_network(i * 2654435761U), htonl(i * 2654435761U));
  }
}

}  // namespace
}  // namespace weir
