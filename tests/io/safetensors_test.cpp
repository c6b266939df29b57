#include "mlxcpp/io/safetensors.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/file.h"
#include "tests/io/support.h"

#include <gtest/gtest.h>

#include <limits>

namespace mlxcpp::io {
namespace {

using testing::Bytes;
using testing::ExactBytes;
using testing::message_of;

std::string file_of(std::string_view header, std::size_t data) {
  return Bytes().string(header).zeros(data).str();
}

std::string error_of(std::string_view header, std::size_t data) {
  ExactBytes exact(file_of(header, data));
  return message_of<WeightError>([&] { Safetensors::parse(exact.span(), "x"); });
}

std::string bytes_error(const std::string& bytes) {
  ExactBytes exact(bytes);
  return message_of<WeightError>([&] { Safetensors::parse(exact.span(), "x"); });
}

TEST(Safetensors, reads_what_the_reference_writer_wrote) {
  auto file = Safetensors::open(MLXCPP_TEST_DATA "/io/small.safetensors");
  std::vector<std::string> lines;
  for (const auto& t : file.tensors) {
    lines.push_back(t.name + " " + std::string(t.dtype) + " [" + testing::joined(t.shape) + "] " +
                    std::to_string(testing::crc32(file.bytes(t))) + "\n");
  }
  std::sort(lines.begin(), lines.end());
  std::string all;
  for (const auto& line : lines) all += line;
  EXPECT_EQ(all, testing::slurp(MLXCPP_TEST_DATA "/io/small.safetensors.txt"));
  EXPECT_EQ(file.metadata,
            (std::map<std::string, std::string>{{"format", "np"}, {"note", "ß \"quoted\""}}));
}

TEST(Safetensors, tensors_are_sorted_by_their_place) {
  ExactBytes exact(file_of(R"({"b": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},
                               "a": {"data_offsets": [2, 3], "shape": [], "dtype": "BOOL"}}  )",
                           3));
  auto file = Safetensors::parse(exact.span(), "x");
  ASSERT_EQ(file.tensors.size(), 2u);
  EXPECT_EQ(file.tensors[0].name, "b");
  EXPECT_EQ(file.bytes(file.tensors[1]).data(), exact.span().data() + exact.span().size() - 1);
}

TEST(Safetensors, no_tensors_are_fine) {
  EXPECT_EQ(error_of("{}", 0), "no error");
  EXPECT_EQ(error_of(R"({"__metadata__": {}})", 0), "no error");
}

TEST(Safetensors, widths_of_all_dtypes_are_the_formats) {
  for (auto [name, bits] :
       {std::pair("F4", 4), {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"BOOL", 8},    {"U8", 8},
        {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
        {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
        {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
        {"I64", 64},        {"U64", 64},    {"F33", 0}})
    EXPECT_EQ(bits_of_dtype(name), bits) << name;
}

TEST(Safetensors, header_length_is_bounded_by_the_file_and_by_the_format) {
  EXPECT_EQ(bytes_error(""), "x: not a safetensors file; expected at least 8 bytes, found 0");
  EXPECT_EQ(bytes_error("1234567"),
            "x: not a safetensors file; expected at least 8 bytes, found 7");
  EXPECT_EQ(bytes_error(Bytes().put<std::uint64_t>(3).text("{}").str()),
            "x: bad header length; expected at most 2 bytes, found 3");
  EXPECT_EQ(bytes_error(Bytes().put(std::uint64_t{1} << 60).text("{}").str()),
            "x: bad header length; expected at most 2 bytes, found 1152921504606846976");
  EXPECT_EQ(bytes_error(Bytes().put(std::uint64_t{0}).text("{}").str()),
            "x: not a safetensors file: its header does not begin with {");
  EXPECT_EQ(error_of(" {}", 0), "x: not a safetensors file: its header does not begin with {");
}

TEST(Safetensors, a_header_above_the_formats_limit_is_refused_though_the_file_is_that_long) {
  testing::TempFolder folder;
  auto path = folder.put("big", Bytes().put<std::uint64_t>(100'000'001).str());
  std::filesystem::resize_file(path, 100'000'100);  // sparse
  EXPECT_EQ(
      message_of<WeightError>([&] { Safetensors::open(path); }),
      path.string() + ": bad header length; expected at most 100000000 bytes, found 100000001");
}

constexpr std::string_view kGood = R"("dtype": "F32", "shape": [2], "data_offsets": [0, 8])";

std::string tensor_error(std::string_view body, std::size_t data = 8) {
  return error_of("{\"t\": {" + std::string(body) + "}}", data);
}

TEST(Safetensors, bad_headers_are_named) {
  EXPECT_EQ(tensor_error(kGood), "no error");
  EXPECT_EQ(error_of("{\"t\": ", 0), "x: the header is not JSON at byte 6");
  EXPECT_EQ(error_of("{} x", 0), "x: the header is not JSON at byte 3");
  EXPECT_EQ(error_of("{\"\xFF\": 1}", 0), "x: the header is not JSON at byte 2");
  EXPECT_EQ(error_of("{\"t\": 1}", 0), "x: tensor t: bad header; expected object, found number");
  EXPECT_EQ(error_of("{\"t\": []}", 0), "x: tensor t: bad header; expected object, found list");
  EXPECT_EQ(error_of("{\"t\": null}", 0), "x: tensor t: bad header; expected object, found null");
  EXPECT_EQ(tensor_error(R"("dtype": 1)"),
            "x: tensor t: bad header; expected string, found number");
  EXPECT_EQ(tensor_error(R"("dtype": "F33")"), "x: tensor t: unknown dtype F33");
  EXPECT_EQ(tensor_error(R"("shape": 3)"), "x: tensor t: bad header; expected list, found number");
  EXPECT_EQ(tensor_error(R"("shape": {})"), "x: tensor t: bad header; expected list, found object");
  EXPECT_EQ(tensor_error(R"("dtype": {})"),
            "x: tensor t: bad header; expected string, found object");
  EXPECT_EQ(tensor_error(R"("shape": [{}])"),
            "x: tensor t: bad header; expected number of at least 0, found object");
  EXPECT_EQ(error_of(R"({"__metadata__": {"a": {}}})", 0),
            "x: __metadata__.a: bad header; expected string, found object");
  EXPECT_EQ(tensor_error(R"("shape": [-1])"),
            "x: tensor t: bad header; expected number of at least 0, found number -1");
  EXPECT_EQ(tensor_error(R"("shape": [1.5])"),
            "x: tensor t: bad header; expected number of at least 0, found fraction");
  EXPECT_EQ(tensor_error(R"("shape": [[1]])"),
            "x: tensor t: bad header; expected number of at least 0, found list");
  EXPECT_EQ(tensor_error(R"("shape": [9223372036854775808])"),
            "x: tensor t: number too large; expected below 2^63, found 9223372036854775808");
  EXPECT_EQ(tensor_error(R"("data_offsets": [0])"),
            "x: tensor t: bad data_offsets; expected two numbers, found 1");
  EXPECT_EQ(tensor_error(R"("data_offsets": [0, 1, 2])"),
            "x: tensor t: bad data_offsets; expected two numbers, found 3");
  EXPECT_EQ(tensor_error(R"("strides": [1])"),
            "x: tensor t: unknown key; expected dtype, shape, data_offsets, found strides");
  EXPECT_EQ(tensor_error(R"("dtype": "F32", "shape": [2])"),
            "x: tensor t: incomplete; expected dtype, shape, data_offsets");
  EXPECT_EQ(tensor_error(R"("dtype": "F32", "dtype": "F32")"), "x: tensor t: dtype given twice");
  EXPECT_EQ(
      error_of("{\"t\": {" + std::string(kGood) + "}, \"t\": {" + std::string(kGood) + "}}", 8),
      "x: tensor t: name given twice");
  EXPECT_EQ(error_of(R"({"__metadata__": {"a": 1}})", 0),
            "x: __metadata__.a: bad header; expected string, found number");
  EXPECT_EQ(error_of(R"({"__metadata__": {"a": "1", "a": "2"}})", 0),
            "x: __metadata__.a: key given twice");
  EXPECT_EQ(error_of(R"({"__metadata__": "a"})", 0),
            "x: __metadata__: bad header; expected object, found string");
  std::string many = "1";
  for (int i = 0; i < 32; ++i) many += ",1";
  EXPECT_EQ(tensor_error("\"shape\": [" + many + "]"),
            "x: tensor t: too many dimensions; expected at most 32");
  EXPECT_EQ(error_of("{\"t\": " + std::string(1'000'000, '['), 0),
            "x: tensor t: bad header; expected object, found list");
}

TEST(Safetensors, places_must_fit_shape_and_file) {
  auto at = [](std::string_view shape, std::string_view offsets, std::size_t data = 8) {
    return tensor_error("\"dtype\": \"F32\", \"shape\": " + std::string(shape) +
                            ", \"data_offsets\": " + std::string(offsets),
                        data);
  };
  EXPECT_EQ(at("[0]", "[0, 0]", 0), "no error");
  EXPECT_EQ(at("[3]", "[0, 8]"),
            "x: tensor t: shape and data_offsets disagree; expected 12 bytes, found 8");
  EXPECT_EQ(at("[2]", "[0, 8]", 7),
            "x: tensor t: lies beyond the end of the file; expected within 7 bytes, found 0 to 8");
  EXPECT_EQ(at("[2]", "[8, 0]"),
            "x: tensor t: lies beyond the end of the file; expected within 8 bytes, found 8 to 0");
  EXPECT_EQ(at("[4611686018427387904, 4]", "[0, 8]"),
            "x: tensor t: its size is not a number of bytes below 2^64");
  EXPECT_EQ(at("[2]", "[0, 8]", 9),
            "x: bytes after the last tensor; expected 8 bytes of data, found 9");
  EXPECT_EQ(at("[2]", "[4, 12]", 12),
            "x: tensor t: leaves a hole before; expected begin at 0, found 4");
  EXPECT_EQ(tensor_error(R"("dtype": "F4", "shape": [3], "data_offsets": [0, 1])", 1),
            "x: tensor t: its size is not a number of bytes below 2^64");
  EXPECT_EQ(tensor_error(R"("dtype": "F4", "shape": [4], "data_offsets": [0, 2])", 2), "no error");
}

TEST(Safetensors, tensors_do_not_overlap) {
  EXPECT_EQ(error_of(R"({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                         "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}})",
                     6),
            "x: tensor b: overlaps another tensor; expected begin at 4, found 2");
}

TEST(Safetensors, every_cut_of_a_file_is_an_error_and_no_crash) {
  std::string file = testing::slurp(MLXCPP_TEST_DATA "/io/small.safetensors");
  ASSERT_EQ(bytes_error(file), "no error");
  for (std::size_t n = 0; n < file.size(); ++n)
    EXPECT_NE(bytes_error(file.substr(0, n)), "no error") << n;
}

TEST(Safetensors, every_changed_byte_is_read_or_refused_without_a_crash) {
  std::string file = testing::slurp(MLXCPP_TEST_DATA "/io/small.safetensors");
  for (std::size_t i = 0; i < file.size(); ++i)
    for (char value : {'\x00', '"', '9', '}', '\xFF'}) {
      std::string changed = file;
      changed[i] = value;
      bytes_error(changed);
    }
}

}  // namespace
}  // namespace mlxcpp::io
