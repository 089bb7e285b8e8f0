#include "ops/latent_attention/latent_attention.h"

#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

constexpr int64_t kHeads = 3, kNope = 6, kRot = 4, kValue = 5, kRank = 7;
constexpr const char* kInputs =
    "float32[T,3,6]~normal float32[T,3,4]~normal float32[T,7]~normal float32[T,4]~normal "
    "float32[33,7]~normal int32[T]~positions int32[S]~row_offsets int32[S]~page_offsets "
    "int32[P]~pages float32[C,1,B,11]~normal .scale=0.4";

/// Attention by the textbook: keys and values expanded, looked up by hand.
void check(OpRun& r) {
  const int64_t page_size = r.op_case.page_size;
  int64_t token = 0;
  for (size_t s = 0; s < r.op_case.sequences.size(); ++s) {
    const CaseSequence& sequence = r.op_case.sequences[s];
    const auto first_page = static_cast<int64_t>(r.in(7, static_cast<int64_t>(s)));
    const auto cached = [&](int64_t p, int64_t i) {
      const auto page = static_cast<int64_t>(r.in(8, first_page + p / page_size));
      return r.in(9, (page * page_size + p % page_size) * (kRank + kRot) + i);
    };
    const auto expanded = [&](int64_t p, int64_t row) {
      double sum = 0;
      for (int64_t i = 0; i < kRank; ++i) sum += r.in(4, row * kRank + i) * cached(p, i);
      return sum;
    };
    for (int64_t i = 0; i < sequence.n_new; ++i, ++token) {
      for (int64_t d = 0; d < kRank; ++d) {
        EXPECT_EQ(cached(sequence.n_cached + i, d), r.in(2, token * kRank + d));
      }
      for (int64_t d = 0; d < kRot; ++d) {
        EXPECT_EQ(cached(sequence.n_cached + i, kRank + d), r.in(3, token * kRot + d));
      }
    }
    token -= sequence.n_new;
    for (int64_t i = 0; i < sequence.n_new; ++i, ++token) {
      for (int64_t h = 0; h < kHeads; ++h) {
        const int64_t first = h * (kNope + kValue);
        std::vector<double> weights;
        double total = 0;
        for (int64_t p = 0; p <= sequence.n_cached + i; ++p) {
          double score = 0;
          for (int64_t d = 0; d < kNope; ++d) {
            score += r.in(0, (token * kHeads + h) * kNope + d) * expanded(p, first + d);
          }
          for (int64_t d = 0; d < kRot; ++d) {
            score += r.in(1, (token * kHeads + h) * kRot + d) * cached(p, kRank + d);
          }
          weights.push_back(std::exp(score * 0.4));
          total += weights.back();
        }
        for (int64_t d = 0; d < kValue; ++d) {
          double expected = 0;
          for (size_t p = 0; p < weights.size(); ++p) {
            expected += weights[p] / total * expanded(static_cast<int64_t>(p), first + kNope + d);
          }
          EXPECT_NEAR(r.out((token * kHeads + h) * kValue + d), expected, 1e-5);
        }
      }
    }
  }
}

TEST(LatentAttention, IsAttentionToExpandedKeysAndValues) {
  for (const char* kernel : {"ref", "cpu.absorbed"}) {
    OpRun r("latent_attention", std::string("a ragged:0+4,3+2,9+1 page:4 ") + kInputs, kernel);
    r.run();
    check(r);
  }
}

// The list never gives this kernel float32; its arithmetic is the same.
TEST(LatentAttention, ExpandedIsTheSameFunctionInFloat32) {
  OpRun r("latent_attention", std::string("a ragged:0+300,40+2 page:16 ") + kInputs, "ref");
  r.run();
  const std::vector<Tensor> expected = std::move(r.outputs);
  Tensor out(DType::kFloat32, {302, kHeads, kValue});
  const ops::LatentAttentionArgs args{
      .q_nope = r.inputs[0].view().data,
      .q_rot = r.inputs[1].view().data,
      .latent = r.inputs[2].view().data,
      .k_rot = r.inputs[3].view().data,
      .kv_b = r.inputs[4].view().data,
      .positions = r.inputs[5].data<int32_t>(),
      .row_offsets = r.inputs[6].data<int32_t>(),
      .page_offsets = r.inputs[7].data<int32_t>(),
      .pages = r.inputs[8].data<int32_t>(),
      .cache = r.inputs[9].view().data,
      .out = out.view().data,
      .n_tokens = 302,
      .n_sequences = 2,
      .n_heads = kHeads,
      .nope_width = kNope,
      .rot_width = kRot,
      .value_width = kValue,
      .rank = kRank,
      .page_size = 16,
      .scale = 0.4f,
      .dtype = DType::kFloat32,
      .weight_dtype = DType::kFloat32,
  };
  ThreadPool pool(2);
  ops::latent_attention_expanded(args, pool);
  for (int64_t i = 0; i < 302 * kHeads * kValue; ++i) {
    EXPECT_NEAR(out.data<float>()[i], expected[0].data<float>()[i], 1e-5);
  }
}

TEST(LatentAttention, ExpansionPaysForManyNewTokensASequence) {
  ops::LatentAttentionArgs args{};
  args.nope_width = args.value_width = 128;
  args.rank = 512;
  args.n_sequences = 1;
  args.n_tokens = 170;
  EXPECT_NE(ops::latent_attention_expanded_refuse(args), nullptr);
  args.n_tokens = 171;
  EXPECT_EQ(ops::latent_attention_expanded_refuse(args), nullptr);
  args.n_sequences = 2;
  EXPECT_NE(ops::latent_attention_expanded_refuse(args), nullptr);
}

TEST(LatentAttention, BadInputsAreRefused) {
  const std::string line = std::string("a ragged:3+2 page:4 ") + kInputs;
  OpRun positions("latent_attention", line);
  positions.inputs[5].data<int32_t>()[1] = 8;
  EXPECT_EQ(positions.error(),
            "[latent_attention] positions[1]: expected a position in [0, 8), what the pages of "
            "sequence 0 hold, found 8");
  EXPECT_EQ(OpRun("latent_attention",
                  "a ragged:0+2 page:4 float32[T,3,6]~normal float32[T,3,4]~normal "
                  "float32[T,7]~normal float32[T,4]~normal float32[18,7]~normal int32[T]~positions "
                  "int32[S]~row_offsets int32[S]~page_offsets int32[P]~pages "
                  "float32[C,1,B,11]~normal .scale=0.4")
                .error(),
            "[latent_attention] kv_b: expected 3 heads of more than 6 rows, found float32[18, 7]");
}

}  // namespace
}  // namespace lockstep
