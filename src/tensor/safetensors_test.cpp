#include "tensor/safetensors.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "base/testing/temp_folder.h"
#include "tensor/tensor.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::read_bytes;
using test::TempFolder;

const fs::path kCorpus = fs::path(LOCKSTEP_SOURCE_DIR) / "tests/corpus/safetensors";

fs::path corpus(const std::string& name) { return kCorpus / (name + ".safetensors"); }

std::string with_length(const std::string& header, const std::string& data = {}) {
  const uint64_t length = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  return out + header + data;
}

SafetensorsHeader parse(std::string_view file, uint64_t file_size) {
  return parse_safetensors_header(std::as_bytes(std::span(file)), file_size, "x.safetensors");
}

// What each malformed file of the corpus is refused for: the tensor, expected and found.
const std::map<std::string, std::vector<std::string>> kRefusals = {
    {"bad_empty", {"at least 8 bytes, found 0"}},
    {"bad_seven_bytes", {"at least 8 bytes, found 7"}},
    {"bad_length_zero", {"begin with {, found no bytes"}},
    {"bad_length_beyond_file", {"expected a header of 3 bytes, found only 2"}},
    {"bad_length_huge", {"at most 100000000 bytes", "18446744073709551615"}},
    {"bad_length_over_limit", {"at most 100000000 bytes", "100000001"}},
    {"bad_leading_space", {"begin with {, found \" \""}},
    {"bad_array", {"begin with {, found \"[\""}},
    {"bad_json_truncated", {"expected the header to be a JSON object"}},
    {"bad_json_trailing", {"expected the header to be a JSON object"}},
    {"bad_utf8", {"expected the header to be a JSON object", "UTF-8"}},
    {"bad_deep", {"expected the header to be a JSON object"}},
    {"bad_tensor_not_object", {"\"a\": expected an object, found an array"}},
    {"bad_dtype_unknown", {"\"a\": dtype: expected one of", "found \"F31\""}},
    {"bad_dtype_unsupported", {"\"a\": dtype F8_E8M0 is not supported"}},
    {"bad_dtype_number", {"\"a\": dtype: expected a string, found 3"}},
    {"bad_no_dtype", {"\"a\": expected the keys", "found no dtype"}},
    {"bad_no_shape", {"\"a\": expected the keys", "found no shape"}},
    {"bad_no_offsets", {"\"a\": expected the keys", "found no data_offsets"}},
    {"bad_shape_negative", {"\"a\": shape: expected sizes from 0", "found -1"}},
    {"bad_shape_fraction", {"\"a\": shape: expected sizes from 0", "found a fraction"}},
    {"bad_shape_overflow", {"\"a\": uint8[4611686018427387904, 4]: expected a size"}},
    {"bad_shape_overflow_bytes", {"\"a\": float64[2305843009213693952]: expected a size"}},
    {"bad_shape_overflow_with_zero", {"\"a\": uint8[0, 4611686018427387904, 4]"}},
    {"bad_shape_beyond_int64", {"\"a\": shape: expected sizes from 0", "found an integer"}},
    {"bad_offsets_reversed", {"\"a\": data_offsets: expected begin <= end <= 1", "[1, 0]"}},
    {"bad_offsets_beyond_end", {"\"a\": data_offsets: expected begin <= end <= 1", "[0, 2]"}},
    {"bad_offsets_huge", {"\"a\": data_offsets", "18446744073709551615"}},
    {"bad_offsets_bigger_than_64_bits", {"expected the header to be a JSON object"}},
    {"bad_offsets_negative", {"\"a\": data_offsets: expected whole numbers", "found -1"}},
    {"bad_offsets_one", {"\"a\": data_offsets: expected [begin, end], found 1 values"}},
    {"bad_offsets_three", {"\"a\": data_offsets: expected [begin, end], found 3 values"}},
    {"bad_size_mismatch", {"\"a\": expected 8 bytes for float32[2], found 4", "[0, 4]"}},
    {"bad_overlap", {"\"b\": expected its data to begin at 2", "found 1: they overlap"}},
    {"bad_same_bytes_twice", {"expected its data to begin at 2", "found 0: they overlap"}},
    {"bad_gap", {"\"b\": expected its data to begin at 1", "found 2: there is a gap"}},
    {"bad_starts_late", {"\"a\": expected its data to begin at 0", "found 1: there is a gap"}},
    {"bad_trailing_data", {"expected tensors to fill the 2 bytes", "found 1"}},
    {"bad_zero_size_inside", {"\"b\": expected its data to begin at 2", "found 1"}},
    {"bad_duplicate_tensor", {"\"a\": expected once in the header, found twice"}},
    {"bad_duplicate_key", {"\"a\": dtype: expected once, found twice"}},
    {"bad_duplicate_metadata", {"\"__metadata__\": expected once in the header, found twice"}},
    {"bad_metadata_number", {"__metadata__: \"a\": expected a string, found 1"}},
    {"bad_metadata_string", {"__metadata__: expected an object of strings, found the string"}},
};

TEST(SafetensorsCorpus, EveryFileIsReadOrRefusedWithItsReason) {
  size_t refused = 0;
  for (const fs::directory_entry& file : fs::directory_iterator(kCorpus)) {
    const std::string name = file.path().stem().string();
    const auto error = error_of([&] { SafetensorsFile::open(file.path()); });
    if (name.starts_with("ok_")) {
      EXPECT_FALSE(error.has_value()) << name << ": " << error->message();
      continue;
    }
    // A name of neither kind is a fuzzer's: an Error or none, and no crash, is all it promises.
    if (!name.starts_with("bad_")) continue;
    ++refused;
    ASSERT_TRUE(error.has_value()) << name;
    EXPECT_EQ(error->code(), name == "bad_dtype_unsupported" ? ErrorCode::kUnimplemented
                                                             : ErrorCode::kInvalidArgument);
    EXPECT_TRUE(error->message().starts_with(file.path().string() + ": ")) << error->message();
    EXPECT_FALSE(error->hint().empty()) << name;
    ASSERT_TRUE(kRefusals.contains(name)) << name << ": " << error->message();
    for (const std::string& part : kRefusals.at(name)) {
      EXPECT_NE(error->message().find(part), std::string::npos) << name << ": " << error->message();
    }
  }
  EXPECT_EQ(refused, kRefusals.size());
}

TEST(Safetensors, ListsTensorsByPlace) {
  const SafetensorsFile file = SafetensorsFile::open(corpus("ok_out_of_order"));
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.tensors()[0].name, "a");
  EXPECT_EQ(file.tensors()[0].dtype, DType::kFloat16);
  EXPECT_EQ(file.tensors()[1].name, "b");
  EXPECT_EQ(file.tensors()[1].begin, 4u);
  EXPECT_EQ(file.find("b"), &file.tensors()[1]);
  EXPECT_EQ(file.find("c"), nullptr);
}

TEST(Safetensors, ShowsScalarsEmptyTensorsAndOddNames) {
  const SafetensorsFile scalar = SafetensorsFile::open(corpus("ok_scalar"));
  EXPECT_EQ(to_string(scalar.view("a")), "int64[]");
  EXPECT_EQ(load_element(scalar.view("a").data, DType::kInt64, 0), 0x0101010101010101);

  const SafetensorsFile empty = SafetensorsFile::open(corpus("ok_zero_size"));
  EXPECT_EQ(to_string(empty.view("a")), "float32[0, 4]");
  EXPECT_EQ(to_string(empty.view("c")), "float64[0]");
  EXPECT_EQ(*empty.view("b").as<char>(), 'a');

  EXPECT_NE(SafetensorsFile::open(corpus("ok_escaped_name")).find("a\xc3\xa9\n"), nullptr);
}

TEST(Safetensors, ReadsMetadata) {
  const SafetensorsFile file = SafetensorsFile::open(corpus("ok_only_metadata"));
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
  EXPECT_TRUE(file.tensors().empty());
}

TEST(Safetensors, LookupsSurviveMoves) {
  SafetensorsFile a = SafetensorsFile::open(corpus("ok_one"));
  std::vector<SafetensorsFile> files;
  files.push_back(std::move(a));
  files.push_back(SafetensorsFile::open(corpus("ok_scalar")));
  EXPECT_EQ(to_string(files[0].view("a")), "float32[2]");
}

TEST(Safetensors, RefusesUnknownNamesAndForeignEntries) {
  const SafetensorsFile file = SafetensorsFile::open(corpus("ok_one"));
  const auto unknown = error_of([&] { file.view("model.norm.weight"); });
  ASSERT_TRUE(unknown.has_value());
  EXPECT_EQ(unknown->code(), ErrorCode::kNotFound);
  EXPECT_NE(unknown->message().find("ok_one.safetensors"), std::string::npos);
  EXPECT_NE(unknown->message().find("\"model.norm.weight\""), std::string::npos);

  const TensorEntry foreign{"b", DType::kFloat32, {200}, 0, 800};
  EXPECT_EQ(error_of([&] { file.view(foreign); })->code(), ErrorCode::kInvalidArgument);

  const SafetensorsFile high = SafetensorsFile::open(corpus("ok_high_rank"));
  const auto rank = error_of([&] { high.view("a"); });
  ASSERT_TRUE(rank.has_value());
  EXPECT_EQ(rank->code(), ErrorCode::kOutOfRange);
  EXPECT_NE(rank->message().find("\"a\": expected at most 6 dimensions, found 9"),
            std::string::npos);
}

TEST(SafetensorsHeader, ParsesFromTheLeadingBytesAlone) {
  const std::string head =
      with_length(R"({"a":{"dtype":"F32","shape":[250],"data_offsets":[0,1000]}})");
  const SafetensorsHeader header = parse(head, head.size() + 1000);
  EXPECT_EQ(header.tensors.size(), 1u);
  EXPECT_EQ(header.data_offset, head.size());
  const auto cut = error_of([&] { parse(head.substr(0, 20), head.size() + 1000); });
  ASSERT_TRUE(cut.has_value());
  EXPECT_NE(cut->message().find("expected the whole header of"), std::string::npos);
}

TEST(SafetensorsHeader, EveryTruncationIsRefused) {
  const std::string whole = read_bytes(corpus("ok_zero_size"));
  for (size_t n = 0; n < whole.size(); ++n) {
    EXPECT_TRUE(error_of([&] { parse(whole.substr(0, n), n); }).has_value()) << n;
  }
}

TEST(SafetensorsHeader, OneHundredThousandTensorsParseInAQuarterOfASecond) {
  std::string json = "{";
  for (int i = 0; i < 100'000; ++i) {
    json += fmt::format(
        R"({}"model.layers.{}.mlp.experts.{}.down_proj.weight":{{"dtype":"BF16","shape":[2,3],)"
        R"("data_offsets":[{},{}]}})",
        i == 0 ? "" : ",", i / 1000, i % 1000, i * 12, i * 12 + 12);
  }
  const std::string head = with_length(json + "}");
  // Processor time: other work on the machine must not fail the test.
  const std::clock_t begin = std::clock();
  const SafetensorsHeader header = parse(head, head.size() + 1'200'000);
  const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  EXPECT_EQ(header.tensors.size(), 100'000u);
  EXPECT_EQ(header.tensors.back().name, "model.layers.99.mlp.experts.999.down_proj.weight");
#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__)
  EXPECT_LT(seconds, 0.25);
#endif
  RecordProperty("milliseconds", static_cast<int>(seconds * 1e3));
}

TEST(SafetensorsWriter, WritesWhatTheReaderReads) {
  const TempFolder folder;
  const fs::path path = folder / "out.safetensors";
  {
    SafetensorsWriter writer(path);
    writer.declare("bytes", DType::kUint8, std::vector<int64_t>{3});
    writer.declare("wide\n\"\xc3\xa9", DType::kFloat64, std::vector<int64_t>{2});
    writer.declare("scalar", DType::kBFloat16, {});
    writer.declare("none", DType::kFloat32, std::vector<int64_t>{0, 7});
    writer.set_metadata({{"format", "pt"}, {"note", "caf\xc3\xa9"}});
    writer.begin();
    const double wide[2] = {1.5, -2};
    const uint16_t scalar = float_to_bfloat16(3);
    // In any order, in parts, over again.
    writer.write("bytes", 2, std::as_bytes(std::span("c", 1)));
    writer.write("wide\n\"\xc3\xa9", 0, std::as_bytes(std::span(wide)));
    writer.write("scalar", 0, std::as_bytes(std::span(&scalar, 1)));
    writer.write("bytes", 0, std::as_bytes(std::span("ab", 2)));
    writer.write("bytes", 1, std::as_bytes(std::span("b", 1)));
    EXPECT_FALSE(fs::exists(path));
    writer.commit();
  }
  const SafetensorsFile file = SafetensorsFile::open(path);
  EXPECT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(file.metadata().at("note"), "caf\xc3\xa9");
  EXPECT_EQ(std::memcmp(file.view("bytes").data, "abc", 3), 0);
  const View wide = file.view("wide\n\"\xc3\xa9");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(wide.data) % 8, 0u);
  EXPECT_EQ(load_element(wide.data, wide.dtype, 1), -2);
  EXPECT_EQ(load_element(file.view("scalar").data, DType::kBFloat16, 0), 3);
  EXPECT_EQ(to_string(file.view("none")), "float32[0, 7]");
}

TEST(SafetensorsWriter, WithoutCommitThereIsNoFile) {
  const TempFolder folder;
  {
    SafetensorsWriter writer(folder / "out.safetensors");
    writer.declare("a", DType::kUint8, std::vector<int64_t>{1});
    writer.begin();
    writer.write("a", 0, std::as_bytes(std::span("x", 1)));
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(SafetensorsWriter, FindsEveryMissingByte) {
  const struct {
    std::vector<std::pair<uint64_t, uint64_t>> writes;
    int64_t missing;  // -1: nothing
  } cases[] = {
      {{}, 0},
      {{{0, 8}}, -1},
      {{{0, 4}, {4, 8}}, -1},
      {{{4, 8}, {0, 4}}, -1},
      {{{0, 3}, {4, 8}}, 3},
      {{{1, 8}}, 0},
      {{{0, 7}}, 7},
      {{{0, 2}, {6, 8}, {1, 7}}, -1},
      {{{0, 2}, {3, 4}, {5, 6}, {1, 5}}, 6},
      {{{2, 2}, {0, 2}}, 2},
  };
  const TempFolder folder;
  const std::vector<std::byte> bytes(8);
  for (const auto& c : cases) {
    SafetensorsWriter writer(folder / "out.safetensors");
    writer.declare("a", DType::kUint8, std::vector<int64_t>{8});
    writer.begin();
    for (const auto& [begin, end] : c.writes) {
      writer.write("a", begin, std::span(bytes).first(end - begin));
    }
    const auto error = error_of([&] { writer.commit(); });
    ASSERT_EQ(error.has_value(), c.missing >= 0) << ::testing::PrintToString(c.writes);
    if (!error.has_value()) continue;
    EXPECT_EQ(error->code(), ErrorCode::kFailedPrecondition);
    EXPECT_NE(error->message().find(fmt::format(
                  "\"a\": expected all 8 bytes to be written, found none at {}", c.missing)),
              std::string::npos)
        << error->message();
  }
}

TEST(SafetensorsWriter, RefusesMisuse) {
  const TempFolder folder;
  SafetensorsWriter writer(folder / "out.safetensors");
  const std::vector<int64_t> one = {1};
  const auto code = [](auto&& call) { return error_of(call).value().code(); };
  const std::span<const std::byte> byte = std::as_bytes(std::span("x", 1));
  writer.declare("a", DType::kUint8, one);
  EXPECT_EQ(code([&] { writer.declare("a", DType::kUint8, one); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code([&] { writer.declare("__metadata__", DType::kUint8, one); }),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(code([&] { writer.declare("\xff", DType::kUint8, one); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code([&] { writer.declare("n", DType::kUint8, std::vector<int64_t>{-1}); }),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(code([&] { writer.set_metadata({{"a", "\xff"}}); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code([&] { writer.write("a", 0, byte); }), ErrorCode::kFailedPrecondition);
  EXPECT_EQ(code([&] { writer.commit(); }), ErrorCode::kFailedPrecondition);
  writer.begin();
  EXPECT_EQ(code([&] { writer.begin(); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code([&] { writer.declare("b", DType::kUint8, one); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code([&] { writer.write("b", 0, byte); }), ErrorCode::kNotFound);
  EXPECT_EQ(code([&] { writer.write("a", 1, byte); }), ErrorCode::kOutOfRange);
  EXPECT_EQ(code([&] { writer.write("a", UINT64_MAX, byte); }), ErrorCode::kOutOfRange);
  writer.write("a", 0, byte);
  writer.commit();
  EXPECT_EQ(code([&] { writer.commit(); }), ErrorCode::kFailedPrecondition);
  EXPECT_EQ(code([&] { writer.write("a", 0, byte); }), ErrorCode::kFailedPrecondition);
}

}  // namespace
}  // namespace lockstep
