#include "tensor/npy.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "base/testing/temp_folder.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::read_bytes;
using test::TempFolder;

const fs::path kCorpus = fs::path(LOCKSTEP_SOURCE_DIR) / "tests/corpus/npy";

std::vector<double> elements(const View& view) {
  std::vector<double> out;
  for (int64_t i = 0; i < view.elements(); ++i) {
    out.push_back(load_element(view.data, view.dtype, i));
  }
  return out;
}

// What each malformed file of the corpus is refused for.
const std::map<std::string, std::string> kRefusals = {
    {"bad_empty", "found no bytes"},
    {"bad_magic_only", "begin with \\x93NUMPY and a version"},
    {"bad_magic", "begin with \\x93NUMPY and a version, found \"\x93NUMPX"},
    {"bad_no_length", "header of at least 10 bytes, found 9"},
    {"bad_no_length_2", "header of at least 12 bytes, found 11"},
    {"bad_version_0", "expected npy version 1.0, 2.0 or 3.0, found 0.0"},
    {"bad_version_1_1", "found 1.1"},
    {"bad_version_4", "found 4.0"},
    {"bad_header_beyond_file", "npy header: expected 60000 bytes, found"},
    {"bad_header_huge", "npy header: expected 4294967295 bytes"},
    {"bad_header_empty", "expected '{', found the end"},
    {"bad_no_brace", "expected '{', found \"'descr'"},
    {"bad_unclosed", "found"},
    {"bad_after_brace", "nothing after the closing brace, found \"x\""},
    {"bad_no_descr", "expected a key descr, found none"},
    {"bad_no_shape", "expected a key shape, found none"},
    {"bad_no_order", "expected a key fortran_order, found none"},
    {"bad_extra_key", "found \"x\""},
    {"bad_key_twice", "found \"descr\" twice"},
    {"bad_key_number", "expected a key in quotes, found \"3: 4}\""},
    {"bad_unclosed_quote", "expected"},
    {"bad_big_endian", "expected little-endian data, found \">f4\""},
    {"bad_bfloat16", "numpy has no bfloat16"},
    {"bad_complex", "found \"<c8\""},
    {"bad_object", "found \"|O\""},
    {"bad_no_byte_order", "found \"f4\""},
    {"bad_empty_descr", "found \"\""},
    {"bad_structured", "found a structured type"},
    {"bad_order_word", "expected fortran_order to be True or False, found \"None"},
    {"bad_shape_list", "expected '(', found \"[2]"},
    {"bad_shape_negative", "expected shape to be sizes from 0 to 2^63-1, found \"-2"},
    {"bad_shape_overflow", "product fits in 64 bits, found (4611686018427387904, 4)"},
    {"bad_shape_overflow_with_zero", "product fits in 64 bits"},
    {"bad_shape_beyond_int64", "found \"9223372036854775808"},
    {"bad_shape_no_comma", "expected ',', found \"3)"},
    {"bad_rank_7", "expected at most 6 dimensions"},
    {"bad_short_data", "expected 8 bytes for float32[2], found 7"},
    {"bad_long_data", "expected 8 bytes for float32[2], found 9"},
};

TEST(NpyCorpus, EveryFileIsReadOrRefusedWithItsReason) {
  size_t refused = 0;
  for (const fs::directory_entry& file : fs::directory_iterator(kCorpus)) {
    const std::string name = file.path().stem().string();
    const auto error = error_of([&] { read_npy(file.path()); });
    if (name.starts_with("ok_")) {
      EXPECT_FALSE(error.has_value()) << name << ": " << error->message();
      continue;
    }
    // A name of neither kind is a fuzzer's: an Error or none, and no crash, is all it promises.
    if (!name.starts_with("bad_")) continue;
    ++refused;
    ASSERT_TRUE(error.has_value()) << name;
    EXPECT_EQ(error->code(), ErrorCode::kInvalidArgument) << name;
    EXPECT_NE(error->message().find(file.path().string() + ": "), std::string::npos);
    ASSERT_TRUE(kRefusals.contains(name)) << name << ": " << error->message();
    EXPECT_NE(error->message().find(kRefusals.at(name)), std::string::npos)
        << name << ": " << error->message();
  }
  EXPECT_EQ(refused, kRefusals.size());
}

TEST(Npy, ReadsEveryTypeOfNumpy) {
  for (const char* name : {"bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64",
                           "int64", "float16", "float32", "float64"}) {
    const Tensor tensor = read_npy(kCorpus / (std::string("ok_") + name + ".npy"));
    EXPECT_EQ(to_string(tensor.view()), std::string(name) + "[2, 3]");
    const std::vector<double> expected = tensor.view().dtype == DType::kBool
                                             ? std::vector<double>{0, 1, 1, 1, 1, 1}
                                             : std::vector<double>{0, 1, 2, 3, 4, 5};
    EXPECT_EQ(elements(tensor.view()), expected) << name;
  }
}

TEST(Npy, TransposesFortranOrder) {
  const Tensor tensor = read_npy(kCorpus / "ok_fortran.npy");
  EXPECT_EQ(to_string(tensor.view()), "float32[2, 3]");
  EXPECT_EQ(elements(tensor.view()), (std::vector<double>{0, 1, 2, 3, 4, 5}));
}

TEST(Npy, ReadsScalarsAndEmptyArrays) {
  EXPECT_EQ(elements(read_npy(kCorpus / "ok_scalar.npy").view()), (std::vector<double>{3.5}));
  EXPECT_EQ(to_string(read_npy(kCorpus / "ok_empty.npy").view()), "float32[0, 4]");
}

TEST(Npy, WritesWhatItReads) {
  const TempFolder folder;
  for (const fs::directory_entry& file : fs::directory_iterator(kCorpus)) {
    if (!file.path().stem().string().starts_with("ok_")) continue;
    const Tensor before = read_npy(file.path());
    write_npy(folder / "copy.npy", before.view());
    const Tensor after = read_npy(folder / "copy.npy");
    EXPECT_EQ(to_string(after.view()), to_string(before.view()));
    EXPECT_EQ(elements(after.view()), elements(before.view())) << file.path();
  }
}

TEST(Npy, WritesTheBytesThatNumpyWrites) {
  const TempFolder folder;
  for (const char* name : {"ok_float32", "ok_scalar", "ok_rank_6", "ok_empty"}) {
    const fs::path file = kCorpus / (std::string(name) + ".npy");
    write_npy(folder / "copy.npy", read_npy(file).view());
    EXPECT_EQ(read_bytes(folder / "copy.npy"), read_bytes(file)) << name;
  }
}

TEST(Npy, WritesVectorsAsTuplesOfOne) {
  const TempFolder folder;
  write_npy(folder / "vector.npy", Tensor(DType::kFloat32, {2}).view());
  EXPECT_NE(read_bytes(folder / "vector.npy").find("'shape': (2,), }"), std::string::npos);
}

TEST(Npy, WidensWhatNumpyLacks) {
  const TempFolder folder;
  Tensor tensor(DType::kBFloat16, {2, 1});
  tensor.data<uint16_t>()[1] = float_to_bfloat16(-1.5f);
  write_npy(folder / "wide.npy", tensor.view());
  const Tensor read = read_npy(folder / "wide.npy");
  EXPECT_EQ(to_string(read.view()), "float32[2, 1]");
  EXPECT_EQ(elements(read.view()), (std::vector<double>{0, -1.5}));
}

TEST(Npy, WritesStridedViewsInOrder) {
  const TempFolder folder;
  Tensor tensor(DType::kInt32, {2, 3});
  for (int i = 0; i < 6; ++i) tensor.data<int32_t>()[i] = i;
  View transposed = make_view(tensor.view().data, DType::kInt32, std::vector<int64_t>{3, 2});
  transposed.stride = {1, 3};
  write_npy(folder / "t.npy", transposed);
  EXPECT_EQ(elements(read_npy(folder / "t.npy").view()), (std::vector<double>{0, 3, 1, 4, 2, 5}));
}

TEST(Npy, MissingFileIsNamed) {
  const TempFolder folder;
  const auto error = error_of([&] { read_npy(folder / "none.npy"); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::kNotFound);
  EXPECT_NE(error->message().find("none.npy"), std::string::npos);
}

}  // namespace
}  // namespace lockstep
