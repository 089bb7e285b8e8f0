#include "hub/config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <map>

#include "base/testing/temp_folder.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::TempFolder;
using Kind = ConfigFile::Kind;
using Keys = std::vector<std::string>;

const fs::path kCorpus = fs::path(LOCKSTEP_SOURCE_DIR) / "tests/corpus/config";

ConfigFile parse(std::string_view json) { return ConfigFile::parse(json, "config.json"); }

// The line and the reason of each malformed file of the corpus.
const std::map<std::string, std::string> kRefusals = {
    {"bad_empty", ":1: expected one JSON object"},
    {"bad_space", ":2: expected one JSON object"},
    {"bad_array", ":1: expected an object"},
    {"bad_string", ":1: expected an object"},
    {"bad_number", ":1: expected an object"},
    {"bad_null", ":1: expected an object"},
    {"bad_bom", ":1: expected JSON, found a byte order mark"},
    {"bad_trailing", ":1: expected nothing after the object"},
    {"bad_trailing_comma", ":1: expected a member of an object"},
    {"bad_trailing_text", ":2: expected the object to end with }"},
    {"bad_array_comma", ":1: expected a value"},
    {"bad_no_comma", ":1: expected a member of an object"},
    {"bad_no_colon", ":1: expected a member of an object"},
    {"bad_no_value", ":1: expected"},
    {"bad_no_quotes", ":1: expected a member of an object"},
    {"bad_single_quotes", ":1: expected a member of an object"},
    {"bad_comment", ":1: expected"},
    {"bad_unclosed", ":1: expected the object to end with }"},
    {"bad_unclosed_array", ":1: expected"},
    {"bad_unclosed_string", ":1: expected one JSON object"},
    {"bad_mismatched", ":1: expected"},
    {"bad_extra_brace", ":1: expected nothing after the object"},
    {"bad_newline_in_string", ":1: expected one JSON object"},
    {"bad_control", ":1: expected one JSON object"},
    {"bad_utf8", ":1: expected one JSON object"},
    {"bad_utf8_outside", ":1: expected one JSON object"},
    {"bad_surrogate", ":1: expected a string"},
    {"bad_escape", ":1: expected a string"},
    {"bad_leading_zero", ":1: expected a value"},
    {"bad_plus", ":1: expected a value"},
    {"bad_dot", ":1: expected a value"},
    {"bad_dot_end", ":1: expected a value"},
    {"bad_exponent", ":1: expected a value"},
    {"bad_huge", ":1: expected a value"},
    {"bad_minus", ":1: expected a value"},
    {"bad_word", ":1: expected null, found \"nul\""},
    {"bad_word2", ":1: expected null, found \"nulll\""},
    {"bad_null_form_feed", ":1: expected a comma or the end after null"},
    {"bad_number_form_feed", ":1: expected a value"},
    {"bad_word3", ":1: expected a value"},
    {"bad_nan_case", ":1: expected null, found \"nan\""},
    {"bad_nan_more", ":1: expected a value"},
    {"bad_infinity_more", ":1: expected a value"},
    {"bad_minus_nan", ":1: expected a value"},
    {"bad_duplicate", ":1: expected each key once, found \"a\" twice"},
    {"bad_duplicate_escaped", ":1: expected each key once, found \"a\" twice"},
    {"bad_duplicate_nested", ":1: expected each key once, found \"a\" twice"},
    {"bad_deep_array", ":1: expected at most 64 levels of nesting"},
    {"bad_deep_object", ":1: expected at most 64 levels of nesting"},
    {"bad_deep_unclosed", ":1: expected"},
    {"bad_depth_64", ":1: expected at most 64 levels of nesting"},
    {"bad_rope_scaling_string", ": rope_scaling: expected an object or null, found a string"},
    {"bad_rope_parameters_array", ": rope_parameters: expected an object or null, found an array"},
    {"bad_nul", ":1: expected"},
    {"bad_nul_after", ":1: expected"},
    {"bad_key_number", ":1: expected a member of an object"},
    {"bad_number_text", ":1: expected a value"},
};

TEST(ConfigCorpus, EveryFileIsReadOrRefusedWithItsReason) {
  size_t refused = 0;
  for (const fs::directory_entry& file : fs::directory_iterator(kCorpus)) {
    const std::string name = file.path().stem().string();
    const auto error = error_of([&] { ConfigFile::load(file.path()); });
    if (name.starts_with("ok_")) {
      EXPECT_FALSE(error.has_value()) << error->message();
      continue;
    }
    // A name of neither kind is a fuzzer's: an Error or none, and no crash, is all it promises.
    if (!name.starts_with("bad_")) continue;
    ++refused;
    ASSERT_TRUE(error.has_value()) << name;
    EXPECT_EQ(error->code(), ErrorCode::kInvalidArgument) << name;
    ASSERT_TRUE(kRefusals.contains(name)) << error->message();
    EXPECT_TRUE(error->message().starts_with(file.path().string() + kRefusals.at(name)))
        << error->message();
  }
  EXPECT_EQ(refused, kRefusals.size());
}

TEST(ConfigFile, EveryTruncationIsRefused) {
  const std::string whole = R"({"a": [1, {"b": "x\n"}], "c": -1.5e3, "d": NaN, "e": null})";
  EXPECT_FALSE(error_of([&] { parse(whole); }).has_value());
  for (size_t n = 0; n < whole.size(); ++n) {
    EXPECT_TRUE(error_of([&] { parse(whole.substr(0, n)); }).has_value()) << whole.substr(0, n);
  }
}

TEST(ConfigFile, ErrorsNameTheLine) {
  const auto error = error_of([] { parse("{\n  \"a\": 1,\n  \"b\": [1, 2,,]\n}"); });
  ASSERT_TRUE(error.has_value());
  EXPECT_TRUE(error->message().starts_with("config.json:3: ")) << error->message();
  const auto text = error_of([] { parse("{\n  \"a\": 1,\n  \"b\": \"x\ty\"\n}"); });
  ASSERT_TRUE(text.has_value());
  EXPECT_TRUE(text->message().starts_with("config.json:3: ")) << text->message();
}

TEST(ConfigFile, RefusesWhatIsTooLargeToBeAConfig) {
  const std::string json = "{\"a\": \"" + std::string(5'000'000, 'x') + "\"}";
  const auto error = error_of([&] { parse(json); });
  ASSERT_TRUE(error.has_value());
  EXPECT_NE(error->message().find("config.json: expected at most"), std::string::npos);
}

TEST(ConfigFile, GetsEveryKind) {
  const ConfigFile config = parse(
      R"({"i": -3, "f": 0.5, "b": true, "s": "x\u00e9", "n": null, "a": [1, "y", [2]],
          "o": {"p": {"q": 7}}})");
  EXPECT_EQ(config.get_int("i"), -3);
  EXPECT_EQ(config.get_number("i"), -3.0);
  EXPECT_EQ(config.get_number("f"), 0.5);
  EXPECT_TRUE(config.get_bool("b"));
  EXPECT_EQ(config.get_string("s"), "x\xc3\xa9");
  EXPECT_EQ(config.length("a"), 3u);
  EXPECT_EQ(config.get_string("a.1"), "y");
  EXPECT_EQ(config.get_int("a.2.0"), 2);
  EXPECT_EQ(config.get_int("o.p.q"), 7);
  EXPECT_EQ(config.kind("n"), Kind::kNull);
  EXPECT_EQ(config.kind("o"), Kind::kObject);
  EXPECT_EQ(config.kind("a"), Kind::kArray);
  EXPECT_EQ(config.kind("i"), Kind::kInt);
  EXPECT_EQ(config.kind("f"), Kind::kFloat);
  for (const char* path : {"x", "o.x", "a.3", "a.-1", "a.x", "a.", "i.0", "s.t", "n.x", "o..q"}) {
    EXPECT_EQ(config.kind(path), Kind::kAbsent) << path;
  }
}

TEST(ConfigFile, ReadsNumbersAsPythonDoes) {
  const ConfigFile config = ConfigFile::load(kCorpus / "ok_numbers.json");
  EXPECT_EQ(config.get_int("b"), 0);
  EXPECT_EQ(config.kind("c"), Kind::kFloat);
  EXPECT_EQ(config.get_int("d"), INT64_MAX);
  EXPECT_EQ(config.get_int("e"), INT64_MIN);
  EXPECT_EQ(config.get_number("f"), 0x1p63);
  EXPECT_EQ(config.get_number("g"), 1e30);
  EXPECT_EQ(config.get_number("h"), 0.0);
  EXPECT_TRUE(std::signbit(config.get_number("i")));
  EXPECT_EQ(config.get_number("j"), 12345678901234567890.0);
  const auto error = error_of([&] { config.get_int("g"); });
  ASSERT_TRUE(error.has_value());
  EXPECT_NE(error->message().find("g: expected a whole number within 64 bits, found 1e+30"),
            std::string::npos)
      << error->message();
}

TEST(ConfigFile, ReadsTheNumbersThatJsonLacks) {
  const ConfigFile config = ConfigFile::load(kCorpus / "ok_special_numbers.json");
  EXPECT_EQ(config.get_number("a"), INFINITY);
  EXPECT_EQ(config.get_number("b"), -INFINITY);
  EXPECT_TRUE(std::isnan(config.get_number("c")));
  EXPECT_TRUE(std::isnan(config.get_number("d.0")));
  EXPECT_EQ(config.get_int("d.1"), 1);
  EXPECT_EQ(config.get_number("e"), -INFINITY);
  EXPECT_TRUE(std::isnan(config.get_number("f")));
  const ConfigFile other = ConfigFile::load(kCorpus / "ok_not_special.json");
  for (const char* key : {"e", "f", "g"}) EXPECT_EQ(other.kind(key), Kind::kObject);
}

TEST(ConfigFile, ErrorsNameFileKeyExpectedAndFound) {
  const ConfigFile config = parse(R"({"hidden_size": "64", "x": {"y": [true, 2.5]}})");
  const struct {
    std::function<void()> call;
    ErrorCode code;
    std::string message;
  } cases[] = {
      {[&] { config.get_int("hidden_size"); }, ErrorCode::kInvalidArgument,
       "config.json: hidden_size: expected a whole number within 64 bits, found the string "
       "\"64\""},
      {[&] { config.get_int("x.y.0"); }, ErrorCode::kInvalidArgument,
       "config.json: x.y.0: expected a whole number within 64 bits, found true"},
      {[&] { config.get_int("x.y.1"); }, ErrorCode::kInvalidArgument,
       "config.json: x.y.1: expected a whole number within 64 bits, found 2.5"},
      {[&] { config.get_bool("x"); }, ErrorCode::kInvalidArgument,
       "config.json: x: expected true or false, found an object"},
      {[&] { config.get_number("x.y"); }, ErrorCode::kInvalidArgument,
       "config.json: x.y: expected a number, found an array"},
      {[&] { config.length("x"); }, ErrorCode::kInvalidArgument,
       "config.json: x: expected an array, found an object"},
      {[&] { config.get_string("head_dim"); }, ErrorCode::kNotFound,
       "config.json: head_dim: expected a string, found no such key"},
      {[&] { config.get_number("x.y.2"); }, ErrorCode::kNotFound,
       "config.json: x.y.2: expected a number, found no such key"},
  };
  for (const auto& c : cases) {
    const auto error = error_of(c.call);
    ASSERT_TRUE(error.has_value()) << c.message;
    EXPECT_EQ(error->code(), c.code);
    EXPECT_EQ(error->message(), c.message);
  }
}

TEST(ConfigUnread, ListsWhatNobodyReadInTheOrderOfTheFile) {
  const ConfigFile config = parse(
      R"({"z": 1, "use_cache": true, "a": {"x": 1, "y": {"p": 1, "q": 2}}, "b": [1, 2],
          "c": {"x": 1}, "eos_token_id": 2, "d": 4, "e": null})");
  EXPECT_EQ(config.unread(), (Keys{"z", "a", "b", "c", "d", "e"}));
  config.get_int("d");
  config.get_int("a.y.q");
  config.get_int("b.1");
  config.kind("e");
  EXPECT_EQ(config.unread(), (Keys{"z", "a.x", "a.y.p", "b.0", "c"}));
}

TEST(ConfigUnread, AFailedReadIsARead) {
  const ConfigFile config = parse(R"({"a": "x"})");
  EXPECT_TRUE(error_of([&] { config.get_int("a"); }).has_value());
  EXPECT_TRUE(config.unread().empty());
}

TEST(ConfigRope, OldKeysAppearUnderTheNewNames) {
  const ConfigFile config = parse(
      R"({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0},
          "partial_rotary_factor": 0.5, "torch_dtype": "bfloat16"})");
  EXPECT_EQ(config.get_number("rope_parameters.rope_theta"), 5e5);
  EXPECT_EQ(config.get_string("rope_parameters.rope_type"), "linear");
  EXPECT_EQ(config.unread(), (Keys{"rope_scaling.factor", "partial_rotary_factor", "torch_dtype"}));
  EXPECT_EQ(config.get_number("rope_parameters.factor"), 2.0);
  EXPECT_EQ(config.get_number("rope_parameters.partial_rotary_factor"), 0.5);
  EXPECT_EQ(config.get_string("dtype"), "bfloat16");
  EXPECT_TRUE(config.unread().empty());
}

TEST(ConfigRope, NewKeysAreServedAsTheyAre) {
  const ConfigFile config = parse(
      R"({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "dtype": "float16"})");
  EXPECT_EQ(config.get_number("rope_parameters.rope_theta"), 1e4);
  EXPECT_EQ(config.get_string("rope_parameters.rope_type"), "default");
  EXPECT_EQ(config.get_string("dtype"), "float16");
  EXPECT_TRUE(config.unread().empty());
}

TEST(ConfigRope, AModelWithoutRopeHasNoRopeParameters) {
  const ConfigFile config = parse(R"({"n_embd": 8, "rope_scaling": null, "rope_parameters": {}})");
  EXPECT_EQ(parse(R"({"n_embd": 8, "rope_scaling": null})").kind("rope_parameters"), Kind::kAbsent);
  EXPECT_EQ(config.kind("rope_parameters.rope_theta"), Kind::kAbsent);
  EXPECT_EQ(config.kind("dtype"), Kind::kAbsent);
}

// What wins, and what of the rest is reported because it says something else.
TEST(ConfigRope, PrecedenceIsThatOfTransformers) {
  const struct {
    const char* json;
    const char* path;
    double value;
    Keys unread;
  } cases[] = {
      // The rope object before the config.
      {R"({"rope_theta": 1, "rope_parameters": {"rope_theta": 2}})",
       "rope_parameters.rope_theta",
       2,
       {"rope_theta"}},
      {R"({"rope_theta": 2, "rope_parameters": {"rope_theta": 2.0}})",
       "rope_parameters.rope_theta",
       2,
       {}},
      {R"({"rope_theta": 3, "rope_parameters": {"rope_theta": null}})",
       "rope_parameters.rope_theta",
       3,
       {"rope_parameters"}},
      {R"({"partial_rotary_factor": 0.25, "rope_parameters": {"partial_rotary_factor": 0.5}})",
       "rope_parameters.partial_rotary_factor",
       0.5,
       {"partial_rotary_factor"}},
      // rope_scaling before rope_parameters, as a whole, unless null or empty.
      {R"({"rope_scaling": {"rope_theta": 4}, "rope_parameters": {"rope_theta": 5, "x": 1}})",
       "rope_parameters.rope_theta",
       4,
       {"rope_parameters"}},
      {R"({"rope_scaling": null, "rope_parameters": {"rope_theta": 5}})",
       "rope_parameters.rope_theta",
       5,
       {}},
      {R"({"rope_scaling": {}, "rope_parameters": {"rope_theta": 5}})",
       "rope_parameters.rope_theta",
       5,
       {}},
      // GPT-NeoX.
      {R"({"rotary_emb_base": 6})", "rope_parameters.rope_theta", 6, {}},
      {R"({"rotary_pct": 0.25})", "rope_parameters.partial_rotary_factor", 0.25, {}},
      {R"({"rotary_emb_base": 6, "rope_theta": 7})",
       "rope_parameters.rope_theta",
       7,
       {"rotary_emb_base"}},
      // The context length before scaling: the config before the rope object for longrope alone.
      {R"({"original_max_position_embeddings": 8, "max_position_embeddings": 99,
           "rope_scaling": {"rope_type": "longrope", "original_max_position_embeddings": 9}})",
       "rope_parameters.original_max_position_embeddings",
       8,
       {"max_position_embeddings", "rope_scaling"}},
      {R"({"original_max_position_embeddings": 8,
           "rope_scaling": {"rope_type": "llama3", "original_max_position_embeddings": 9}})",
       "rope_parameters.original_max_position_embeddings",
       9,
       {"original_max_position_embeddings", "rope_scaling.rope_type"}},
      {R"({"max_position_embeddings": 99,
           "rope_scaling": {"type": "yarn", "original_max_position_embeddings": 9}})",
       "rope_parameters.original_max_position_embeddings",
       9,
       {"max_position_embeddings", "rope_scaling.type"}},
      {R"({"max_position_embeddings": 99, "rope_scaling": {"rope_type": "llama3"}})",
       "rope_parameters.original_max_position_embeddings",
       99,
       {"rope_scaling"}},
  };
  for (const auto& c : cases) {
    const ConfigFile config = parse(c.json);
    EXPECT_EQ(config.get_number(c.path), c.value) << c.json;
    EXPECT_EQ(config.unread(), c.unread) << c.json;
  }
}

TEST(ConfigRope, OnlyScaledTypesHaveAnOriginalLength) {
  const ConfigFile config =
      parse(R"({"max_position_embeddings": 99, "rope_scaling": {"type": "linear", "factor": 2}})");
  EXPECT_EQ(config.kind("rope_parameters.original_max_position_embeddings"), Kind::kAbsent);
}

TEST(ConfigRope, TypeIsAnOlderNameOfRopeType) {
  const struct {
    const char* json;
    const char* type;
    Keys unread;
  } cases[] = {
      {R"({"rope_scaling": {"type": "yarn"}})", "yarn", {}},
      {R"({"rope_scaling": {"type": "yarn", "rope_type": "yarn"}})", "yarn", {}},
      {R"({"rope_scaling": {"type": "su", "rope_type": "longrope"}})",
       "longrope",
       {"rope_scaling.type"}},
      {R"({"rope_scaling": {"type": "su"}})", "longrope", {}},
      {R"({"rope_theta": 1})", "default", {"rope_theta"}},
  };
  for (const auto& c : cases) {
    const ConfigFile config = parse(c.json);
    EXPECT_EQ(config.get_string("rope_parameters.rope_type"), c.type) << c.json;
    EXPECT_EQ(config.unread(), c.unread) << c.json;
  }
}

TEST(ConfigRope, EveryLayerTypeMayHaveItsOwn) {
  const ConfigFile config = ConfigFile::load(kCorpus / "ok_nested_rope.json");
  EXPECT_EQ(config.get_number("rope_parameters.full_attention.rope_theta"), 1e6);
  EXPECT_EQ(config.get_string("rope_parameters.full_attention.rope_type"), "linear");
  EXPECT_EQ(config.get_number("rope_parameters.sliding_attention.rope_theta"), 1e4);
  EXPECT_EQ(config.get_string("rope_parameters.sliding_attention.rope_type"), "default");
  EXPECT_EQ(config.kind("rope_parameters.rope_type"), Kind::kAbsent);
  const ConfigFile with_null = ConfigFile::load(kCorpus / "ok_nested_rope_null.json");
  EXPECT_EQ(with_null.get_string("rope_parameters.full_attention.rope_type"), "default");
}

TEST(ConfigRope, ALocalBaseMakesTwoOfOne) {
  const ConfigFile config = ConfigFile::load(kCorpus / "ok_local_base.json");
  EXPECT_EQ(config.get_number("rope_parameters.full_attention.rope_theta"), 1e6);
  EXPECT_EQ(config.get_string("rope_parameters.full_attention.rope_type"), "linear");
  EXPECT_EQ(config.get_number("rope_parameters.full_attention.factor"), 8);
  EXPECT_EQ(config.get_number("rope_parameters.sliding_attention.rope_theta"), 1e4);
  EXPECT_EQ(config.get_string("rope_parameters.sliding_attention.rope_type"), "default");
  EXPECT_EQ(config.kind("rope_parameters.sliding_attention.factor"), Kind::kAbsent);
  const Keys unread = config.unread();
  for (const std::string& key : unread) EXPECT_EQ(key.find("rope"), std::string::npos) << key;
}

TEST(ConfigRope, TextConfigsAreResolvedToo) {
  const ConfigFile config = ConfigFile::load(kCorpus / "ok_text_config.json");
  EXPECT_EQ(config.get_number("text_config.rope_parameters.rope_theta"), 3.0);
  EXPECT_EQ(config.get_string("text_config.dtype"), "float32");
  EXPECT_TRUE(config.unread().empty());
}

TEST(ConfigDtype, TheNewerKeyWinsUnlessNull) {
  const struct {
    const char* json;
    const char* dtype;
    Keys unread;
  } cases[] = {
      {R"({"dtype": "float16", "torch_dtype": "float32"})", "float16", {"torch_dtype"}},
      {R"({"dtype": "float16", "torch_dtype": "float16"})", "float16", {}},
      {R"({"dtype": null, "torch_dtype": "float32"})", "float32", {}},
  };
  for (const auto& c : cases) {
    const ConfigFile config = parse(c.json);
    EXPECT_EQ(config.get_string("dtype"), c.dtype) << c.json;
    EXPECT_EQ(config.unread(), c.unread) << c.json;
  }
}

TEST(ConfigFile, KeepsFileAndTextAcrossMoves) {
  const TempFolder folder;
  const fs::path path = folder.write("config.json", R"({"a": 1})");
  ConfigFile a = ConfigFile::load(path);
  const ConfigFile b = std::move(a);
  EXPECT_EQ(b.file(), path.string());
  EXPECT_EQ(b.text(), R"({"a": 1})");
  EXPECT_EQ(b.get_int("a"), 1);
  const auto missing = error_of([&] { ConfigFile::load(folder / "none.json"); });
  ASSERT_TRUE(missing.has_value());
  EXPECT_EQ(missing->code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace lockstep
