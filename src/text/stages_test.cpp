// Every stage and option, alone, against what the tokenizers library makes of the same texts:
// tests/fixtures/tokenizers/stages.json, written by tests/text/record_stages.py.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

namespace lockstep::text {
namespace {

using nlohmann::json;

const json& recorded() {
  static const json document = json::parse(read_text_file(
      std::filesystem::path(LOCKSTEP_SOURCE_DIR) / "tests/fixtures/tokenizers/stages.json"));
  return document;
}

Tokenizer tokenizer_of(const json& entry) {
  json document = entry["tokenizer"];
  if (document["model"] == "bytes") document["model"] = recorded()["bytes"];
  return Tokenizer::parse(document.dump(), entry["name"].get<std::string>());
}

std::string streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  Detokenizer detokenizer(tokenizer);
  std::string text;
  for (const int32_t id : ids) {
    const std::string part = detokenizer.push(id);
    EXPECT_TRUE(json(part).dump().size() > 1);  // throws where it is not UTF-8
    text += part;
  }
  return text + detokenizer.finish();
}

TEST(Stages, EncodeAsTheReference) {
  size_t n = 0;
  for (const json& entry : recorded()["cases"]) {
    if (!entry.contains("rows")) continue;
    const Tokenizer tokenizer = tokenizer_of(entry);
    for (const json& row : entry["rows"]) {
      const auto text = row["text"].get<std::string>();
      EXPECT_EQ(json(tokenizer.encode(text)), row["ids"]) << entry["name"] << ": " << row["text"];
      ++n;
    }
  }
  EXPECT_GT(n, 1000u);
}

TEST(Stages, DecodeAsTheReferenceWholeAndStreamed) {
  for (const json& entry : recorded()["cases"]) {
    const Tokenizer tokenizer = tokenizer_of(entry);
    for (const json& row : entry.value("rows", entry.value("decode", json::array()))) {
      const auto ids = row["ids"].get<std::vector<int32_t>>();
      const auto decoded = row["decoded"].get<std::string>();
      EXPECT_EQ(tokenizer.decode(ids), decoded) << entry["name"] << ": " << row["ids"];
      EXPECT_EQ(streamed(tokenizer, ids), decoded) << entry["name"] << ": " << row["ids"];
      if (!row.contains("decoded_skip_special")) continue;
      EXPECT_EQ(tokenizer.decode(ids, {.skip_special_tokens = true}),
                row["decoded_skip_special"].get<std::string>())
          << entry["name"] << ": " << row["ids"];
    }
  }
}

}  // namespace
}  // namespace lockstep::text
