#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/testing/temp_folder.h"
#include "text/detokenizer.h"

namespace lockstep::text {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::error_of;
using test::TempFolder;

fs::path fixture(const std::string& name) {
  return fs::path(LOCKSTEP_SOURCE_DIR) / "tests/fixtures/tokenizers" / name;
}

json fixture_json(const std::string& name) {
  return json::parse(read_text_file(fixture(name) / "tokenizer.json"));
}

std::string message_of(const json& document) {
  const auto error = error_of([&] { Tokenizer::parse(document.dump(), "t.json"); });
  return error.has_value() ? error->message() + " | " + error->hint() : "(no error)";
}

TEST(TokenizerErrors, NamePartPlaceAndWhatIsSupported) {
  json document = fixture_json("bytelevel");
  document["pre_tokenizer"]["pretokenizers"][1]["type"] = "Magic";
  const std::string message = message_of(document);
  EXPECT_NE(message.find("t.json: pre_tokenizer.pretokenizers[1]: a pre-tokenizer of type "
                         "\"Magic\" is not supported"),
            message.npos)
      << message;
  EXPECT_NE(message.find("ByteLevel, Split"), message.npos) << message;
}

TEST(TokenizerErrors, NameTheWrongValue) {
  json document = fixture_json("bytelevel");
  document["model"]["merges"][3] = {"a", "no such token"};
  EXPECT_NE(message_of(document).find("model.merges[3]: expected a merge of and to tokens of the "
                                      "vocabulary, found \"no such token\""),
            std::string::npos)
      << message_of(document);
  document = fixture_json("bytelevel");
  document["model"]["vocab"]["a"] = -1;
  EXPECT_NE(message_of(document).find("model.vocab.a: expected an id"), std::string::npos);
  document = fixture_json("bytelevel");
  document["version"] = "2.0";
  EXPECT_NE(message_of(document).find("version: expected \"1.0\""), std::string::npos);
  document = fixture_json("bytelevel");
  document.erase("model");
  EXPECT_NE(message_of(document).find("expected a member \"model\""), std::string::npos);
}

TEST(TokenizerErrors, RefusePatternsByName) {
  json document = fixture_json("bytelevel");
  json& pattern = document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"];
  for (const auto& [text, named] :
       std::vector<std::pair<std::string, std::string>>{{"(?~a)", "a group that begins with (?~"},
                                                        {"a\\Kb", "the escape \\K"},
                                                        {"\\p{Blank}", "the property Blank"},
                                                        {"[a", "an end where"},
                                                        {"(a", "a ( that is not closed"},
                                                        {"+a", "a repetition of nothing"},
                                                        {"\\p{Klingon}", "cannot be used"}}) {
    pattern = text;
    EXPECT_NE(message_of(document).find(named), std::string::npos)
        << text << ": " << message_of(document);
  }
}

TEST(TokenizerErrors, SyntaxErrorsNameTheLine) {
  const auto error = error_of([] { Tokenizer::parse("{\n\"model\": }", "t.json"); });
  ASSERT_TRUE(error.has_value());
  EXPECT_NE(error->message().find("t.json: not JSON: line 2"), std::string::npos)
      << error->message();
}

TEST(TokenizerErrors, TextThatIsNotUtf8IsRefusedWithItsPlace) {
  const Tokenizer tokenizer = Tokenizer::open(fixture("gpt2"));
  const auto error = error_of([&] { tokenizer.encode("abc\xff"); });
  ASSERT_TRUE(error.has_value());
  EXPECT_NE(error->message().find("byte 0xff at offset 3"), std::string::npos);
}

TEST(TokenizerErrors, AFolderWithoutATokenizerSaysWhatWasLookedFor) {
  const TempFolder folder;
  const auto error = error_of([&] { Tokenizer::open(folder.path()); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::kNotFound);
  EXPECT_NE(error->message().find("no tokenizer.json and no tokenizer.model"), std::string::npos);
}

TEST(TokenizerErrors, ReplacementsThatMultiplyEnd) {
  json document = fixture_json("gpt2");
  json steps = json::array();
  for (int i = 0; i < 40; ++i) {
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}});
  }
  document["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
  const Tokenizer tokenizer = Tokenizer::parse(document.dump(), "t.json");
  const auto error = error_of([&] { tokenizer.encode("a"); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::kResourceExhausted);
}

// Long pieces are merged by a heap and cut where nothing joins; short ones by looking.
TEST(TokenizerLongText, ALineOfAMillionIsWhatItsPartsAre) {
  for (const char* name : {"gpt2", "spbpe", "unigram", "metaspace"}) {
    const Tokenizer tokenizer = Tokenizer::open(fixture(name));
    const std::string part = "the story of a theorem, then others ";
    std::string text;
    for (int i = 0; i < 30'000; ++i) text += part;
    const std::vector<int32_t> ids = tokenizer.encode(text, {.add_special_tokens = false});
    EXPECT_EQ(tokenizer.decode(ids), text.substr(0, tokenizer.decode(ids).size())) << name;
    // The tokens of every part but the first and the last are the same.
    const std::vector<int32_t> few =
        tokenizer.encode(part + part + part + part, {.add_special_tokens = false});
    const std::vector<int32_t> fewer =
        tokenizer.encode(part + part + part, {.add_special_tokens = false});
    const size_t n = few.size() - fewer.size();
    ASSERT_EQ(ids.size(), fewer.size() + (30'000 - 3) * n) << name;
    EXPECT_TRUE(std::equal(fewer.begin(), fewer.end() - static_cast<long>(n), ids.begin())) << name;
  }
}

TEST(TokenizerLongText, OnePieceWithoutAnyCut) {
  const Tokenizer tokenizer = Tokenizer::open(fixture("gpt2"));
  std::string word;
  for (int i = 0; i < 20'000; ++i) word += "the"[i % 3];
  const std::vector<int32_t> ids = tokenizer.encode(word);
  EXPECT_EQ(tokenizer.decode(ids), word);
  EXPECT_LT(ids.size(), 10'000u);
}

TEST(Tokenizer, IsTheSameFromManyThreads) {
  const Tokenizer tokenizer = Tokenizer::open(fixture("bytelevel"));
  const std::string text = "The capital of France is Paris. 12 + 7 = 19. naïve café";
  const std::vector<int32_t> expected = tokenizer.encode(text);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i)
        wrong[static_cast<size_t>(t)] += tokenizer.encode(text) != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(Tokenizer, UnknownIdsAreLeftOut) {
  const Tokenizer tokenizer = Tokenizer::open(fixture("gpt2"));
  std::vector<int32_t> ids = tokenizer.encode("Hello");
  const std::string text = tokenizer.decode(ids);
  ids.insert(ids.begin(), {-1, 1'000'000, INT32_MAX, INT32_MIN});
  EXPECT_EQ(tokenizer.decode(ids), text);
  EXPECT_FALSE(tokenizer.id_to_token(-1).has_value());
}

std::string run(Detokenizer& detokenizer, const std::vector<int32_t>& ids) {
  std::string text;
  for (const int32_t id : ids) text += detokenizer.push(id);
  return text + detokenizer.finish();
}

TEST(Detokenizer, StopsBeforeAStringThatReachesOverTokens) {
  const Tokenizer tokenizer = Tokenizer::open(fixture("gpt2"));
  const std::string text = "one two\n\nQuestion: three";
  const std::vector<int32_t> ids = tokenizer.encode(text);
  Detokenizer stopping(tokenizer, {}, {"Question:", "\n\nQ", ""});
  EXPECT_EQ(run(stopping, ids), "one two");
  EXPECT_TRUE(stopping.stopped());
  EXPECT_EQ(stopping.push(ids[0]), "");
  // What only begins like it comes after all.
  Detokenizer going(tokenizer, {}, {"\n\nQuiz", "threes"});
  EXPECT_EQ(run(going, ids), text);
  EXPECT_FALSE(going.stopped());
}

TEST(Detokenizer, HoldsBackHalfACharacter) {
  const Tokenizer tokenizer = Tokenizer::open(fixture("gpt2"));
  const std::vector<int32_t> ids = tokenizer.encode("é");
  ASSERT_EQ(ids.size(), 2u);
  Detokenizer detokenizer(tokenizer);
  EXPECT_EQ(detokenizer.push(ids[0]), "");
  EXPECT_EQ(detokenizer.push(ids[1]), "é");
  Detokenizer cut(tokenizer);
  EXPECT_EQ(cut.push(ids[0]), "");
  EXPECT_EQ(cut.finish(), "\xef\xbf\xbd");
}

TEST(Detokenizer, TextComesWithEveryToken) {
  const Tokenizer tokenizer = Tokenizer::open(fixture("spbpe"));
  const std::vector<int32_t> ids =
      tokenizer.encode("The capital of France", {.add_special_tokens = false});
  Detokenizer detokenizer(tokenizer);
  size_t n_empty = 0;
  for (const int32_t id : ids) n_empty += detokenizer.push(id).empty() ? 1 : 0;
  EXPECT_LE(n_empty, 1u);  // the space that is taken off the front
}

// Rows by SentencePiece's own Python package.
TEST(SentencePieceFolder, EncodesAndDecodesAsSentencePiece) {
  const Tokenizer tokenizer = Tokenizer::open(fixture("sentencepiece"));
  const json rows = json::parse(read_text_file(fixture("sentencepiece") / "expected.json"));
  ASSERT_GT(rows.size(), 50u);
  for (const json& row : rows) {
    const std::vector<int32_t> ids = tokenizer.encode(row["text"].get<std::string>());
    EXPECT_EQ(json(ids), row["ids"]) << row["text"];
    EXPECT_EQ(tokenizer.decode(ids, {.skip_special_tokens = true}),
              row["decoded_skip_special"].get<std::string>());
  }
}

TEST(SentencePieceFolder, NoSpaceIsPutAfterASpecialToken) {
  const Tokenizer tokenizer = Tokenizer::open(fixture("sentencepiece"));
  const std::vector<int32_t> ids = tokenizer.encode("one</s>two");
  EXPECT_EQ(tokenizer.decode(ids), "<s> one</s>two");
  EXPECT_EQ(ids.front(), tokenizer.token_to_id("<s>"));
}

TEST(SentencePieceFolder, ADamagedFileIsNamed) {
  const TempFolder folder;
  folder.write("tokenizer.model", "not a model");
  const auto error = error_of([&] { Tokenizer::open(folder.path()); });
  ASSERT_TRUE(error.has_value());
  EXPECT_NE(error->message().find("tokenizer.model: not a SentencePiece model"), std::string::npos);
}

class TokenizerConfigs : public testing::Test {
 protected:
  Tokenizer open(const json& config, const json& document = fixture_json("wordpiece")) {
    folder_.write("tokenizer.json", document.dump());
    folder_.write("tokenizer_config.json", config.dump());
    return Tokenizer::open(folder_.path());
  }
  TempFolder folder_;
};

TEST_F(TokenizerConfigs, BothGenerationsAddTheirTokens) {
  const json older = {{"added_tokens_decoder",
                       {{"900", {{"content", "<tool>"}, {"lstrip", true}, {"special", false}}},
                        {"901", {{"content", "<img>"}, {"special", true}}}}},
                      {"additional_special_tokens", json::array({"<img>"})}};
  const json newer = {{"extra_special_tokens", json::array({"<img>"})},
                      {"tool_token", "<tool>"},
                      {"backend", "tokenizers"}};
  for (const json& config : {older, newer}) {
    const Tokenizer tokenizer = open(config);
    const std::optional<int32_t> image = tokenizer.token_to_id("<img>");
    ASSERT_TRUE(image.has_value());
    EXPECT_TRUE(tokenizer.is_special(*image));
    EXPECT_EQ(tokenizer.encode("<img>", {.add_special_tokens = false}),
              std::vector<int32_t>{*image});
    EXPECT_TRUE(tokenizer.token_to_id("<tool>").has_value());
  }
}

TEST_F(TokenizerConfigs, CleanUpIsForAllButBpe) {
  const json config = {{"clean_up_tokenization_spaces", true}};
  const std::string text = "so , no .";
  const Tokenizer unigram = open(config, fixture_json("unigram"));
  EXPECT_EQ(unigram.decode(unigram.encode(text, {.add_special_tokens = false})), "so, no.");
  const Tokenizer bpe = open(config, fixture_json("gpt2"));
  EXPECT_EQ(bpe.decode(bpe.encode(text)), text);
}

TEST_F(TokenizerConfigs, MalformedOnesNameTheKey) {
  const auto error = error_of([&] { open({{"bos_token", 3}}); });
  ASSERT_TRUE(error.has_value());
  EXPECT_NE(error->message().find("\"bos_token\": expected a token"), std::string::npos)
      << error->message();
}

}  // namespace
}  // namespace lockstep::text
