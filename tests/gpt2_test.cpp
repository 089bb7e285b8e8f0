// GPT-2's older checkpoints and the switches of its config that the golden does not have.
#include "support.h"

namespace lockstep::test {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

const std::vector<int32_t> kPrompt = {594, 282, 297, 681, 271};

std::vector<double> logits_of(const fs::path& model) {
  Pipeline pipeline = open_pipeline(model.string(), DType::kFloat32);
  return all_logits(pipeline, kPrompt);
}

// The scale of each layer's attention under config.json with `key` set.
std::vector<double> scales_with(const std::string& key, const json& value) {
  TempDir temp;
  fs::copy_file(fixture("gpt2") / "model.safetensors", temp.path() / "model.safetensors");
  json config = read_json(fixture("gpt2") / "config.json");
  config[key] = value;
  write_text(temp.path() / "config.json", config.dump());
  const Model model = Model::open(temp.path().string(), Registry());
  std::vector<double> scales;
  for (const Node& node : model.trace.graph.nodes) {
    if (node.op == nullptr || node.op->name != "attention") continue;
    scales.push_back(node.attrs.get_float("scale"));
  }
  return scales;
}

TEST(Gpt2Test, ScoresAreScaledAsTheConfigSays) {
  using Scales = std::vector<double>;
  EXPECT_EQ(scales_with("n_inner", 256), (Scales{0.25, 0.25, 0.25, 0.25}));
  EXPECT_EQ(scales_with("scale_attn_weights", false), (Scales{1, 1, 1, 1}));
  EXPECT_EQ(scales_with("scale_attn_by_inverse_layer_idx", true),
            (Scales{0.25, 0.25 / 2, 0.25 / 3, 0.25 / 4}));
}

// The published gpt2 stores no "transformer." and the masks of its attention.
TEST(Gpt2Test, OldNamesBindAndMasksAreDropped) {
  TempDir temp;
  fs::copy_file(fixture("gpt2") / "config.json", temp.path() / "config.json");
  const SafetensorsFile stored = SafetensorsFile::open(fixture("gpt2") / "model.safetensors");
  const std::string prefix = "transformer.";
  const std::vector<int64_t> mask_shape = {1, 1, 4, 4};
  const std::vector<std::byte> mask(4 * 4 * sizeof(float));
  SafetensorsWriter writer(temp.path() / "model.safetensors");
  for (const TensorEntry& entry : stored.tensors()) {
    writer.declare(entry.name.substr(prefix.size()), entry.dtype, entry.shape);
  }
  writer.declare("h.0.attn.bias", DType::kFloat32, mask_shape);
  writer.declare("h.0.attn.masked_bias", DType::kFloat32, std::vector<int64_t>{1});
  writer.begin();
  for (const TensorEntry& entry : stored.tensors()) {
    const View view = stored.view(entry);
    writer.write(entry.name.substr(prefix.size()), 0,
                 {static_cast<const std::byte*>(view.data), view.bytes()});
  }
  writer.write("h.0.attn.bias", 0, mask);
  writer.write("h.0.attn.masked_bias", 0, std::span(mask).first(sizeof(float)));
  writer.commit();
  EXPECT_EQ(logits_of(temp.path()), logits_of(fixture("gpt2")));
  const Model model = Model::open(temp.path().string(), Registry());
  ASSERT_EQ(model.trace.audit.dropped.size(), 2u);
  EXPECT_EQ(model.trace.audit.dropped[0].stored, "h.0.attn.bias");
  EXPECT_NE(model.trace.audit.dropped[0].reason.find("mask"), std::string::npos);
}

// Positions are learned: past n_positions there are none.
TEST(Gpt2Test, APositionBeyondTheLastIsNamed) {
  Pipeline pipeline = open_pipeline(fixture("gpt2").string(), DType::kFloat32, 1024);
  try {
    all_logits(pipeline, std::vector<int32_t>(513, 7));
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("transformer.wpe"), std::string::npos) << error.message();
    EXPECT_NE(error.message().find("512"), std::string::npos) << error.message();
  }
}

}  // namespace
}  // namespace lockstep::test
