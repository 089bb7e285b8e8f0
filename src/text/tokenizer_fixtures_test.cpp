// Every row of tests/fixtures/tokenizers, which transformers computed.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "text/tokenizer.h"

namespace lockstep::text {
namespace {

using nlohmann::json;

class TokenizerFixture : public testing::TestWithParam<const char*> {
 protected:
  static std::filesystem::path folder() {
    return std::filesystem::path(LOCKSTEP_SOURCE_DIR) / "tests/fixtures/tokenizers" / GetParam();
  }
  Tokenizer tokenizer_ = Tokenizer::open(folder());
  json rows_ = json::parse(read_text_file(folder() / "expected_tokenization.json"));
};

TEST_P(TokenizerFixture, EncodesAsTransformers) {
  ASSERT_FALSE(rows_.empty());
  for (const json& row : rows_) {
    const auto text = row["text"].get<std::string>();
    const std::vector<int32_t> ids = tokenizer_.encode(text);
    const std::vector<int32_t> plain = tokenizer_.encode(text, {.add_special_tokens = false});
    EXPECT_EQ(ids, row["ids"].get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(plain, row["ids_no_special"].get<std::vector<int32_t>>()) << text;
    std::vector<std::string> tokens;
    for (const int32_t id : plain) tokens.emplace_back(tokenizer_.id_to_token(id).value_or("?"));
    EXPECT_EQ(tokens, row["tokens"].get<std::vector<std::string>>()) << text;
  }
}

TEST_P(TokenizerFixture, DecodesAsTransformers) {
  for (const json& row : rows_) {
    const auto ids = row["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer_.decode(ids), row["decoded"].get<std::string>());
    EXPECT_EQ(tokenizer_.decode(ids, {.skip_special_tokens = true}),
              row["decoded_skip_special"].get<std::string>());
  }
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerFixture,
                         testing::Values("bytelevel", "gpt2", "metaspace", "spbpe", "splits",
                                         "unigram", "wordpiece"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace lockstep::text
