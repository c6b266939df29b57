// Headers of .npy files, and the archives that hold them.
#include "mlxcpp/io/npy.h"

#include "mlxcpp/base/error.h"
#include "tests/io/support.h"

#include <gtest/gtest.h>

namespace mlxcpp::io {
namespace {

using testing::Bytes;
using testing::ExactBytes;
using testing::message_of;
using testing::TempFolder;

/// A .npy file of version 1.0 with this header and so many bytes of data.
std::string npy(std::string_view header, size_t data_bytes, int major = 1, int minor = 0) {
  Bytes file;
  file.text("\x93NUMPY").put(char(major)).put(char(minor));
  if (major == 1)
    file.put(std::uint16_t(header.size()));
  else
    file.put(std::uint32_t(header.size()));
  return file.text(header).zeros(data_bytes).str();
}

Npy parse(const std::string& file) {
  ExactBytes exact(file);
  return Npy::parse(exact.span(), file.size(), "x");
}

std::string dict(std::string_view descr, std::string_view shape, bool fortran = false) {
  return "{'descr': '" + std::string(descr) +
         "', 'fortran_order': " + (fortran ? "True" : "False") +
         ", 'shape': " + std::string(shape) + ", }  \n";
}

std::string error_of(const std::string& file) {
  return message_of<WeightError>([&] { parse(file); });
}
std::string dict_error(const std::string& header, size_t data_bytes = 0) {
  return error_of(npy(header, data_bytes));
}

TEST(NpyHeader, of_each_version_tells_dtype_shape_and_place) {
  for (int version : {1, 2, 3}) {
    std::string header = dict("<f4", "(2, 3)");
    Npy n = parse(npy(header, 24, version));
    EXPECT_EQ(n.dtype, "float32");
    EXPECT_EQ(n.item_size, 4u);
    EXPECT_EQ(n.shape, (std::vector<std::int64_t>{2, 3}));
    EXPECT_FALSE(n.big_endian);
    EXPECT_FALSE(n.fortran_order);
    EXPECT_EQ(n.data_begin, header.size() + (version == 1 ? 10 : 12));
    EXPECT_EQ(n.data_bytes, 24u);
  }
}

TEST(NpyHeader, knows_numpys_names_of_types) {
  struct Case {
    const char *descr, *dtype;
    size_t size;
    bool big;
  };
  for (auto [descr, dtype, size, big] : {Case{"|b1", "bool", 1, false},
                                         Case{"|u1", "uint8", 1, false},
                                         Case{"|i1", "int8", 1, false},
                                         Case{"<u2", "uint16", 2, false},
                                         Case{">u4", "uint32", 4, true},
                                         Case{"<u8", "uint64", 8, false},
                                         Case{"<i2", "int16", 2, false},
                                         Case{">i4", "int32", 4, true},
                                         Case{"<i8", "int64", 8, false},
                                         Case{"<f2", "float16", 2, false},
                                         Case{">f4", "float32", 4, true},
                                         Case{"|V2", "bfloat16", 2, false}}) {
    Npy n = parse(npy(dict(descr, "(3,)"), 3 * size));
    EXPECT_EQ(n.dtype, dtype) << descr;
    EXPECT_EQ(n.item_size, size) << descr;
    EXPECT_EQ(n.big_endian, big) << descr;
  }
}

TEST(NpyHeader, takes_keys_in_any_order_and_either_quotes) {
  Npy n = parse(npy(R"({"shape": (), "fortran_order": True, 'descr': "<f2"})", 2));
  EXPECT_TRUE(n.shape.empty());
  EXPECT_TRUE(n.fortran_order);
  EXPECT_EQ(parse(npy(dict("<f4", "(0, 7)"), 0)).data_bytes, 0u);
}

TEST(NpyHeader, of_a_type_without_a_place_in_mlx_is_named) {
  for (auto descr : {"<f8", "|O", "<U4", "|f4", "=f4", "<c8", "", "|V3", "<M8[s]"})
    EXPECT_EQ(dict_error(dict(descr, "(1,)"), 8),
              "x: dtype not supported; expected f4, f2, V2 (bfloat16), an integer or b1, found \"" +
                  std::string(descr) + "\"");
}

TEST(NpyHeader, is_strict) {
  std::string wrong = "x: malformed .npy header; expected ";
  EXPECT_EQ(dict_error(dict("<f4", "(5)"), 20), wrong + "a tuple, such as (5,), found \", }  ?\"");
  EXPECT_EQ(dict_error(dict("<f4", "(-1,)")), wrong + "an extent, found \"-1,), }  ?\"");
  EXPECT_EQ(dict_error(dict("<f4", "(99999999999999999999,)")),
            wrong + "an extent, found \"99999999999999999999\"");
  EXPECT_EQ(dict_error(dict("<f4", "(1 2)")), wrong + "',' or ')', found \"2), }  ?\"");
  EXPECT_EQ(dict_error(dict("<f4", "(,)")), wrong + "an extent, found \",), }  ?\"");
  EXPECT_EQ(dict_error(dict("<f4", "[5]")), wrong + "'(', found \"[5], }  ?\"");
  EXPECT_EQ(dict_error(dict("<f4", "()") + "x", 4), wrong + "the end of the header, found \"x\"");
  EXPECT_EQ(dict_error("{'descr': '<f4', 'descr': '<f4'}"),
            wrong + "descr, fortran_order and shape, once each, found \" '<f4'}\"");
  EXPECT_EQ(dict_error("{'more': 1}"),
            wrong + "descr, fortran_order and shape, once each, found \" 1}\"");
  EXPECT_EQ(dict_error("{'descr': '<f4', 'shape': ()}", 4),
            wrong + "descr, fortran_order and shape, found its end");
  EXPECT_EQ(dict_error("{'fortran_order': 1}"), wrong + "True or False, found \"1}\"");
  EXPECT_EQ(dict_error("{'descr"), wrong + "a string, found \"'descr\"");
  EXPECT_EQ(dict_error(""), wrong + "'{', found its end");
  std::string many = "(";
  for (int i = 0; i < 33; ++i) many += "1, ";
  EXPECT_EQ(dict_error(dict("<f4", many + ")"), 4),
            wrong + "at most 32 extents, found \"1, ), }  ?\"");
}

TEST(NpyHeader, refuses_data_of_another_length_than_the_shape_says) {
  EXPECT_EQ(dict_error(dict("<f4", "(2,)"), 7),
            "x: data do not fit the shape; expected 8 bytes, found 7");
  EXPECT_EQ(dict_error(dict("<f4", "(2,)"), 9),
            "x: data do not fit the shape; expected 8 bytes, found 9");
  EXPECT_EQ(dict_error(dict("<f4", "(4611686018427387904, 4)"), 8),
            "x: data do not fit the shape; expected fewer bytes than 2^64, found 8");
}

TEST(NpyHeader, refuses_other_files_versions_and_lengths) {
  EXPECT_EQ(error_of("PK"), "x: not a .npy file; expected NumPy's magic bytes");
  EXPECT_EQ(error_of("\x93NUMPY\x01"), "x: not a .npy file; expected NumPy's magic bytes");
  for (auto [major, minor] : {std::pair(0, 0), {4, 0}, {1, 1}})
    EXPECT_EQ(error_of(npy(dict("<f4", "()"), 4, major, minor)),
              "x: .npy version not supported; expected 1.0, 2.0 or 3.0, found " +
                  std::to_string(major) + "." + std::to_string(minor));
  std::string cut = npy(dict("<f4", "()"), 0);
  EXPECT_TRUE(error_of(cut.substr(0, 20))
                  .starts_with("x: .npy header too long; expected at most 10 bytes, found "));
  EXPECT_EQ(error_of(npy(std::string(65537, ' '), 0, 2)),
            "x: .npy header too long; expected at most 65536 bytes, found 65537");
}

/// One member of an archive made by hand; a second length, method or flag is a lie.
struct Member {
  std::string name, bytes;
  std::uint16_t method = 0, flags = 0;
  std::uint32_t stated = UINT32_MAX;  // length unpacked, when it is not that of the bytes
  std::uint32_t sum_off = 0;
};

std::string zip(const std::vector<Member>& members) {
  Bytes all, directory;
  for (auto& m : members) {
    std::uint32_t at = std::uint32_t(all.str().size()), packed = std::uint32_t(m.bytes.size());
    std::uint32_t length = m.stated == UINT32_MAX ? packed : m.stated;
    ExactBytes exact(m.bytes);
    Bytes common;
    common.put(std::uint16_t(20)).put(m.flags).put(m.method).put(std::uint32_t(0));
    common.put(testing::crc32(exact.span()) + m.sum_off).put(packed).put(length);
    common.put(std::uint16_t(m.name.size())).put(std::uint16_t(0));
    all.text("PK\x03\x04").text(common.str()).text(m.name).text(m.bytes);
    directory.text("PK\x01\x02").put(std::uint16_t(20)).text(common.str());
    directory.put(std::uint16_t(0)).put(std::uint16_t(0)).put(std::uint16_t(0));
    directory.put(std::uint32_t(0)).put(at).text(m.name);
  }
  std::uint32_t at = std::uint32_t(all.str().size());
  auto count = std::uint16_t(members.size());
  all.text(directory.str()).text("PK\x05\x06").put(std::uint32_t(0)).put(count).put(count);
  all.put(std::uint32_t(directory.str().size())).put(at).put(std::uint16_t(0));
  return all.str();
}

const std::string kGood = npy(dict("|u1", "(3,)"), 3);

/// What opening and reading an archive says, without the folder.
std::string archive_error(const std::string& bytes) {
  TempFolder folder;
  auto path = folder.put("m.npz", bytes);
  std::string message = message_of<WeightError>([&] {
    auto npz = Npz::open(path);
    for (auto& m : npz.members()) npz.read(m);
  });
  return testing::replaced(message, folder.path().string() + "/", "");
}

TEST(Npz, of_numpy_stored_or_deflated_has_the_names_without_npy) {
  for (auto file : {"stored.npz", "deflated.npz"}) {
    auto npz = Npz::open(std::string(MLXCPP_TEST_DATA "/io/") + file);
    std::vector<std::string> names;
    for (auto& m : npz.members()) {
      names.push_back(m.name);
      EXPECT_EQ(npz.read(m).bytes.size(), m.bytes);
    }
    EXPECT_EQ(testing::joined(names),
              "f32,layers.0.f16,i64,u8,bool,scalar,empty,big_endian,big_i16,fortran,big_fortran,"
              "bf16");
  }
}

TEST(Npz, made_by_hand_is_read) {
  EXPECT_EQ(archive_error(zip({{"a.npy", kGood}, {"b.npy", kGood}})), "no error");
  EXPECT_EQ(archive_error(zip({})), "no error");
}

TEST(Npz, refuses_names_that_are_there_twice_and_files_of_another_kind) {
  EXPECT_EQ(archive_error(testing::slurp(MLXCPP_TEST_DATA "/io/twice.npz")),
            "m.npz: a member's name is there twice; found a");
  EXPECT_EQ(archive_error(testing::slurp(MLXCPP_TEST_DATA "/io/other_member.npz")),
            "m.npz: a member that is no .npy file; found notes.txt");
}

TEST(Npz, refuses_other_ways_of_packing) {
  for (std::uint16_t method : {9, 12, 14, 93})
    EXPECT_EQ(archive_error(zip({{"a.npy", kGood, method}})),
              "m.npz: a: packed in a way that is not supported; expected stored or deflated");
  EXPECT_EQ(archive_error(zip({{"a.npy", kGood, 0, 1}})),
            "m.npz: a: packed in a way that is not supported; expected stored or deflated");
}

TEST(Npz, refuses_sizes_that_its_bytes_cannot_have_before_it_allocates_them) {
  EXPECT_EQ(archive_error(zip({{"a.npy", kGood, 0, 0, 0xfffffff0}})),
            "m.npz: a: a size that its bytes cannot have; expected " +
                std::to_string(kGood.size()) +
                " packed bytes or fewer than that a thousandfold, found 4294967280");
  EXPECT_EQ(archive_error(zip({{"a.npy", "xx", 8, 0, 0xfffffff0}})),
            "m.npz: a: a size that its bytes cannot have; expected 2 packed bytes or fewer than "
            "that a thousandfold, found 4294967280");
}

TEST(Npz, refuses_damaged_members) {
  EXPECT_TRUE(archive_error(zip({{"a.npy", kGood, 0, 0, UINT32_MAX, 1}}))
                  .starts_with("m.npz: a: damaged archive"));
  EXPECT_TRUE(archive_error(zip({{"a.npy", "not deflated at all", 8, 0, 40}}))
                  .starts_with("m.npz: a: damaged archive"));
  EXPECT_EQ(archive_error(zip({{"a.npy", "short"}})),
            "m.npz: a: not a .npy file; expected NumPy's magic bytes");
  EXPECT_TRUE(archive_error("PK").starts_with("m.npz: damaged archive; found "));
  EXPECT_EQ(archive_error(""), "m.npz: not an archive; found no bytes");
}

TEST(Npz, cut_anywhere_or_with_any_byte_changed_gives_an_error_or_the_same_names) {
  std::string whole = testing::slurp(MLXCPP_TEST_DATA "/io/deflated.npz");
  for (size_t n = 0; n < whole.size(); n += 23) {
    EXPECT_NE(archive_error(whole.substr(0, n)), "no error") << n;
    std::string changed = whole;
    changed[n] = char(changed[n] ^ 0x5a);
    archive_error(changed);  // must end, and only by a WeightError
  }
}

TEST(Npz, must_be_a_file) {
  TempFolder folder;
  EXPECT_NE(message_of<IoError>([&] { Npz::open(folder / "none.npz"); }), "no error");
  EXPECT_NE(message_of<IoError>([&] { Npz::open(folder.path()); }), "no error");
}

}  // namespace
}  // namespace mlxcpp::io
