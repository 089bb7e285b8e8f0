// Every fixture from text to text, by the program, in bfloat16: tokenizer, chat template, model and
// detokenizer together give what transformers wrote.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "run_program.h"
#include "support.h"
#include "text/tokenizer.h"

namespace lockstep::test {
namespace {

using nlohmann::json;

// The golden's prompts, and after them, where the model has a template, this through it.
constexpr const char* kQuestion = "What is the capital of Italy?";

std::string in_quotes(std::string text) {
  for (size_t at = 0; (at = text.find('\'', at)) != text.npos; at += 4)
    text.replace(at, 1, "'\\''");
  return "'" + text + "'";
}

// A margin of bfloat16 logits up to this is a tie: twice the largest difference between the
// reference's own bfloat16 and float32 logits on a prompt. Of the prompts the median: where one
// token goes to other experts, that is not the noise of all.
double noise_of_margins(const Golden& golden) {
  std::vector<double> largest(golden.n_prompts());
  for (size_t i = 0; i < largest.size(); ++i) {
    const std::vector<double> exact = golden.values("float32.logits." + std::to_string(i));
    const std::vector<double> rounded = golden.values("bfloat16.logits." + std::to_string(i));
    for (size_t j = 0; j < exact.size(); ++j) {
      largest[i] = std::max(largest[i], std::abs(exact[j] - rounded[j]));
    }
  }
  std::ranges::sort(largest);
  return 2 * largest[largest.size() / 2];
}

class TextToText : public ::testing::TestWithParam<std::string> {
 protected:
  json generate(size_t prompt, size_t max_tokens) const {
    const json& prompts = golden_.expected["prompts"];
    const std::string text = prompt < prompts.size()
                                 ? " --prompt " + in_quotes(prompts[prompt])
                                 : std::string(" --chat ") + in_quotes(kQuestion);
    const Outcome outcome = run_lockstep("generate " + fixture(GetParam()).string() + text +
                                             " --dtype bfloat16 --ignore-eos --json --max-tokens " +
                                             std::to_string(max_tokens),
                                         "2>/dev/null");
    EXPECT_EQ(outcome.status, 0) << outcome.text;
    return json::parse(outcome.text);
  }
  // The number of tokens that are the reference's, up to the first near tie that goes the other
  // way.
  size_t count_equal(size_t prompt, const std::vector<int32_t>& expected,
                     const std::vector<int32_t>& found) const {
    const auto n =
        static_cast<size_t>(std::ranges::mismatch(expected, found).in1 - expected.begin());
    if (n == expected.size()) return n;
    const double margin = golden_.expected["runs"]["bfloat16"]["greedy_margin"][prompt][n];
    EXPECT_LE(margin, noise_) << "prompt " << prompt << ", token " << n;
    return n;
  }

  Golden golden_{GetParam()};
  const double noise_ = noise_of_margins(golden_);
};

TEST_P(TextToText, IsWhatTransformersWroteInBfloat16) {
  const text::Tokenizer tokenizer = text::Tokenizer::open(fixture(GetParam()));
  const json& run = golden_.expected["runs"]["bfloat16"];
  size_t equal = 0, all = 0;
  for (size_t i = 0; i < golden_.n_prompts(); ++i) {
    std::vector<int32_t> expected = run["greedy"][i];
    EXPECT_EQ(tokenizer.decode(expected), run["text"][i]) << "prompt " << i;
    const json out = generate(i, expected.size());
    EXPECT_EQ(out["prompt_ids"], golden_.expected["prompt_ids"][i]) << "prompt " << i;
    const size_t n = count_equal(i, expected, out["tokens"]);
    equal += n;
    all += expected.size();
    if (n == 0) continue;
    expected.resize(n);
    const json upto = n == out["tokens"].size() ? out : generate(i, n);
    EXPECT_EQ(upto["text"], tokenizer.decode(expected, {.skip_special_tokens = true}))
        << "prompt " << i;
  }
  printf("  %s: %zu of %zu tokens before ties of up to %.3f\n", GetParam().c_str(), equal, all,
         noise_);
  EXPECT_GE(equal * 8, all) << "too little was compared";
}

INSTANTIATE_TEST_SUITE_P(Fixtures, TextToText, ::testing::ValuesIn(golden_fixtures()),
                         [](const auto& model) { return std::string(model.param); });

}  // namespace
}  // namespace lockstep::test
