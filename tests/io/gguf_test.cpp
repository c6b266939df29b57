#include "mlxcpp/io/gguf.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/file.h"
#include "tests/io/support.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>

namespace mlxcpp::io {
namespace {

using testing::Bytes;
using testing::ExactBytes;
using testing::message_of;

constexpr std::uint64_t kHuge = std::uint64_t{1} << 60;

std::string error_of(const std::string& bytes) {
  ExactBytes exact(bytes);
  return message_of<WeightError>([&] { Gguf::parse(exact.span(), "x.gguf"); });
}

Bytes header(std::uint64_t tensors, std::uint64_t entries, std::uint32_t version = 3) {
  return Bytes().text("GGUF").put(version).put(tensors).put(entries);
}

enum : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kList,
  kU64,
  kI64,
  kF64
};

// name, dims, type, offset
Bytes& tensor(Bytes& b,
              std::string_view name,
              std::vector<std::uint64_t> dims,
              std::uint32_t type,
              std::uint64_t offset) {
  b.string(name).put<std::uint32_t>(static_cast<std::uint32_t>(dims.size()));
  for (auto d : dims) b.put(d);
  return b.put(type).put(offset);
}

// Two F32 tensors of 8 elements at 0 and 32, a key of each kind that has a length.
std::string small_file() {
  Bytes b = header(2, 4);
  b.string("a").put(kU32).put<std::uint32_t>(7);
  b.string("s").put(kString).string("text");
  b.string("l").put(kList).put(kString).put<std::uint64_t>(2).string("x").string("yz");
  b.string("n").put(kList).put(kF32).put<std::uint64_t>(2).put(0.5f).put(1.5f);
  tensor(b, "t0", {4, 2}, 0, 0);
  tensor(b, "t1", {8}, 0, 32);
  return b.align(32).zeros(64).str();
}

TEST(Gguf, reads_what_the_reference_writer_wrote) {
  Gguf g = Gguf::open(MLXCPP_TEST_DATA "/io/typed.gguf");
  EXPECT_EQ(g.version(), 3u);
  EXPECT_EQ(g.alignment(), 64u);
  EXPECT_EQ(g.need<std::string>("general.architecture"), "llama");
  EXPECT_EQ(g.need<int>("t.uint8"), 200);
  EXPECT_EQ(g.need<int>("t.int8"), -100);
  EXPECT_EQ(g.need<int>("t.uint16"), 60000);
  EXPECT_EQ(g.need<int>("t.int16"), -30000);
  EXPECT_EQ(g.need<std::uint32_t>("t.uint32"), 4000000000u);
  EXPECT_EQ(g.need<std::int64_t>("t.uint32"), 4000000000);
  EXPECT_EQ(g.need<int>("t.int32"), -2000000000);
  EXPECT_EQ(g.need<float>("t.float32"), 0.1f);
  EXPECT_EQ(g.need<bool>("t.bool"), true);
  EXPECT_EQ(g.need<std::string>("t.string"), "grüße 🌍");
  EXPECT_EQ(g.need<std::uint64_t>("t.uint64"), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(g.need<std::int64_t>("t.int64"), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(g.need<double>("t.float64"), 0.1);
  EXPECT_EQ(g.need<std::vector<std::string>>("t.strings"),
            (std::vector<std::string>{"a", "", "ß"}));
  EXPECT_EQ(g.need<std::vector<std::string_view>>("t.strings").size(), 3u);
  EXPECT_EQ(g.need<std::vector<int>>("t.ints"), (std::vector{1, -2, 3}));
  EXPECT_EQ(g.need<std::vector<float>>("t.floats"), (std::vector{0.5f, -1.25f}));
  EXPECT_EQ(g.need<std::vector<bool>>("t.bools"), (std::vector{true, false, true}));
}

TEST(Gguf, finds_the_tensors_that_the_reference_reader_finds) {
  Gguf g = Gguf::open(MLXCPP_TEST_DATA "/io/typed.gguf");
  std::string lines;
  for (const GgufTensor& t : g.tensors()) {
    lines += std::string(t.name) + " " + std::string(name_of(t.type)) + " " +
             testing::joined(t.dims) + " " + std::to_string(t.bytes.size()) + " " +
             std::to_string(testing::crc32(t.bytes)) + "\n";
  }
  EXPECT_EQ(lines, testing::slurp(MLXCPP_TEST_DATA "/io/typed.gguf.txt"));
  ASSERT_NE(g.find_tensor("f32"), nullptr);
  EXPECT_EQ(g.find_tensor("f32")->shape, (std::vector<std::int64_t>{2, 3, 5}));
  EXPECT_EQ(g.find_tensor("none"), nullptr);
}

TEST(Gguf, block_sizes_of_all_types_are_ggmls) {
  std::istringstream table(testing::slurp(MLXCPP_TEST_DATA "/io/ggml_types.txt"));
  std::uint32_t id, block, bytes;
  std::string name;
  int rows = 0;
  while (table >> id >> name >> block >> bytes) {
    if (name == "Q8_1") bytes = 36;  // the Python table says 40; ggml's block_q8_1 has 2 * 2 + 32
    const GgmlTypeInfo* info = find_ggml_type(id);
    ASSERT_NE(info, nullptr) << name;
    EXPECT_EQ(info->name, name);
    EXPECT_EQ(info->block_size, block) << name;
    EXPECT_EQ(info->block_bytes, bytes) << name;
    ++rows;
  }
  EXPECT_EQ(rows, 34);
  for (std::uint32_t gone : {4, 5, 31, 32, 33, 36, 37, 38, 1000})
    EXPECT_EQ(find_ggml_type(gone), nullptr) << gone;
}

TEST(Gguf, tensors_keep_the_file_through_its_pointer) {
  testing::TempFolder folder;
  std::shared_ptr<const MappedFile> keep;
  std::span<const std::byte> bytes;
  {
    Gguf g = Gguf::open(folder.put("a.gguf", small_file()));
    keep = g.file();
    bytes = g.tensors()[1].bytes;
  }
  EXPECT_EQ(bytes.size(), 32u);
  EXPECT_EQ(testing::crc32(bytes), testing::crc32(ExactBytes(std::string(32, '\0')).span()));
}

TEST(Gguf, version_two_is_read_and_others_are_named) {
  EXPECT_EQ(error_of(header(0, 0, 2).str()), "no error");
  EXPECT_EQ(error_of(header(0, 0, 1).str()),
            "x.gguf: version: not supported; expected 2 or 3, found 1");
  EXPECT_EQ(error_of(header(0, 0, 4).str()),
            "x.gguf: version: not supported; expected 2 or 3, found 4");
  EXPECT_EQ(error_of(header(0, 0, 0x03000000).str()),
            "x.gguf: version: not supported; expected 2 or 3, found a big-endian file");
}

TEST(Gguf, other_files_are_not_gguf) {
  EXPECT_EQ(error_of(""), "x.gguf: not a GGUF file");
  EXPECT_EQ(error_of("GGU"), "x.gguf: not a GGUF file");
  EXPECT_EQ(error_of("{\"a\": 1}"), "x.gguf: not a GGUF file");
}

TEST(Gguf, counts_are_bounded_by_what_the_file_can_hold) {
  EXPECT_EQ(error_of(header(0, kHuge).zeros(130).str()),
            "x.gguf: metadata count: more than the file can hold; expected at most 10, found "
            "1152921504606846976");
  EXPECT_EQ(error_of(header(kHuge, 0).zeros(40).str()),
            "x.gguf: tensor count: more than the file can hold; expected at most 2, found "
            "1152921504606846976");
  EXPECT_EQ(error_of(header(0, 1).string("k").put(kList).put(kString).put(kHuge).zeros(80).str()),
            "x.gguf: metadata k: more than the file can hold; expected at most 10, found "
            "1152921504606846976");
  EXPECT_EQ(error_of(header(0, 1).string("k").put(kList).put(kU32).put(kHuge).zeros(80).str()),
            "x.gguf: metadata k: more than the file can hold; expected at most 20, found "
            "1152921504606846976");
  EXPECT_EQ(error_of(header(0, 1).string("k").put(kString).put(kHuge).zeros(80).str()),
            "x.gguf: metadata k: truncated; expected 1152921504606846976 bytes, found 80");
  EXPECT_EQ(error_of(header(0, 1).put(kHuge).zeros(80).str()),
            "x.gguf: metadata 0: truncated; expected 1152921504606846976 bytes, found 80");
}

TEST(Gguf, bad_metadata_is_named) {
  auto entry = [] { return header(0, 1).string("k"); };
  EXPECT_EQ(error_of(entry().put<std::uint32_t>(13).zeros(8).str()),
            "x.gguf: metadata k: unknown value type; expected 0 to 12, found 13");
  EXPECT_EQ(error_of(entry().put(kBool).put<std::uint8_t>(2).str()),
            "x.gguf: metadata k: not a boolean; expected 0 or 1, found 2");
  EXPECT_EQ(error_of(entry().put(kList).put(kBool).put<std::uint64_t>(2).text("\1\3").str()),
            "x.gguf: metadata k: not a boolean; expected 0 or 1, found 3");
  EXPECT_EQ(error_of(entry().put(kList).put(kList).put<std::uint64_t>(1).zeros(20).str()),
            "x.gguf: metadata k: a list of lists is not supported");
  EXPECT_EQ(error_of(entry().put(kList).put<std::uint32_t>(99).put<std::uint64_t>(1).str()),
            "x.gguf: metadata k: unknown element type; expected 0 to 12, found 99");
  EXPECT_EQ(error_of(header(0, 1).string("").zeros(20).str()),
            "x.gguf: metadata 0: bad name; expected 1 to 65535 bytes, found 0");
  EXPECT_EQ(error_of(header(0, 1).string(std::string(65536, 'k')).zeros(20).str()),
            "x.gguf: metadata 0: bad name; expected 1 to 65535 bytes, found 65536");
  EXPECT_EQ(error_of(header(0, 1).string("\xFF").zeros(20).str()),
            "x.gguf: metadata 0: the name is not UTF-8");
  EXPECT_EQ(
      error_of(header(0, 2).string("k").put(kU8).zeros(1).string("k").put(kU8).zeros(1).str()),
      "x.gguf: metadata k: key given twice");
}

std::string with_alignment(std::uint32_t alignment) {
  return header(0, 1).string("general.alignment").put(kU32).put(alignment).str();
}

TEST(Gguf, alignment_is_a_power_of_two) {
  EXPECT_EQ(error_of(with_alignment(64)), "no error");
  EXPECT_EQ(error_of(with_alignment(0x80000000)), "no error");
  EXPECT_EQ(error_of(with_alignment(0)),
            "x.gguf: metadata general.alignment: bad value; expected a power of two, found 0");
  EXPECT_EQ(error_of(with_alignment(24)),
            "x.gguf: metadata general.alignment: bad value; expected a power of two, found 24");
  EXPECT_EQ(error_of(header(0, 1).string("general.alignment").put(kString).string("x").str()),
            "x.gguf: metadata general.alignment: expected integer, found string \"x\"");
}

TEST(Gguf, data_starts_at_the_files_own_alignment) {
  Bytes b = header(1, 1);
  b.string("general.alignment").put(kU32).put<std::uint32_t>(128);
  tensor(b, "t", {1}, 24, 0);
  ASSERT_EQ(b.str().size(), 90u);  // 96 would be the usual alignment's
  ExactBytes exact(b.align(128).text("!").str());
  Gguf g = Gguf::parse(exact.span());
  EXPECT_EQ(g.find_tensor("t")->bytes[0], std::byte{'!'});
}

// A file with this one tensor and 64 bytes of data.
std::string one_tensor(std::vector<std::uint64_t> dims, std::uint32_t type, std::uint64_t offset) {
  Bytes b = header(1, 0);
  return tensor(b, "t", std::move(dims), type, offset).align(32).zeros(64).str();
}

TEST(Gguf, bad_tensors_are_named) {
  EXPECT_EQ(error_of(one_tensor({16}, 0, 0)), "no error");
  EXPECT_EQ(error_of(one_tensor({}, 0, 0)), "no error");
  EXPECT_EQ(error_of(one_tensor({16}, 4, 0)), "x.gguf: tensor t: unknown tensor type 4");
  EXPECT_EQ(error_of(one_tensor({16, 0}, 0, 0)),
            "x.gguf: tensor t: bad dimension; expected at least 1 and below 2^63, found 0");
  EXPECT_EQ(error_of(one_tensor({std::uint64_t{1} << 63}, 0, 0)),
            "x.gguf: tensor t: bad dimension; expected at least 1 and below 2^63, found "
            "9223372036854775808");
  EXPECT_EQ(error_of(one_tensor({kHuge, kHuge}, 0, 0)),
            "x.gguf: tensor t: its size does not fit 64 bits");
  EXPECT_EQ(
      error_of(one_tensor({48}, 2, 0)),
      "x.gguf: tensor t: rows do not fill blocks of Q4_0; expected a multiple of 32, found 48");
  EXPECT_EQ(error_of(one_tensor({1, 1, 1, 1, 1, 1, 1, 1, 1}, 0, 0)),
            "x.gguf: tensor t: too many dimensions; expected at most 8, found 9");
  EXPECT_EQ(error_of(one_tensor({4}, 0, 8)),
            "x.gguf: tensor t: bad offset; expected a multiple of 32, found 8");
  EXPECT_EQ(error_of(one_tensor({17}, 0, 0)),
            "x.gguf: tensor t: lies beyond the end of the file; expected 68 bytes at 0, found 64 "
            "bytes of data");
  EXPECT_EQ(error_of(one_tensor({16}, 0, 64)),
            "x.gguf: tensor t: lies beyond the end of the file; expected 64 bytes at 64, found 64 "
            "bytes of data");
  EXPECT_EQ(error_of(one_tensor({16}, 0, std::numeric_limits<std::uint64_t>::max() - 31)),
            "x.gguf: tensor t: lies beyond the end of the file; expected 64 bytes at "
            "18446744073709551584, found 64 bytes of data");
}

TEST(Gguf, tensors_do_not_overlap_or_share_a_name) {
  Bytes overlap = header(2, 0);
  tensor(overlap, "a", {16}, 0, 0);
  tensor(overlap, "b", {8}, 0, 32);
  EXPECT_EQ(error_of(overlap.align(32).zeros(64).str()), "x.gguf: tensor b: overlaps tensor a");
  Bytes twice = header(2, 0);
  tensor(twice, "a", {8}, 0, 0);
  tensor(twice, "a", {8}, 0, 32);
  EXPECT_EQ(error_of(twice.align(32).zeros(64).str()), "x.gguf: tensor a: name given twice");
}

TEST(Gguf, values_of_another_kind_are_named) {
  Bytes b = header(0, 6);
  b.string("s").put(kString).string("x");
  b.string("f").put(kF32).put(1.5f);
  b.string("big").put(kU64).put(kHuge);
  b.string("nan").put(kF32).put(std::numeric_limits<float>::quiet_NaN());
  b.string("list").put(kList).put(kI64).put<std::uint64_t>(2).put<std::int64_t>(1).put(kHuge);
  b.string("bad").put(kString).string("\xFF");
  ExactBytes exact(b.str());
  Gguf g = Gguf::parse(exact.span(), "x.gguf");
  auto error = [](auto call) { return message_of<WeightError>(call); };
  EXPECT_EQ(error([&] { g.find<int>("s"); }),
            "x.gguf: metadata s: expected integer, found string \"x\"");
  EXPECT_EQ(error([&] { g.find<float>("s"); }),
            "x.gguf: metadata s: expected number, found string \"x\"");
  EXPECT_EQ(error([&] { g.find<bool>("f"); }),
            "x.gguf: metadata f: expected boolean, found number 1.5");
  EXPECT_EQ(error([&] { g.find<int>("f"); }),
            "x.gguf: metadata f: expected integer, found number 1.5");
  EXPECT_EQ(error([&] { g.find<std::string>("f"); }),
            "x.gguf: metadata f: expected string, found number 1.5");
  EXPECT_EQ(error([&] { g.find<int>("big"); }),
            "x.gguf: metadata big: expected integer from -2147483648 to 2147483647, found integer "
            "1152921504606846976");
  EXPECT_EQ(error([&] { g.find<float>("nan"); }),
            "x.gguf: metadata nan: expected finite number, found NaN");
  EXPECT_EQ(error([&] { g.find<std::vector<int>>("list"); }),
            "x.gguf: metadata list[1]: expected integer from -2147483648 to 2147483647, found "
            "integer 1152921504606846976");
  EXPECT_EQ(error([&] { g.find<std::vector<std::string>>("list"); }),
            "x.gguf: metadata list[0]: expected string, found integer 1");
  EXPECT_EQ(error([&] { g.find<std::vector<int>>("s"); }),
            "x.gguf: metadata s: expected list, found string \"x\"");
  EXPECT_EQ(error([&] { g.find<int>("list"); }),
            "x.gguf: metadata list: expected integer, found list of 2 numbers");
  EXPECT_EQ(error([&] { g.find<std::string>("bad"); }),
            "x.gguf: metadata bad: expected UTF-8, found string \"\uFFFD\"");
  EXPECT_EQ(g.find<std::string_view>("bad"), "\xFF");
  EXPECT_EQ(g.need<float>("big"), 1152921504606846976.0f);
  EXPECT_EQ(g.find<int>("absent"), std::nullopt);
  EXPECT_FALSE(g.has("absent"));
  EXPECT_EQ(error([&] { g.need<int>("absent"); }), "x.gguf: metadata absent: missing");
}

TEST(Gguf, every_cut_of_a_file_is_an_error_and_no_crash) {
  std::string file = small_file();
  ASSERT_EQ(error_of(file), "no error");
  for (std::size_t n = 0; n < file.size(); ++n)
    EXPECT_NE(error_of(file.substr(0, n)), "no error") << n;
}

TEST(Gguf, every_changed_byte_is_read_or_refused_without_a_crash) {
  std::string file = small_file();
  for (std::size_t i = 0; i + 64 < file.size(); ++i)
    for (char value : {'\x00', '\x01', '\x7F', '\x80', '\xFF'}) {
      std::string changed = file;
      changed[i] = value;
      error_of(changed);
    }
}

}  // namespace
}  // namespace mlxcpp::io
