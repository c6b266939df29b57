#include "mlxcpp/io/utf8.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace mlxcpp::io {
namespace {

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

TEST(Utf8, ill_formed_parts_are_replaced_as_python_does) {
  std::ifstream file(MLXCPP_TEST_DATA "/io/utf8.txt");
  std::string raw, replaced;
  int lines = 0;
  while (file >> raw >> replaced) {
    std::string bytes = from_hex(raw);
    EXPECT_EQ(to_valid_utf8(bytes), from_hex(replaced)) << raw;
    EXPECT_EQ(is_utf8(bytes), raw == replaced) << raw;
    ++lines;
  }
  EXPECT_EQ(lines, 400);
}

TEST(Utf8, prefix_ends_before_the_first_bad_byte) {
  EXPECT_EQ(utf8_prefix(""), 0u);
  EXPECT_EQ(utf8_prefix("abc"), 3u);
  EXPECT_EQ(utf8_prefix("ab\xFF"
                        "c"),
            2u);
  EXPECT_EQ(utf8_prefix("a\xE2\x82\xAC\xE2\x82"), 4u);
  EXPECT_EQ(utf8_prefix("\xED\xA0\x80"), 0u);      // a surrogate
  EXPECT_EQ(utf8_prefix("\xC0\x80"), 0u);          // overlong
  EXPECT_EQ(utf8_prefix("\xF4\x90\x80\x80"), 0u);  // above U+10FFFF
  EXPECT_EQ(utf8_prefix("\xF4\x8F\xBF\xBF"), 4u);
}

}  // namespace
}  // namespace mlxcpp::io
