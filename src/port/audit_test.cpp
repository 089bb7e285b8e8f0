// Planted lies of each kind, and sound text that must not be accused: against the graphs of
// registered architectures on the committed fixtures.
#include "port/audit.h"

#include <gtest/gtest.h>

#include "base/testing/temp_folder.h"
#include "hub/checkpoint.h"

namespace lockstep::port {
namespace {
namespace fs = std::filesystem;

// The audit of a port whose graph is a registered architecture's.
class AuditTest : public ::testing::Test {
 protected:
  AuditReport audit_of(const fs::path& fixture, const std::string& header,
                       const std::string& record = "", const DonorReport* donor = nullptr) {
    // An absolute path stays what it is.
    const fs::path model = fs::path(LOCKSTEP_SOURCE_DIR) / "tests/fixtures" / fixture;
    const ModelFiles files = ModelFiles::open(model.string());
    const Registry registry;
    const Trace traced =
        trace(registry.resolve(files.config), files.config, files.checkpoint, DType::kFloat32);
    temp_.write("mine/arch.cpp", "#include \"mine.h\"\n");
    temp_.write("mine/mine.h", header);
    temp_.write("mine/PORT.md", record);
    const PortFolder port = PortFolder::open(temp_ / "mine");
    return audit({port, files.config, traced, donor});
  }

  // "Lie", "Stale", "OK", or "no claim": the worst of what is said of `text`.
  std::string verdict(const std::string& fixture, const std::string& text,
                      const DonorReport* donor = nullptr) {
    const AuditReport report = audit_of(fixture, "// " + text + "\n", "", donor);
    std::string worst = "no claim";
    for (const Claim& claim : report.claims) {
      const std::string name(verdict_name(claim.verdict));
      if (worst == "no claim" || name == "Lie" || (name == "Stale" && worst == "OK")) worst = name;
    }
    std::string all;
    for (const Claim& claim : report.claims) {
      all += " [" + std::string(verdict_name(claim.verdict)) + " " + claim.words + ": " +
             claim.evidence + "]";
    }
    last_ = all;
    return worst;
  }

  test::TempFolder temp_;
  std::string last_;
};

struct Case {
  const char* fixture;
  const char* text;
};

TEST_F(AuditTest, LiesOfEachKindAreFound) {
  const Case cases[] = {
      // Donor and family names.
      {"llama", "Qwen3's attention, unchanged."},
      {"llama", "Derived from mistral."},
      {"llama", "The layers of Gemma 2."},
      {"llama", "GptNeoXAttention with other names."},
      {"gpt2", "A LlamaDecoderLayer."},
      {"gpt2", "This is a Llama-like stack."},
      // Devices.
      {"llama", "Single-GPU only."},
      {"llama", "Runs on a single device."},
      {"llama", "There is no tensor parallelism."},
      // Norms.
      {"gpt2", "RMSNorm before each block."},
      {"llama", "LayerNorm before each block."},
      {"llama", "QK-norm on every head."},
      {"llama", "Queries and keys are normed: q and k are normed before they turn."},
      {"gpt2", "A post-attention norm follows."},
      {"llama", "No RMSNorm anywhere."},
      {"gemma3", "No QK-norm."},
      {"llama", "A post-norm block."},
      {"llama", "Norms have a unit offset."},
      // Rotation and positions.
      {"llama", "Interleaved rotary embedding."},
      {"llama", "Rotates neighbouring pairs."},
      {"llama", "Partial rotary embedding: half of the channels."},
      {"llama", "YaRN scaling of frequencies."},
      {"gpt2", "Rotary embeddings."},
      {"llama", "NoPE in every fourth layer."},
      {"llama", "No rotary embedding."},
      {"llama", "ALiBi slopes."},
      {"llama", "Learned positions."},
      // Attention.
      {"llama", "Sliding window attention."},
      {"gemma3", "A window of 77 tokens."},
      {"gpt2", "GQA."},
      {"llama", "Multi-head attention, a key head for each query head."},
      {"llama", "MLA: latent attention."},
      {"deepseek_v3", "Grouped-query attention."},
      {"llama", "Attention sinks."},
      {"llama", "Scores are soft-capped by a softcap."},
      {"llama", "It has 12 heads."},
      {"llama", "Attention with 3 key-value heads."},
      {"llama", "Heads of 80 channels, head_dim 80."},
      {"llama", "A stack of 40 layers."},
      {"llama", "A state-space model."},
      {"mamba2", "Grouped-query attention."},
      // Experts.
      {"llama", "A mixture of experts."},
      {"mixtral", "It has 16 experts."},
      {"mixtral", "Shared experts beside the routed ones."},
      {"mixtral", "The router takes the top-3 of the experts."},
      {"mixtral", "A sigmoid router."},
      // Feed-forward, residuals, head.
      {"gpt2", "SwiGLU."},
      {"llama", "GELU."},
      {"llama", "Parallel residual."},
      {"llama", "Bias on q, k and v."},
      {"gpt2", "Linear layers without biases."},
      {"llama", "It scales the embedding."},
      {"llama", "Bidirectional attention."},
      {"llama", "Sinks, or a delta rule, or ALiBi."},
      {"gpt2", "Granite 3 with LayerNorm."},
      {"llama", "Its weights are float32."},
      {"llama", "Non-rotary: no rotary."},
      {"mixtral", "8 experts, of which four experts per token are active."},
      {"deepseek_v3", "Seven experts: 7 shared experts."},
      {"gemma3", "Full rotary embedding, ALiBi."},
      // Values of config.json.
      {"llama", "With rope_theta = 123456."},
      {"llama", "The hidden size is 8192, and num_hidden_layers 77."},
      // Another model's reference.
      {"llama", "Mirrors transformers models/qwen3/modeling_qwen3.py."},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(verdict(c.fixture, c.text), "Lie") << c.fixture << ": " << c.text << last_;
  }
}

TEST_F(AuditTest, SoundTextIsNotAccused) {
  const Case cases[] = {
      {"llama",
       "Llama. Mirrors transformers models/llama/modeling_llama.py; member names are the "
       "reference's module names."},
      {"llama", "RMSNorm before attention and before the MLP (pre-norm), no LayerNorm."},
      {"llama", "GQA without QK-norm, sliding window or sinks."},
      {"llama", "SwiGLU rather than GELU; neither biases nor experts."},
      {"llama", "Not a mixture of experts."},
      {"llama", "Rotary embedding by halves (NeoX-style), as Llama and GPT-NeoX do."},
      {"llama", "LlamaAttention, with no post-norm."},
      {"llama", "It has 4 heads and 2 key-value heads."},
      {"llama", "Sharded by --devices: not only single-GPU."},
      {"llama", "Unlike Gemma, it does not scale the embedding."},
      {"llama", "Writing w[i] rotates nothing; the falcon flies, in bloom, on opt-in terms."},
      {"llama", "The key rows of q, k and v are one weight; see `q_proj`, model.layers.N.mlp."},
      {"llama", "A norm after attention: post-attention norm, before the MLP."},
      {"llama", "bfloat16 rounds once; float32 sums; the head is a Linear of its own."},
      {"llama", "No bias; hidden_size = 64, num_hidden_layers: 4, vocab_size is what it is."},
      {"llama", "Its weights are bfloat16; halves, a non-interleaved rotary embedding."},
      {"mixtral", "Two experts per token, of 4 experts."},
      {"gpt2", "Biases on q, k and v."},
      {"gpt2", "Learned positions or ALiBi; optional sinks, tied or not."},
      {"llama", "Blocks without LayerNorm; norms without bias."},
      {"gemma3", "Scales the embedding."},
      {"llama_rope3", "Llama 3.1 scaling of its frequencies."},
      {"gemma3", "QK-norm, a sliding window in most layers, full attention in others."},
      {"gemma3", "Norms have a unit offset: 1 + w in float32."},
      {"gemma3", "Sandwich of pre-norm and post-norm."},
      {"gpt2", "LayerNorm, learned positions, GELU, biases; no rotary embedding."},
      {"gpt2", "Multi-head attention."},
      {"mixtral", "Mixture of 4 experts, the top-2 of the router: two experts a token."},
      {"mixtral", "Experts without shared experts."},
      {"deepseek_v3", "MLA with a sigmoid router and shared experts."},
      {"deepseek_v3",
       "Latent attention: neighbouring channels turn, interleaved rotary, and only a "
       "part of a head: partial rotary."},
      {"mamba2", "State-space layers with a causal convolution; no attention."},
  };
  for (const Case& c : cases) {
    const std::string found = verdict(c.fixture, c.text);
    EXPECT_TRUE(found == "OK" || found == "no claim") << c.fixture << ": " << c.text << last_;
  }
}

TEST_F(AuditTest, LineageIsJudgedByIncludesAndDeltas) {
  const auto of = [&](const std::string& source, const DonorReport* donor) {
    const AuditReport report = audit_of("gpt2", source, "", donor);
    return report.claims.empty() ? "no claim" : std::string(verdict_name(report.claims[0].verdict));
  };
  const DonorReport donor{"llama", "LlamaForCausalLM", {}};
  EXPECT_EQ(of("// Derived from llama.\n", nullptr), "Lie");
  EXPECT_EQ(of("// Derived from llama.\n", &donor), "OK");
  EXPECT_EQ(of("// Derived from llama.\n#include \"lockstep/archs/llama.h\"\n", nullptr), "OK");
  EXPECT_EQ(of("// Derived from qwen3.\n", &donor), "Lie");
  // The donor's own ways are no claim about this code.
  EXPECT_EQ(of("// Llama has RMSNorm here.\n", &donor), "OK");
  EXPECT_EQ(of("// In place of the donor's RMSNorm.\n", &donor), "OK");
  // A donor's own text, left as it was.
  EXPECT_EQ(of("// Llama.\n", &donor), "Lie");
  EXPECT_EQ(of("// The Llama decoder.\n#include \"lockstep/archs/llama.h\"\n", nullptr), "Lie");
  EXPECT_EQ(of("// Everything else is Llama's.\n", &donor), "OK");
  EXPECT_EQ(of("// See lockstep/archs/qwen3.h.\n", &donor), "Stale");
  // Taken over in words alone.
  EXPECT_EQ(of("// Reuses llama.\n", &donor), "Stale");
  EXPECT_EQ(of("// A LlamaAttention for each layer.\n", &donor), "Stale");
  EXPECT_EQ(of("// Differs from LlamaAttention in its norms.\n", &donor), "OK");
}

TEST_F(AuditTest, WhatIsNoLongerThereIsStale) {
  const DonorReport donor{"llama", "LlamaForCausalLM", {Delta{.number = 1}}};
  EXPECT_EQ(verdict("llama", "Delta 1 (modeling_x.py:3): rows are q_proj's.", &donor), "OK")
      << last_;
  EXPECT_EQ(verdict("llama", "Delta 7 (modeling_x.py:3): done.", &donor), "Stale") << last_;
  EXPECT_EQ(verdict("llama", "Norms each head by q_norm first."), "Stale") << last_;
  EXPECT_EQ(verdict("llama", "See `old_helper()` below."), "Stale") << last_;
  EXPECT_EQ(verdict("llama", "Reads model.layers.N.block_sparse_moe too."), "Stale") << last_;
  EXPECT_EQ(verdict("llama", "The window is not yet implemented."), "Stale") << last_;
  EXPECT_EQ(verdict("llama", "As `eager_attention_forward` of the reference does."), "no claim")
      << last_;
}

TEST_F(AuditTest, WhatAFileSaysOfItsDeltasIsHeldAgainstItsNotes) {
  const DonorReport donor{"llama", "LlamaForCausalLM", {Delta{.number = 1}, Delta{.number = 2}}};
  const auto of = [&](const std::string& source) {
    const AuditReport report = audit_of("gpt2", source, "", &donor);
    return std::string(verdict_name(report.claims.at(0).verdict));
  };
  const std::string done = "//\n// Delta 2 (modeling_x.py:4): so it is.\n";
  EXPECT_EQ(of("// Deltas implemented: none yet.\n"), "OK");
  EXPECT_EQ(of("// Deltas implemented: none yet.\n" + done), "Stale");
  EXPECT_EQ(of("// Deltas implemented: 2.\n" + done), "OK");
  EXPECT_EQ(of("// Deltas implemented: 1, 2.\n" + done), "Lie");
}

TEST_F(AuditTest, OpenDeltasAreNoClaimsAndPromisesHoldWhileTheyAreOpen) {
  const AuditReport report = audit_of("llama",
                                      "// Not yet implemented in part.\n//\n"
                                      "// TODO(delta 1): the reference has QK-norm,\n"
                                      "//   LayerNorm and a sliding window.\n");
  ASSERT_EQ(report.claims.size(), 1u);
  EXPECT_TRUE(report.holds()) << report.claims[0].evidence;
}

TEST_F(AuditTest, TheRecordsOwnSectionsAreLeftOutAndHistoryIsNoClaim) {
  const std::string record =
      "# Port of mine\n\nA mixture of experts.\n\n<!-- lockstep:deltas -->\nQK-norm in Qwen3.\n"
      "<!-- /lockstep:deltas -->\n\n## Root cause\n\nRotary was interleaved, which it is not.\n\n"
      "## Notes\n\nLayer 0 had LayerNorm at first.\n\nIts layers\nhave a\nsliding window.\n";
  const AuditReport report = audit_of("llama", "int a;\n", record);
  ASSERT_EQ(report.count(Claim::Verdict::kLie), 2u);
  EXPECT_EQ(report.claims.front().file, "PORT.md");
  EXPECT_EQ(report.claims.front().line, 3u);
  EXPECT_EQ(report.claims.back().words, "sliding window");
  EXPECT_EQ(report.claims.back().line, 19u);
}

TEST_F(AuditTest, TheSummaryCarriesHitsAndHash) {
  const AuditReport report = audit_of("llama", "// RMSNorm, and GQA.\n");
  EXPECT_TRUE(report.holds());
  EXPECT_EQ(report.summary(), "2 claims in 3 files, all OK; content " +
                                  PortFolder::open(temp_ / "mine").content_hash().substr(0, 12));
  const AuditReport lying = audit_of("llama", "// QK-norm.\n");
  EXPECT_NE(lying.summary().find("1 claim in 3 files, 0 OK, 1 Lie, 0 Stale"), std::string::npos)
      << lying.summary();
}

// The registered architectures' own comments, as a port with the same graph would have them: those
// of the committed fixtures, and of all others where these lie beside the clone.
TEST_F(AuditTest, RegisteredArchitecturesTellTheTruth) {
  const fs::path source = LOCKSTEP_SOURCE_DIR;
  std::vector<fs::path> models;
  for (const char* name : {"llama", "gpt2", "mixtral", "mamba2", "deepseek_v3", "gemma3"}) {
    models.push_back(source / "tests/fixtures" / name);
  }
  const fs::path shared = source.parent_path() / "shared/fixtures/models";
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(shared, ignored)) {
    models.push_back(entry.path());
  }
  const Registry registry;
  for (const fs::path& model : models) {
    const ModelFiles files = ModelFiles::open(model.string());
    const std::string slug = registry.resolve(files.config).slug;
    const std::string text = test::read_bytes(source / "src/archs" / slug / (slug + ".h"));
    // They are told as what differs from Llama; as ports they would begin with it.
    const DonorReport donor{"llama", "LlamaForCausalLM", {}};
    for (const Claim& claim : audit_of(model, text, "", &donor).claims) {
      // What the family can do and this configuration does not ask for.
      if (claim.words == "longrope") continue;
      EXPECT_EQ(claim.verdict, Claim::Verdict::kOk)
          << slug << ".h:" << claim.line << ": " << claim.words << ": " << claim.evidence;
    }
  }
}

}  // namespace
}  // namespace lockstep::port
