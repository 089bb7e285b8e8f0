// The text model of a wrapper: in every layout that transformers has stored one in, the same bits
// as the text model alone.
#include "lockstep/nn/text_backbone.h"

#include "archs/gemma3_text/gemma3_text.h"
#include "archs/llama/llama.h"
#include "archs/mixtral/mixtral.h"
#include "lockstep/error.h"
#include "lockstep/port.h"
#include "wrapped_model.h"

namespace lockstep::test {
LOCKSTEP_ARCHITECTURE(wrapped_gemma3, "WrappedGemma3", "model",
                      TextBackbone<gemma3_text::Gemma3ForCausalLM>)
LOCKSTEP_ARCHITECTURE(wrapped_llama, "WrappedLlama", "model", TextBackbone<llama::LlamaForCausalLM>)
LOCKSTEP_ARCHITECTURE(wrapped_mixtral, "WrappedMixtral", "model",
                      TextBackbone<mixtral::MixtralForCausalLM>)

namespace {

struct Wrapped {
  const char* fixture;
  const LockstepArchitecture* architecture;
};
const Wrapped kWrapped[] = {{"gemma3", &lockstep_architecture_wrapped_gemma3},
                            {"llama", &lockstep_architecture_wrapped_llama},
                            {"mixtral", &lockstep_architecture_wrapped_mixtral}};

Model open_wrapped(const std::filesystem::path& folder, const LockstepArchitecture& architecture,
                   DType dtype) {
  ModelFiles files = ModelFiles::open(folder.string());
  Trace traced = trace(architecture, files.config, files.checkpoint, dtype);
  require(traced.audit, architecture.class_name);
  return {std::move(files), &architecture, std::move(traced), 0};
}

Audit audit_of(const std::filesystem::path& folder, const LockstepArchitecture& architecture) {
  const ModelFiles files = ModelFiles::open(folder.string());
  return trace(architecture, files.config, files.checkpoint, DType::kFloat32).audit;
}

bool mentions(const std::vector<std::string>& lines, const std::string& part) {
  return std::ranges::any_of(
      lines, [&](const std::string& line) { return line.find(part) != std::string::npos; });
}

TEST(TextBackboneTest, EveryLayoutGivesTheBitsOfTheTextModel) {
  for (const Wrapped& wrapped : kWrapped) {
    const std::vector<int32_t> ids = Golden(wrapped.fixture).prompt(0);
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      Pipeline plain = open_pipeline(fixture(wrapped.fixture).string(), dtype);
      const std::vector<double> expected = all_logits(plain, ids);
      for (const Layout& layout : wrapper_layouts()) {
        TempDir temp;
        write_wrapped(wrapped.fixture, layout, {.class_name = wrapped.architecture->class_name},
                      temp.path());
        PipelineOptions options;
        options.max_logit_rows = options.max_tokens;
        Pipeline pipeline(open_wrapped(temp.path(), *wrapped.architecture, dtype), options);
        EXPECT_EQ(pipeline.vocab_size(), plain.vocab_size());
        EXPECT_EQ(all_logits(pipeline, ids), expected) << wrapped.fixture << " " << layout.name;
      }
    }
  }
}

TEST(TextBackboneTest, SaysWhatItLeavesOut) {
  TempDir temp;
  write_wrapped("gemma3", wrapper_layouts()[1], {.class_name = "WrappedGemma3"}, temp.path());
  const Model model =
      open_wrapped(temp.path(), lockstep_architecture_wrapped_gemma3, DType::kFloat32);
  const std::vector<std::string> notices = model.notices();
  EXPECT_TRUE(mentions(notices, "3 stored tensors not used: not of the text model"));
  EXPECT_TRUE(mentions(notices,
                       "model.language_model.embed_tokens.weight: the first 1024 rows of 1040 "
                       "stored are used (tensor language_model.model.embed_tokens.weight)"));
  EXPECT_TRUE(mentions(notices, "vision_config"));
  // Module paths are the reference's.
  EXPECT_TRUE(model.trace.graph.find_call("model.language_model.layers.5.self_attn"));
  EXPECT_FALSE(model.trace.graph.find_call("model.layers.5.self_attn"));
}

TEST(TextBackboneTest, TiedHeadThatIsStoredIsFoundInEveryLayout) {
  for (const Layout& layout : wrapper_layouts()) {
    TempDir temp;
    write_wrapped("gemma3", layout, {.class_name = "WrappedGemma3", .with_stored_head = true},
                  temp.path());
    Model model = open_wrapped(temp.path(), lockstep_architecture_wrapped_gemma3, DType::kFloat32);
    ASSERT_EQ(model.trace.audit.ties.size(), 1u);
    EXPECT_TRUE(model.trace.audit.ties[0].stored_twice) << layout.name;
    EXPECT_EQ(model.trace.audit.shortened.size(), 2u);
    const std::vector<int32_t> ids = Golden("gemma3").prompt(0);
    Pipeline plain = open_pipeline(fixture("gemma3").string(), DType::kFloat32);
    PipelineOptions options;
    options.max_logit_rows = options.max_tokens;
    Pipeline pipeline(std::move(model), options);
    EXPECT_EQ(all_logits(pipeline, ids), all_logits(plain, ids)) << layout.name;
    EXPECT_TRUE(pipeline.weights().notices().empty());
  }
}

TEST(TextBackboneTest, RowsAreLeftOutOfTheVocabularyAlone) {
  TempDir temp;
  write_wrapped("llama", wrapper_layouts()[0], {.class_name = "WrappedLlama"}, temp.path());
  nlohmann::json config = read_json(temp.path() / "config.json");
  // Fewer rows of anything else are a wrong shape, and so are more columns of the embedding.
  config["text_config"]["intermediate_size"] = 150;
  write_text(temp.path() / "config.json", config.dump());
  const Audit audit = audit_of(temp.path(), lockstep_architecture_wrapped_llama);
  EXPECT_EQ(audit.mismatched.size(), 12u);
  EXPECT_TRUE(mentions(audit.mismatched, "model.language_model.layers.0.mlp.gate_proj.weight"));
}

TEST(TextBackboneTest, MoreVocabularyThanRowsIsAWrongShape) {
  TempDir temp;
  write_wrapped("llama", wrapper_layouts()[0], {.class_name = "WrappedLlama", .surplus_rows = 0},
                temp.path());
  nlohmann::json config = read_json(temp.path() / "config.json");
  config["text_config"]["vocab_size"] = 958;
  write_text(temp.path() / "config.json", config.dump());
  const Audit audit = audit_of(temp.path(), lockstep_architecture_wrapped_llama);
  EXPECT_TRUE(mentions(audit.mismatched, "embed_tokens.weight: expected [958, 64]"));
  EXPECT_TRUE(mentions(audit.mismatched, "lm_head.weight: expected [958, 64]"));
}

TEST(TextBackboneTest, TensorsOfUnknownModulesAreSurplus) {
  TempDir temp;
  Layout layout = wrapper_layouts()[0];
  layout.bridge = "model.thinking_cap.";
  write_wrapped("llama", layout, {.class_name = "WrappedLlama"}, temp.path());
  const Audit audit = audit_of(temp.path(), lockstep_architecture_wrapped_llama);
  EXPECT_EQ(audit.surplus, std::vector<std::string>{"model.thinking_cap.linear_1.weight"});
}

TEST(TextBackboneTest, OuterConfigurationDecidesWhetherTheHeadIsTied) {
  TempDir temp;
  write_wrapped("llama", wrapper_layouts()[0], {.class_name = "WrappedLlama"}, temp.path());
  nlohmann::json config = read_json(temp.path() / "config.json");
  config["tie_word_embeddings"] = true;
  write_text(temp.path() / "config.json", config.dump());
  EXPECT_EQ(audit_of(temp.path(), lockstep_architecture_wrapped_llama).ties.size(), 1u);
  config["tie_word_embeddings"] = nullptr;
  write_text(temp.path() / "config.json", config.dump());
  EXPECT_EQ(audit_of(temp.path(), lockstep_architecture_wrapped_llama).ties.size(), 0u);
}

TEST(TextBackboneTest, ConfigurationWithoutANestedOneIsTheTextModels) {
  TempDir temp;
  write_wrapped("llama", wrapper_layouts()[2], {.class_name = "WrappedLlama"}, temp.path());
  nlohmann::json config = read_json(temp.path() / "config.json");
  nlohmann::json flat = config["text_config"];
  flat["architectures"] = config["architectures"];
  flat["vision_config"] = config["vision_config"];
  write_text(temp.path() / "config.json", flat.dump());
  EXPECT_TRUE(audit_of(temp.path(), lockstep_architecture_wrapped_llama).holds());
  flat["text_config"] = 3;
  write_text(temp.path() / "config.json", flat.dump());
  try {
    audit_of(temp.path(), lockstep_architecture_wrapped_llama);
    FAIL() << "a number was taken for a configuration";
  } catch (const Error& error) {
    EXPECT_TRUE(error.message().find("text_config") != std::string::npos) << error.message();
  }
}

}  // namespace
}  // namespace lockstep::test
