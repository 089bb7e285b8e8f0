#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/element.h"
#include "ops/op_test_util.h"

namespace lockstep {
namespace {

constexpr const char* kInputs =
    "float32[T,4,6]~normal float32[T,2,6]~normal float32[T,2,5]~normal int32[T]~positions "
    "int32[S]~row_offsets int32[S]~page_offsets int32[P]~pages float32[C,2,B,6]~normal "
    "float32[C,2,B,5]~normal .scale=0.4";

/// What a score becomes, and a sink: of a head, on top of the scaled product.
struct Rule {
  int64_t window = 1 << 20;
  double soft_cap = 0;
  std::vector<double> slopes = std::vector<double>(4, 0.0);
  double alibi_scale = 1;
  bool rounds_alibi = false;
  size_t sinks_input = 0;

  double alibi(int64_t h, int64_t position) const {
    const double slope = slopes[static_cast<size_t>(h)];
    if (!rounds_alibi) return slope * static_cast<double>(position);
    const float place = round_to(DType::kBFloat16, static_cast<float>(position));
    return round_to(DType::kBFloat16,
                    round_to(DType::kBFloat16, static_cast<float>(slope)) * place);
  }
  double score(double product, int64_t h, int64_t key, int64_t query) const {
    if (soft_cap != 0) product = soft_cap * std::tanh(product / soft_cap);
    return product + alibi_scale * (alibi(h, key) - alibi(h, query));
  }
};

/// Attention by the textbook, on keys and values looked up by hand.
void check(OpRun& r, const Rule& rule = {}) {
  const int64_t page_size = r.op_case.page_size;
  int64_t token = 0;
  for (size_t s = 0; s < r.op_case.sequences.size(); ++s) {
    const CaseSequence& sequence = r.op_case.sequences[s];
    const auto first_page = static_cast<int64_t>(r.in(5, static_cast<int64_t>(s)));
    const int64_t first_token = token;
    const auto cached = [&](size_t cache, size_t fresh, int64_t p, int64_t g, int64_t width,
                            int64_t d) {
      if (p >= sequence.n_cached) {
        return r.in(fresh, ((first_token + p - sequence.n_cached) * 2 + g) * width + d);
      }
      const auto page = static_cast<int64_t>(r.in(6, first_page + p / page_size));
      return r.in(cache, ((page * 2 + g) * page_size + p % page_size) * width + d);
    };
    for (int64_t i = 0; i < sequence.n_new; ++i, ++token) {
      for (int64_t h = 0; h < 4; ++h) {
        std::vector<double> weights;
        double total = rule.sinks_input == 0 ? 0 : std::exp(r.in(rule.sinks_input, h));
        const int64_t position = sequence.n_cached + i;
        const int64_t first = std::max<int64_t>(0, position - rule.window + 1);
        for (int64_t p = first; p <= position; ++p) {
          double score = 0;
          for (int64_t d = 0; d < 6; ++d) {
            score += r.in(0, (token * 4 + h) * 6 + d) * cached(7, 1, p, h / 2, 6, d);
          }
          weights.push_back(std::exp(rule.score(score * 0.4, h, p, position)));
          total += weights.back();
        }
        for (int64_t d = 0; d < 5; ++d) {
          double expected = 0;
          for (size_t j = 0; j < weights.size(); ++j) {
            const int64_t p = first + static_cast<int64_t>(j);
            expected += weights[j] / total * cached(8, 2, p, h / 2, 5, d);
          }
          EXPECT_NEAR(r.out((token * 4 + h) * 5 + d), expected, 2e-6);
        }
      }
    }
  }
}

TEST(Attention, IsCausalSoftmaxOverThePagedCache) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    OpRun r("attention", std::string("a ragged:0+4,3+2,9+1 page:4 ") + kInputs, kernel);
    r.run();
    check(r);
  }
}

TEST(Attention, AWindowHidesWhatLiesFurtherBack) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    for (const int64_t window : {1, 3, 32, 40}) {
      OpRun r("attention",
              std::string("a ragged:0+4,3+2,60+9,70+1 page:4 ") + kInputs +
                  " .window=" + std::to_string(window),
              kernel);
      r.run();
      check(r, {.window = window});
    }
  }
}

// A key outside the window does not reach the sums, not even as zero times NaN.
TEST(Attention, WhatIsOutsideTheWindowIsNotRead) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    OpRun r("attention", std::string("a ragged:6+1 page:4 ") + kInputs + " .window=3", kernel);
    const auto page = static_cast<int64_t>(r.in(6, 0));  // positions 0 to 3, of which none is seen
    for (int64_t i = 0; i < 2 * 4 * 5; ++i) {
      r.inputs[8].data<float>()[page * 2 * 4 * 5 + i] = std::nanf("");
    }
    r.run();
    for (int64_t i = 0; i < 4 * 5; ++i) EXPECT_TRUE(std::isfinite(r.out(i)));
  }
}

constexpr const char* kManyKeys = "a ragged:0+4,3+2,60+9,700+2 page:4 ";

TEST(Attention, ASoftCapBoundsTheScores) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    OpRun r("attention", std::string(kManyKeys) + kInputs + " .soft_cap=0.75", kernel);
    r.run();
    check(r, {.soft_cap = 0.75});
  }
}

TEST(Attention, ASinkTakesWeightAndGivesNothing) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    OpRun r("attention", std::string(kManyKeys) + kInputs + " float32[4]~normal:1:2", kernel);
    r.run();
    check(r, {.sinks_input = 9});
  }
}

TEST(Attention, AlibiIsSlopeTimesDistance) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    OpRun r("attention", std::string(kManyKeys) + kInputs + " .alibi_slopes=[0.25,0.05,0.3,0.01]",
            kernel);
    r.run();
    check(r, {.slopes = {0.25, 0.05, 0.3, 0.01}});
  }
}

TEST(Attention, AlibiMayBeHeldInBFloat16) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    OpRun r("attention",
            std::string(kManyKeys) + kInputs +
                " .alibi_slopes=[0.25,0.0612,0.5,0.007] .alibi_scale=0.3 "
                ".alibi_rounding=bfloat16",
            kernel);
    r.run();
    check(r, {.slopes = {0.25, 0.0612, 0.5, 0.007}, .alibi_scale = 0.3, .rounds_alibi = true});
  }
}

TEST(Attention, BadScoreRulesAreRefused) {
  const auto error = [](const std::string& attribute) {
    return OpRun("attention", std::string("a ragged:0+2 page:4 ") + kInputs + attribute).error();
  };
  EXPECT_EQ(error(" .soft_cap=-1.0"), "[attention] soft_cap: expected 0 or more, found -1");
  EXPECT_EQ(error(" .alibi_slopes=[0.5,0.25]"),
            "[attention] alibi_slopes: expected one for each of 4 heads, found 2");
  EXPECT_EQ(error(" .alibi_slopes=[0.5,0.5,0.5,0.5] .alibi_rounding=float16"),
            "[attention] alibi_rounding: expected none or bfloat16, found float16");
  EXPECT_EQ(error(" float32[3]~normal"), "[attention] sinks: expected [4], found float32[3]");
}

TEST(Attention, WritesTheStepIntoItsPagesAndNothingElse) {
  OpRun r("attention", std::string("a ragged:3+2 page:4 ") + kInputs, "cpu.simd");
  const std::vector<Tensor> before = make_inputs(r.op_case, 7);
  r.run();
  int64_t n_changed = 0;
  for (int64_t i = 0; i < r.inputs[7].view().elements(); ++i) {
    n_changed += r.in(7, i) != before[7].data<float>()[i];
  }
  EXPECT_EQ(n_changed, 2 * 2 * 6);
  const auto page = static_cast<int64_t>(r.in(6, 1));  // position 4 is slot 0 of the second page
  for (int64_t d = 0; d < 6; ++d) EXPECT_EQ(r.in(7, page * 2 * 4 * 6 + d), r.in(1, 2 * 6 + d));
}

TEST(Attention, LargeScoresDoNotOverflow) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    OpRun r("attention", std::string("a ragged:0+3 page:4 ") + kInputs, kernel);
    for (int i = 0; i < 3 * 4 * 6; ++i) r.inputs[0].data<float>()[i] *= 1000;
    r.run();
    for (int64_t i = 0; i < 3 * 4 * 5; ++i) EXPECT_TRUE(std::isfinite(r.out(i)));
  }
}

TEST(Attention, BadIndicesAreRefused) {
  const std::string line = std::string("a ragged:3+2 page:4 ") + kInputs;
  OpRun positions("attention", line);
  positions.inputs[3].data<int32_t>()[1] = 8;
  EXPECT_EQ(positions.error(),
            "[attention] positions[1]: expected a position in [0, 8), what the "
            "pages of sequence 0 hold, found 8");
  OpRun rows("attention", line);
  rows.inputs[4].data<int32_t>()[1] = 1;
  EXPECT_EQ(rows.error(), "[attention] row_offsets[1]: expected the number of tokens, found 1");
  OpRun pages("attention", line);
  pages.inputs[6].data<int32_t>()[0] = 99;
  EXPECT_EQ(pages.error(), "[attention] pages[0]: expected a page of the cache, found 99");
}

TEST(Attention, ANegativeWindowIsRefused) {
  EXPECT_EQ(
      OpRun("attention", std::string("a ragged:0+2 page:4 ") + kInputs + " .window=-1").error(),
      "[attention] window: expected 0 or more, found -1");
}

TEST(Attention, HeadsThatDoNotDivideAreRefused) {
  EXPECT_EQ(OpRun("attention",
                  "a ragged:0+2 page:4 float32[T,3,6]~normal float32[T,2,6]~normal "
                  "float32[T,2,5]~normal int32[T]~positions int32[S]~row_offsets "
                  "int32[S]~page_offsets int32[P]~pages float32[C,2,B,6]~normal "
                  "float32[C,2,B,5]~normal .scale=0.4")
                .error(),
            "[attention] k: expected a number of heads that divides 3, found float32[2, 2, 6]");
}

}  // namespace
}  // namespace lockstep
