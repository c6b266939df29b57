#include "mlxcpp/io/fields.h"

#include "mlxcpp/base/error.h"
#include "tests/io/support.h"

#include <gtest/gtest.h>

#include <limits>

namespace mlxcpp::io {
namespace {

using testing::message_of;
using Strings = std::vector<std::string>;

struct Inner {
  float factor = 1;
  std::optional<int> length;
  void fields(Fields& f) { f.need("factor", &factor).may("length", &length); }
};

template <class T>
T value_of(std::string_view json) {
  T value{};
  Fields::parse("{\"a\": " + std::string(json) + "}").need("a", &value);
  return value;
}

TEST(Fields, reads_every_type) {
  EXPECT_EQ(value_of<int>("-7"), -7);
  EXPECT_EQ(value_of<std::int64_t>("9223372036854775807"), 9223372036854775807);
  EXPECT_EQ(value_of<float>("0.1"), 0.1f);
  EXPECT_EQ(value_of<float>("10000"), 10000.0f);
  EXPECT_EQ(value_of<double>("1e300"), 1e300);
  EXPECT_EQ(value_of<bool>("true"), true);
  EXPECT_EQ(value_of<std::string>(R"("gr\u00fc\u00dfe")"), "grüße");
  EXPECT_EQ(value_of<std::optional<int>>("3"), 3);
  EXPECT_EQ(value_of<std::optional<std::int64_t>>("3"), 3);
  EXPECT_EQ(value_of<std::optional<float>>("3.5"), 3.5f);
  EXPECT_EQ(value_of<std::optional<double>>("3.5"), 3.5);
  EXPECT_EQ(value_of<std::optional<bool>>("false"), false);
  EXPECT_EQ(value_of<std::optional<std::string>>("\"x\""), "x");
  EXPECT_EQ(value_of<std::vector<int>>("[1, 2]"), (std::vector{1, 2}));
  EXPECT_EQ(value_of<std::vector<std::int64_t>>("[1]"), (std::vector<std::int64_t>{1}));
  EXPECT_EQ(value_of<std::vector<float>>("[1, 0.5]"), (std::vector{1.0f, 0.5f}));
  EXPECT_EQ(value_of<std::vector<bool>>("[true, false]"), (std::vector{true, false}));
  EXPECT_EQ(value_of<Strings>(R"(["a", ""])"), (Strings{"a", ""}));
  EXPECT_EQ((value_of<std::map<std::string, std::string>>(R"({"k": "v"})")),
            (std::map<std::string, std::string>{{"k", "v"}}));
}

TEST(Fields, absent_and_null_leave_what_was_there) {
  Fields f = Fields::parse(R"({"null": null})");
  int a = 5;
  std::optional<int> b = 6;
  std::vector<int> c = {7};
  Inner inner{.factor = 8, .length = {}};
  std::vector<Inner> inners(2);
  for (auto key : {"null", "absent"}) {
    f.may(key, &a).may(key, &b).may(key, &c).may(key, &inner).may(key, &inners);
    f.may_one_or_many(key, &c);
    EXPECT_FALSE(f.has(key));
    EXPECT_EQ(f.type(key), std::nullopt);
    EXPECT_FALSE(f.object(key).has_value());
    EXPECT_TRUE(f.objects(key).empty());
    EXPECT_EQ(message_of<ConfigError>([&] { f.need(key, &a); }),
              "config." + std::string(key) + ": missing; expected integer");
    EXPECT_EQ(message_of<ConfigError>([&] { f.need(key, &inner); }),
              "config." + std::string(key) + ": missing; expected object");
  }
  EXPECT_EQ(a, 5);
  EXPECT_EQ(b, 6);
  EXPECT_EQ(c, std::vector{7});
  EXPECT_EQ(inner.factor, 8);
  EXPECT_EQ(inners.size(), 2u);
}

template <class T>
std::string error_of(std::string_view json) {
  return message_of<ConfigError>([&] { value_of<T>(json); });
}

TEST(Fields, numbers_are_not_converted_between_kinds) {
  EXPECT_EQ(error_of<int>("3.0"), "config.a: expected integer, found number 3.0");
  EXPECT_EQ(error_of<int>("true"), "config.a: expected integer, found true");
  EXPECT_EQ(error_of<int>("\"3\""), "config.a: expected integer, found string \"3\"");
  EXPECT_EQ(error_of<float>("false"), "config.a: expected number, found false");
  EXPECT_EQ(error_of<float>("\"x\""), "config.a: expected number, found string \"x\"");
  EXPECT_EQ(error_of<bool>("1"), "config.a: expected boolean, found integer 1");
  EXPECT_EQ(error_of<std::string>("{}"), "config.a: expected string, found object");
  EXPECT_EQ(error_of<std::optional<int>>("[1, 2]"), "config.a: expected integer, found list of 2");
  EXPECT_EQ(error_of<std::vector<int>>("3"), "config.a: expected list, found integer 3");
  EXPECT_EQ(error_of<std::vector<int>>("[1, null]"), "config.a[1]: expected integer, found null");
  EXPECT_EQ(error_of<Strings>("[\"x\", 1]"), "config.a[1]: expected string, found integer 1");
  EXPECT_EQ((error_of<std::map<std::string, std::string>>(R"({"k": 1})")),
            "config.a.k: expected string, found integer 1");
}

TEST(Fields, integers_must_fit) {
  EXPECT_EQ(value_of<int>("2147483647"), 2147483647);
  EXPECT_EQ(value_of<int>("-2147483648"), std::numeric_limits<int>::min());
  EXPECT_EQ(error_of<int>("2147483648"),
            "config.a: expected integer from -2147483648 to 2147483647, found integer 2147483648");
  EXPECT_EQ(error_of<int>("-2147483649"),
            "config.a: expected integer from -2147483648 to 2147483647, found integer -2147483649");
  EXPECT_EQ(error_of<std::int64_t>("9223372036854775808"),
            "config.a: expected integer from -9223372036854775808 to 9223372036854775807, found "
            "integer 9223372036854775808");
  EXPECT_EQ(error_of<int>("1e30"), "config.a: expected integer, found number 1e+30");
}

TEST(Fields, floats_must_stay_finite_in_their_width) {
  EXPECT_EQ(error_of<float>("1e300"),
            "config.a: expected number that a float can hold, found number 1e+300");
  EXPECT_EQ(error_of<float>("1e-300"),
            "config.a: expected number that a float can hold, found number 1e-300");
  EXPECT_EQ(error_of<std::vector<float>>("[-1e300]"),
            "config.a[0]: expected number that a float can hold, found number -1e+300");
  EXPECT_EQ(value_of<float>("0.0"), 0.0f);
}

TEST(Fields, long_text_is_cut_in_messages) {
  EXPECT_EQ(error_of<int>("\"" + std::string(1000, 'x') + "\""),
            "config.a: expected integer, found string \"" + std::string(40, 'x') + "\"...");
}

TEST(Fields, keys_with_line_ends_keep_messages_on_one_line) {
  Fields f = Fields::parse(R"({"a\nb": 1})");
  std::string text;
  EXPECT_EQ(message_of<ConfigError>([&] { f.may("a\nb", &text); }),
            "config.a\\nb: expected string, found integer 1");
  EXPECT_EQ(message_of<ConfigError>([] { Fields::parse("{\"a\\n\": 1, \"a\\n\": 2}"); }),
            "config.a\\n: key given twice");
}

TEST(Fields, a_failed_read_changes_nothing) {
  Fields f = Fields::parse(R"({"a": [1, "x"], "b": {"k": 1}})");
  std::vector<int> list = {9};
  std::map<std::string, std::string> map = {{"old", "x"}};
  EXPECT_THROW(f.may("a", &list), ConfigError);
  EXPECT_THROW(f.may("b", &map), ConfigError);
  EXPECT_EQ(list, std::vector{9});
  EXPECT_EQ(map.size(), 1u);
}

TEST(Fields, nested_objects_carry_their_path) {
  Fields f = Fields::parse(R"({"rope_scaling": {"factor": "x"}, "list": [{"factor": 1}, {}],
                               "number": 3})");
  Inner inner;
  std::optional<Inner> maybe;
  std::vector<Inner> list;
  EXPECT_EQ(message_of<ConfigError>([&] { f.may("rope_scaling", &inner); }),
            "config.rope_scaling.factor: expected number, found string \"x\"");
  EXPECT_EQ(message_of<ConfigError>([&] { f.need("rope_scaling", &inner); }),
            "config.rope_scaling.factor: expected number, found string \"x\"");
  EXPECT_EQ(message_of<ConfigError>([&] { f.may("list", &list); }),
            "config.list[1].factor: missing; expected number");
  EXPECT_EQ(message_of<ConfigError>([&] { f.may("number", &inner); }),
            "config.number: expected object, found integer 3");
  EXPECT_EQ(message_of<ConfigError>([&] { f.may("number", &maybe); }),
            "config.number: expected object, found integer 3");
  EXPECT_EQ(message_of<ConfigError>([&] { f.may("number", &list); }),
            "config.number: expected list of objects, found integer 3");
  EXPECT_EQ(f.where("x"), "config.x");
}

TEST(Fields, nested_objects_are_read) {
  Fields f =
      Fields::parse(R"({"a": {"factor": 2}, "b": [{"factor": 3}, {"factor": 4, "length": 5}]})");
  std::optional<Inner> a;
  std::vector<Inner> b(7);
  f.may("a", &a).may("b", &b);
  ASSERT_TRUE(a);
  EXPECT_EQ(a->factor, 2);
  ASSERT_EQ(b.size(), 2u);
  EXPECT_EQ(b[1].length, 5);
  EXPECT_EQ(read<Inner>(*f.object("a")).factor, 2);
}

TEST(Fields, one_value_stands_for_a_list_of_one) {
  Fields f =
      Fields::parse(R"({"one": 2, "many": [3, 4], "text": "x", "bad": [1.5], "worse": 1.5})");
  std::vector<int> ids;
  Strings words;
  f.may_one_or_many("one", &ids).may_one_or_many("text", &words);
  EXPECT_EQ(ids, std::vector{2});
  EXPECT_EQ(words, Strings{"x"});
  f.may_one_or_many("many", &ids);
  EXPECT_EQ(ids, (std::vector{3, 4}));
  EXPECT_EQ(message_of<ConfigError>([&] { f.may_one_or_many("bad", &ids); }),
            "config.bad[0]: expected integer, found number 1.5");
  EXPECT_EQ(message_of<ConfigError>([&] { f.may_one_or_many("worse", &ids); }),
            "config.worse: expected integer, found number 1.5");
}

TEST(Fields, the_type_tells_false_from_an_object) {
  Fields f = Fields::parse(
      R"({"b": false, "i": -1, "n": 1.5, "s": "", "l": [], "o": {}, "inf": Infinity})");
  EXPECT_EQ(f.type("b"), JsonType::boolean);
  EXPECT_EQ(f.type("i"), JsonType::integer);
  EXPECT_EQ(f.type("n"), JsonType::number);
  EXPECT_EQ(f.type("s"), JsonType::string);
  EXPECT_EQ(f.type("l"), JsonType::list);
  EXPECT_EQ(f.type("o"), JsonType::object);
  EXPECT_EQ(f.type("inf"), JsonType::number);
  EXPECT_EQ(f.keys(), (Strings{"b", "i", "inf", "l", "n", "o", "s"}));
}

TEST(Fields, unread_keys_are_remembered_with_their_paths) {
  Fields f = Fields::parse(R"({
    "read": 1, "unread": 2, "null": null,
    "whole": {"a": 1, "b": 2},
    "nested": {"factor": 1, "typo": 2, "deep": {"x": 1}},
    "list": [{"factor": 1}, {"factor": 2, "extra": 3}],
    "numbers": [1, 2], "map": {"k": "v"}, "raw": {"y": [1]}, "ignored": {"z": 1}})");
  int number;
  Inner inner;
  std::vector<Inner> list;
  std::vector<int> numbers;
  std::map<std::string, std::string> map;
  Fields copy = f;  // shares the record
  copy.may("read", &number).may("nested", &inner).may("list", &list).may("numbers", &numbers);
  copy.may("map", &map).ignore("ignored");
  EXPECT_EQ(copy.json_text("raw"), R"({"y":[1]})");
  EXPECT_TRUE(f.has("unread"));  // asking is not reading
  EXPECT_TRUE(f.type("unread"));
  EXPECT_EQ(f.unread(),
            (Strings{"list[1].extra", "nested.deep", "nested.typo", "unread", "whole"}));
  EXPECT_EQ(f.object("nested")->unread(), (Strings{"deep", "typo"}));
}

TEST(Fields, json_text_is_the_value_whatever_it_is) {
  Fields f = Fields::parse(R"({"a": {"b": [1, "x", null, 0.5]}, "s": "q\"", "i": [Infinity, 1]})");
  EXPECT_EQ(f.json_text("a"), R"({"b":[1,"x",null,0.5]})");
  EXPECT_EQ(f.json_text("s"), R"("q\"")");
  EXPECT_EQ(f.json_text("i"), "[null,1]");
  EXPECT_EQ(f.json_text("absent"), std::nullopt);
}

std::string parse_error(std::string_view text) {
  return message_of<ConfigError>([&] { Fields::parse(text, "c.json"); });
}

TEST(Fields, bad_syntax_is_one_short_line_with_line_and_column) {
  EXPECT_EQ(parse_error("{\n  \"a\": 1,\n  \"ü\": }"),
            "c.json: line 3, column 8: syntax error while parsing value - unexpected '}'; expected "
            "'[', '{', or a literal");
  EXPECT_EQ(parse_error(""),
            "c.json: line 1, column 1: syntax error while parsing value - unexpected end of input; "
            "expected '[', '{', or a literal");
  EXPECT_EQ(parse_error("{} x"),
            "c.json: line 1, column 4: syntax error while parsing value - invalid literal; "
            "expected end of input");
  std::string unterminated = parse_error("{\"a\": \"" + std::string(1 << 20, 'x'));
  EXPECT_EQ(unterminated,
            "c.json: line 1, column 1048584: syntax error while parsing value - invalid string: "
            "missing closing quote");
  EXPECT_EQ(parse_error("{\"a\": \"\xFF\"}"),
            "c.json: line 1, column 8: syntax error while parsing value - invalid string: "
            "ill-formed UTF-8 byte");
  EXPECT_EQ(parse_error("{\"a\": 1e\xFF}"),
            "c.json: line 1, column 9: syntax error while parsing value - invalid number; expected "
            "'+', '-', or digit after exponent");
  EXPECT_EQ(parse_error("{\"a\": 1e400}"), "c.json: line 1, column 11: number out of range");
  EXPECT_EQ(parse_error("{\"a\": 1,}").substr(0, 26), "c.json: line 1, column 9: ");
}

TEST(Fields, a_document_is_an_object) {
  EXPECT_EQ(parse_error("[1]"), "c.json: expected object, found list of 1");
  EXPECT_EQ(parse_error("null"), "c.json: expected object, found null");
}

TEST(Fields, a_key_given_twice_is_refused_by_its_path) {
  EXPECT_EQ(parse_error(R"({"a": 1, "b": 2, "a": 3})"), "c.json.a: key given twice");
  EXPECT_EQ(parse_error(R"({"x": [{}, {"y": {"k": {}, "k": 1}}]})"),
            "c.json.x[1].y.k: key given twice");
  EXPECT_EQ(parse_error(R"({"x": {"a": 1}, "y": {"a": 1}})"), "no error");
}

TEST(Fields, depth_is_bounded) {
  auto nested = [](int n) { return "{\"a\": " + std::string(n, '[') + std::string(n, ']') + "}"; };
  EXPECT_EQ(parse_error(nested(63)), "no error");
  EXPECT_EQ(parse_error(nested(64)), "c.json: nested deeper than 64 levels");
  EXPECT_EQ(parse_error(nested(1'000'000)), "c.json: nested deeper than 64 levels");
}

TEST(Fields, spaces_and_a_byte_order_mark_do_no_harm) {
  EXPECT_EQ(parse_error(std::string(100'000, ' ') + "{}"), "no error");
  EXPECT_EQ(parse_error("\xEF\xBB\xBF{}"), "no error");
}

TEST(Fields, infinity_is_read_only_where_it_is_meant) {
  Fields f = Fields::parse(
      R"({"a": [0.0, Infinity], "b": [-Infinity, {"__float__": "Infinity"}], "c": Infinity,
          "d": [NaN], "e": -Infinity, "text": "Infinity NaN \" -Infinity", "n": -5, "z": "\u0000"})");
  float inf = std::numeric_limits<float>::infinity();
  std::vector<float> v;
  f.may_unbounded("a", &v);
  EXPECT_EQ(v, (std::vector{0.0f, inf}));
  f.may_unbounded("b", &v);
  EXPECT_EQ(v, (std::vector{-inf, inf}));
  std::string text;
  int n;
  f.need("text", &text).need("n", &n);
  EXPECT_EQ(text, "Infinity NaN \" -Infinity");
  EXPECT_EQ(n, -5);
  float x;
  EXPECT_EQ(message_of<ConfigError>([&] { f.may("c", &x); }),
            "config.c: expected finite number, found Infinity");
  EXPECT_EQ(message_of<ConfigError>([&] { f.may("e", &x); }),
            "config.e: expected finite number, found -Infinity");
  EXPECT_EQ(message_of<ConfigError>([&] { f.may("c", &text); }),
            "config.c: expected string, found Infinity");
  EXPECT_EQ(message_of<ConfigError>([&] { f.may_unbounded("d", &v); }),
            "config.d[0]: expected finite number, found NaN");
  EXPECT_EQ(message_of<ConfigError>([&] { f.may_unbounded("n", &v); }),
            "config.n: expected list, found integer -5");
}

TEST(Fields, every_cut_of_a_document_is_an_error_and_no_crash) {
  std::string text = R"({"a": [1, {"b": -2.5e3}, "x\u00e9\"", NaN], "c": {"d": true, "e": null}})";
  ASSERT_EQ(parse_error(text), "no error");
  for (std::size_t n = 0; n < text.size(); ++n) {
    testing::ExactBytes cut(text.substr(0, n));
    std::string_view part(reinterpret_cast<const char*>(cut.span().data()), n);
    EXPECT_EQ(parse_error(part).substr(0, 13), "c.json: line ") << n;
  }
}

TEST(Fields, lists_what_was_asked_for_whether_there_or_not) {
  auto f = Fields::parse(R"({"a": 1, "inner": {"x": 2}, "skipped": 3, "never": 4})");
  int a = 0, x = 0, missing = 0;
  f.need("a", &a).may("missing", &missing).ignore("skipped");
  f.need_object("inner").need("x", &x).may("y", &missing);
  EXPECT_EQ(f.asked(), (std::vector<std::string>{"a", "inner", "inner.x", "inner.y", "missing"}));
  EXPECT_EQ(f.need_object("inner").asked(), (std::vector<std::string>{"x", "y"}));
}

}  // namespace
}  // namespace mlxcpp::io
