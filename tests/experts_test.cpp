// Mixtures of experts in whole models: both ways of storing them, routing as it is named, and yarn.
#include <algorithm>
#include <map>

#include "support.h"

namespace lockstep::test {
namespace {
namespace fs = std::filesystem;

const std::vector<int32_t> kPrompt = {591, 283, 298, 682, 273};

/// How a family stores its experts one by one.
struct Storage {
  const char *fixture, *block, *gate, *up, *down;
};

/// The committed fixtures, and the shared ones that are there.
std::vector<Storage> storages() {
  std::vector<Storage> all = {{"mixtral", "block_sparse_moe", "w1", "w3", "w2"}};
  for (const char* name : {"deepseek_v2", "deepseek_v3", "olmoe", "qwen3_moe", "qwen3_next"}) {
    if (fs::exists(fixture(name)))
      all.push_back({name, "mlp", "gate_proj", "up_proj", "down_proj"});
  }
  return all;
}

class StackedExpertsTest : public ::testing::TestWithParam<Storage> {};

/// The fixture's tensors, experts stacked and everything named as the reference's modules are.
void write_stacked(const Storage& storage, const fs::path& path) {
  const SafetensorsFile file =
      SafetensorsFile::open(fixture(storage.fixture) / "model.safetensors");
  const std::string block = std::string(".") + storage.block + ".";
  struct Tensor {
    DType dtype;
    std::vector<int64_t> shape;
    std::vector<std::byte> bytes;
  };
  std::map<std::string, Tensor> tensors;
  const auto bytes_of = [&](const TensorEntry& entry) {
    const View view = file.view(entry);
    const auto* data = static_cast<const std::byte*>(view.data);
    return std::vector<std::byte>(data, data + view.bytes());
  };
  for (const TensorEntry& entry : file.tensors()) {
    const size_t at = entry.name.find(block);
    if (at == std::string::npos) {
      tensors[entry.name] = {entry.dtype, entry.shape, bytes_of(entry)};
      continue;
    }
    const std::string layer = entry.name.substr(0, at);
    const std::string rest = entry.name.substr(at + block.size());
    if (!rest.starts_with("experts.")) {
      tensors[layer + ".mlp." + rest] = {entry.dtype, entry.shape, bytes_of(entry)};
      continue;
    }
    if (!rest.starts_with("experts.0.") || !rest.ends_with(std::string(storage.gate) + ".weight")) {
      continue;
    }
    Tensor gate_up{entry.dtype, {0, 2 * entry.shape[0], entry.shape[1]}, {}};
    Tensor down{entry.dtype, {0, entry.shape[1], entry.shape[0]}, {}};
    for (int64_t e = 0;; ++e) {
      const std::string expert = layer + block + "experts." + std::to_string(e) + ".";
      const TensorEntry* gate = file.find(expert + storage.gate + ".weight");
      if (gate == nullptr) break;
      ++gate_up.shape[0];
      ++down.shape[0];
      for (const TensorEntry* part : {gate, file.find(expert + storage.up + ".weight")}) {
        const std::vector<std::byte> bytes = bytes_of(*part);
        gate_up.bytes.insert(gate_up.bytes.end(), bytes.begin(), bytes.end());
      }
      const std::vector<std::byte> bytes = bytes_of(*file.find(expert + storage.down + ".weight"));
      down.bytes.insert(down.bytes.end(), bytes.begin(), bytes.end());
    }
    tensors[layer + ".mlp.experts.gate_up_proj"] = std::move(gate_up);
    tensors[layer + ".mlp.experts.down_proj"] = std::move(down);
  }
  SafetensorsWriter writer(path);
  for (const auto& [name, tensor] : tensors) writer.declare(name, tensor.dtype, tensor.shape);
  writer.begin();
  for (const auto& [name, tensor] : tensors) writer.write(name, 0, tensor.bytes);
  writer.commit();
}

TEST_P(StackedExpertsTest, GiveTheSameBitsAsExpertsOneByOne) {
  TempDir temp;
  const fs::path one_by_one = fixture(GetParam().fixture);
  fs::copy_file(one_by_one / "config.json", temp.path() / "config.json");
  write_stacked(GetParam(), temp.path() / "model.safetensors");
  Pipeline expected = open_pipeline(one_by_one.string(), DType::kFloat32);
  Pipeline found = open_pipeline(temp.path().string(), DType::kFloat32);
  EXPECT_EQ(all_logits(found, kPrompt), all_logits(expected, kPrompt));
}

TEST_P(StackedExpertsTest, RoutingIsTappedBelowTheBlock) {
  Pipeline pipeline = open_pipeline(fixture(GetParam().fixture).string(), DType::kBFloat16);
  std::map<std::string, ValueId> taps;
  for (const Tap& tap : list_taps(pipeline.graph(), "*mlp/*", TapInputs::kNo)) {
    taps.emplace(tap.path, tap.value);
  }
  const std::string block = "model.layers.2.mlp/";
  for (const char* name : {"router_logits", "topk_ids", "topk_weights"}) {
    ASSERT_TRUE(taps.contains(block + name)) << name;
  }
  EXPECT_EQ(pipeline.graph().type(taps[block + "topk_ids"]).dtype, DType::kInt32);
  EXPECT_EQ(pipeline.graph().type(taps[block + "topk_weights"]).dtype, DType::kFloat32);
  std::map<ValueId, std::vector<double>> computed;
  pipeline.observe({taps[block + "topk_ids"], taps[block + "router_logits"]},
                   [&](ValueId v, const View& rows) { computed[v] = to_doubles(rows); });
  all_logits(pipeline, kPrompt);
  const std::vector<double>& ids = computed[taps[block + "topk_ids"]];
  const std::vector<double>& logits = computed[taps[block + "router_logits"]];
  ASSERT_EQ(ids.size(), 2 * kPrompt.size());
  const size_t per_token = logits.size() / kPrompt.size();
  const auto n_experts = static_cast<double>(per_token);
  for (size_t i = 0; i < ids.size(); i += 2) {
    EXPECT_NE(ids[i], ids[i + 1]);
    for (const double id : {ids[i], ids[i + 1]}) EXPECT_TRUE(id >= 0 && id < n_experts);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, StackedExpertsTest, ::testing::ValuesIn(storages()),
                         [](const auto& storage) { return std::string(storage.param.fixture); });

TEST(DeepseekV3Test, LayersThatPredictFurtherTokensAreDropped) {
  TempDir temp;
  const SafetensorsFile file = SafetensorsFile::open(fixture("deepseek_v3") / "model.safetensors");
  const std::string extra = "model.layers.4.eh_proj.weight";
  SafetensorsWriter writer(temp.path() / "model.safetensors");
  for (const TensorEntry& entry : file.tensors()) {
    writer.declare(entry.name, entry.dtype, entry.shape);
  }
  writer.declare(extra, DType::kBFloat16, std::vector<int64_t>{1});
  writer.begin();
  for (const TensorEntry& entry : file.tensors()) {
    const View view = file.view(entry);
    writer.write(entry.name, 0, {static_cast<const std::byte*>(view.data), view.bytes()});
  }
  writer.write(extra, 0, std::vector<std::byte>(2));
  writer.commit();
  nlohmann::json config = read_json(fixture("deepseek_v3") / "config.json");
  write_text(temp.path() / "config.json", config.dump());
  const Model model = Model::open(temp.path().string(), Registry(), DType::kFloat32);
  ASSERT_EQ(model.trace.audit.dropped.size(), 1u);
  EXPECT_EQ(model.trace.audit.dropped[0].stored, extra);
  config["num_nextn_predict_layers"] = 0;
  write_text(temp.path() / "config.json", config.dump());
  EXPECT_THROW(Model::open(temp.path().string(), Registry(), DType::kFloat32), Error);
}

// What modeling_rope_utils gives for this config, in its float32 arithmetic; the rule was held
// against the tables of a recorded yarn model.
TEST(YarnTest, FrequenciesAndScalesAreTheReferences) {
  TempDir temp;
  fs::copy_file(fixture("deepseek_v3") / "model.safetensors", temp.path() / "model.safetensors");
  nlohmann::json config = read_json(fixture("deepseek_v3") / "config.json");
  config["rope_scaling"] = {{"type", "yarn"},
                            {"factor", 8},
                            {"original_max_position_embeddings", 64},
                            {"mscale", 1.0},
                            {"mscale_all_dim", 0.5}};
  write_text(temp.path() / "config.json", config.dump());
  const Model model = Model::open(temp.path().string(), Registry(), DType::kFloat32);
  const std::vector<double> expected = {1.0,
                                        0.2239946573972702,
                                        0.0416666641831398,
                                        0.0039528473280370235,
                                        0.0012499999720603228,
                                        0.00039528473280370235,
                                        0.0001250000059371814,
                                        3.9528473280370235e-05};
  size_t n_tables = 0, n_attentions = 0;
  for (const Node& node : model.trace.graph.nodes) {
    if (node.kind != NodeKind::kOp) continue;
    if (node.op->name == "rotary_embedding") {
      const auto found = node.attrs.get_floats("inv_freq");
      EXPECT_TRUE(std::ranges::equal(found, expected)) << to_string(node.attrs);
      EXPECT_DOUBLE_EQ(node.attrs.get_float("attention_scaling"), 1.094179988101349);
      ++n_tables;
    } else if (node.op->name == "latent_attention") {
      const double mscale = 0.1 * 0.5 * std::log(8.0) + 1;
      EXPECT_DOUBLE_EQ(node.attrs.get_float("scale"), mscale * mscale / std::sqrt(32.0));
      ++n_attentions;
    }
  }
  EXPECT_EQ(n_tables, 1u);
  EXPECT_EQ(n_attentions, 4u);
}

}  // namespace
}  // namespace lockstep::test
