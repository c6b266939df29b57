#include "mlxcpp/io/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>

namespace mlxcpp::io {
namespace {

TEST(DumpString, escapes_what_json_demands) {
  EXPECT_EQ(dump_string(""), R"("")");
  EXPECT_EQ(dump_string("a\"b\\c/d"), R"("a\"b\\c/d")");
  EXPECT_EQ(dump_string("\b\f\n\r\t"), R"("\b\f\n\r\t")");
  EXPECT_EQ(dump_string(std::string_view("\0\x1f\x7f", 3)), R"("\u0000\u001f\u007f")");
  EXPECT_EQ(dump_string("grüße 🌍"), "\"grüße 🌍\"");
}

TEST(DumpString, ill_formed_utf8_becomes_the_replacement_character) {
  EXPECT_EQ(dump_string("a\xFF"
                        "b\xE2\x82"),
            "\"a\uFFFDb\uFFFD\"");
}

TEST(Printable, is_one_line_of_bounded_length) {
  EXPECT_EQ(printable("model.layers.0"), "model.layers.0");
  EXPECT_EQ(printable("a\nb\"ü\x01"), "a\\nb\"ü\\u0001");
  EXPECT_EQ(printable("\xFF"), "\uFFFD");
  EXPECT_EQ(printable(std::string(101, 'x')), std::string(100, 'x') + "...");
  EXPECT_EQ(printable(std::string(99, 'x') + "ü"), std::string(99, 'x') + "...");
}

TEST(JsonWriter, writes_scalars) {
  EXPECT_EQ(JsonWriter().value(true).str(), "true");
  EXPECT_EQ(JsonWriter().value("text").str(), "\"text\"");
  EXPECT_EQ(JsonWriter().value(std::string("text")).str(), "\"text\"");
  EXPECT_EQ(JsonWriter().value(-3).str(), "-3");
  EXPECT_EQ(JsonWriter().value(std::numeric_limits<std::uint64_t>::max()).str(),
            "18446744073709551615");
  EXPECT_EQ(JsonWriter().value(std::numeric_limits<std::int64_t>::min()).str(),
            "-9223372036854775808");
  EXPECT_EQ(JsonWriter().null().str(), "null");
}

TEST(JsonWriter, floats_have_the_fewest_digits_that_read_back_and_stay_floats) {
  EXPECT_EQ(JsonWriter().value(0.1).str(), "0.1");
  EXPECT_EQ(JsonWriter().value(0.1f).str(), "0.1");
  EXPECT_EQ(JsonWriter().value(10000.0).str(), "10000.0");
  EXPECT_EQ(JsonWriter().value(1e-5f).str(), "1e-05");
  EXPECT_EQ(JsonWriter().value(-0.0).str(), "-0.0");
  EXPECT_EQ(JsonWriter().value(1.0 / 3).str(), "0.3333333333333333");
}

TEST(JsonWriter, what_json_can_not_say_becomes_null) {
  EXPECT_EQ(JsonWriter().value(std::nan("")).str(), "null");
  EXPECT_EQ(JsonWriter().value(std::numeric_limits<float>::infinity()).str(), "null");
  EXPECT_EQ(JsonWriter().value(-std::numeric_limits<double>::infinity()).str(), "null");
}

void write_sample(JsonWriter& json) {
  json.begin_object()
      .member("z", 1)
      .member("a", std::vector<int>{1, 2})
      .member("flags", std::vector<bool>{true, false})
      .member("none", std::optional<int>())
      .member("some", std::optional<std::string>("x"))
      .key("inner")
      .begin_object()
      .end_object()
      .key("list")
      .begin_list()
      .begin_object()
      .member("k\n", "v")
      .end_object()
      .raw("[1]")
      .end_list()
      .end_object();
}

TEST(JsonWriter, keeps_the_order_and_writes_one_line) {
  JsonWriter json;
  write_sample(json);
  EXPECT_EQ(json.str(),
            R"({"z": 1, "a": [1, 2], "flags": [true, false], "none": null, "some": "x", )"
            R"("inner": {}, "list": [{"k\n": "v"}, [1]]})");
}

TEST(JsonWriter, indents_as_python_does) {
  JsonWriter json(2);
  write_sample(json);
  EXPECT_EQ(json.str(),
            R"({
  "z": 1,
  "a": [
    1,
    2
  ],
  "flags": [
    true,
    false
  ],
  "none": null,
  "some": "x",
  "inner": {},
  "list": [
    {
      "k\n": "v"
    },
    [1]
  ]
})");
}

TEST(JsonWriter, misuse_is_a_logic_error) {
  EXPECT_THROW(JsonWriter().key("a"), std::logic_error);
  EXPECT_THROW(JsonWriter().begin_object().value(1), std::logic_error);
  EXPECT_THROW(JsonWriter().begin_object().key("a").key("b"), std::logic_error);
  EXPECT_THROW(JsonWriter().begin_object().key("a").end_object(), std::logic_error);
  EXPECT_THROW(JsonWriter().begin_object().end_list(), std::logic_error);
  EXPECT_THROW(JsonWriter().begin_list().key("a"), std::logic_error);
  EXPECT_THROW(JsonWriter().end_list(), std::logic_error);
  EXPECT_THROW(JsonWriter().value(1).value(2), std::logic_error);
  EXPECT_THROW(JsonWriter().begin_list().str(), std::logic_error);
  EXPECT_THROW(JsonWriter().str(), std::logic_error);
}

}  // namespace
}  // namespace mlxcpp::io
