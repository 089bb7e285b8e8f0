// What bad input gets: exit status 2, a message that names file, key or tensor, expected and
// found, and nothing half-written. The binary is run as a person runs it.
#include <cstdlib>
#include <cstring>
#include <functional>

#include "run_program.h"
#include "support.h"

namespace lockstep::test {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

// A copy of the llama fixture to spoil.
class Checkpoint {
 public:
  Checkpoint() {
    for (const char* file : {"config.json", "model.safetensors"}) {
      fs::copy_file(fixture("llama") / file, folder() / file);
    }
  }
  fs::path folder() const { return temp_.path(); }
  void edit_config(const std::function<void(json&)>& edit) {
    json config = read_json(folder() / "config.json");
    edit(config);
    write_text(folder() / "config.json", config.dump(2));
  }
  std::string weights() const {
    std::ifstream file(folder() / "model.safetensors", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void set_weights(const std::string& bytes) {
    std::ofstream(folder() / "model.safetensors", std::ios::binary) << bytes;
  }
  // Rewrites the header, keeping the data.
  void edit_header(const std::function<void(json&)>& edit) {
    const std::string bytes = weights();
    uint64_t n = 0;
    memcpy(&n, bytes.data(), 8);
    json header = json::parse(bytes.substr(8, n));
    const std::string data = bytes.substr(8 + n);
    edit(header);
    const std::string text = header.dump();
    n = text.size();
    set_weights(std::string(reinterpret_cast<const char*>(&n), 8) + text + data);
  }

 private:
  TempDir temp_;
};

struct Case {
  const char* name;
  std::function<void(Checkpoint&)> spoil;
  std::vector<std::string> message;  // all of these
};

const char kQ[] = "model.layers.1.self_attn.q_proj.weight";

Case config_case(const char* name, std::function<void(json&)> edit,
                 std::vector<std::string> message) {
  message.push_back("config.json");
  return {name, [edit = std::move(edit)](Checkpoint& c) { c.edit_config(edit); },
          std::move(message)};
}

Case header_case(const char* name, std::function<void(json&)> edit,
                 std::vector<std::string> message) {
  message.push_back("model.safetensors");
  return {name, [edit = std::move(edit)](Checkpoint& c) { c.edit_header(edit); },
          std::move(message)};
}

std::vector<Case> cases() {
  return {
      config_case("UnknownArchitecture",
                  [](json& c) { c["architectures"] = {"NoSuchForCausalLM"}; },
                  {"architectures", "NoSuchForCausalLM", "LlamaForCausalLM"}),
      config_case("NoArchitecture", [](json& c) { c.erase("architectures"); }, {"architectures"}),
      config_case("ZeroLayers", [](json& c) { c["num_hidden_layers"] = 0; },
                  {"num_hidden_layers", "1 to 4096", "found 0"}),
      config_case("BillionLayers", [](json& c) { c["num_hidden_layers"] = 1000000000; },
                  {"num_hidden_layers", "found 1000000000"}),
      config_case("NegativeSize", [](json& c) { c["hidden_size"] = -64; },
                  {"hidden_size", "found -64"}),
      config_case("HugeSize", [](json& c) { c["intermediate_size"] = 1e18; },
                  {"intermediate_size"}),
      config_case("StringForSize", [](json& c) { c["hidden_size"] = "sixty-four"; },
                  {"hidden_size", "sixty-four"}),
      config_case("ListForSize", [](json& c) { c["vocab_size"] = {957}; }, {"vocab_size"}),
      config_case("NumberForFlag", [](json& c) { c["attention_bias"] = 1; }, {"attention_bias"}),
      config_case("UnknownRotaryScaling",
                  [](json& c) { c["rope_parameters"]["rope_type"] = "spiral"; },
                  {"rope_type", "spiral", "llama3"}),
      config_case("ZeroTheta", [](json& c) { c["rope_parameters"]["rope_theta"] = 0; },
                  {"rope_theta", "found 0"}),
      config_case("UnknownActivation", [](json& c) { c["hidden_act"] = "swoosh"; }, {"swoosh"}),
      config_case("HeadsThatDoNotDivide", [](json& c) { c["num_key_value_heads"] = 3; },
                  {"k_proj.weight", "[48, 64]", "[32, 64]"}),
      config_case("MoreLayersThanStored", [](json& c) { c["num_hidden_layers"] = 5; },
                  {"missing", "model.layers.4."}),
      config_case("FewerLayersThanStored", [](json& c) { c["num_hidden_layers"] = 3; },
                  {"surplus", "model.layers.3."}),
      config_case("ContradictsHeaders", [](json& c) { c["hidden_size"] = 128; },
                  {"model.embed_tokens.weight", "[957, 128]", "[957, 64]"}),
      {"NotJson",
       [](Checkpoint& c) { write_text(c.folder() / "config.json", "{\"a\": "); },
       {"config.json"}},
      {"NoConfig", [](Checkpoint& c) { fs::remove(c.folder() / "config.json"); }, {"config.json"}},
      {"NoWeights",
       [](Checkpoint& c) { fs::remove(c.folder() / "model.safetensors"); },
       {"model.safetensors"}},
      {"TruncatedHeader",
       [](Checkpoint& c) { c.set_weights(c.weights().substr(0, 100)); },
       {"model.safetensors"}},
      {"TruncatedData",
       [](Checkpoint& c) { c.set_weights(c.weights().substr(0, c.weights().size() - 10)); },
       {"model.safetensors"}},
      {"EmptyFile", [](Checkpoint& c) { c.set_weights(""); }, {"model.safetensors"}},
      {"OversizedHeader",
       [](Checkpoint& c) {
         std::string bytes = c.weights();
         memset(bytes.data(), 0xff, 7);
         c.set_weights(bytes);
       },
       {"model.safetensors"}},
      header_case("Overlap",
                  [](json& h) { h[kQ]["data_offsets"] = h["lm_head.weight"]["data_offsets"]; }, {}),
      header_case("LyingShape",
                  [](json& h) {
                    h[kQ]["shape"] = {64, 65};
                  },
                  {kQ}),
      header_case("UnknownDtype", [](json& h) { h[kQ]["dtype"] = "BF17"; }, {kQ, "BF17"}),
      header_case("MissingTensor",
                  [](json& h) {
                    h["model.layers.1.self_attn.other"] = h[kQ];
                    h.erase(kQ);
                  },
                  {"missing", kQ, "[64, 64]", "surplus", "model.layers.1.self_attn.other"}),
      header_case("WrongDtype", [](json& h) { h[kQ]["dtype"] = "I16"; }, {kQ, "bfloat16", "int16"}),
  };
}

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class BadInputTest : public ::testing::TestWithParam<Case> {};

TEST_P(BadInputTest, IsRefusedWithANameAndLeavesNothing) {
  Checkpoint checkpoint;
  GetParam().spoil(checkpoint);
  TempDir temp;
  const fs::path output = temp.path() / "dump";
  const Outcome outcome = run_lockstep("dump '" + checkpoint.folder().string() +
                                       "' --prompt-ids 1,2,3 --output '" + output.string() + "'");
  EXPECT_EQ(outcome.status, 2) << outcome.text;
  for (const std::string& part : GetParam().message) {
    EXPECT_NE(outcome.text.find(part), std::string::npos) << part << " in: " << outcome.text;
  }
  EXPECT_TRUE(fs::is_empty(temp.path())) << "something was left behind";
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, BadInputTest, ::testing::ValuesIn(cases()),
                         [](const auto& spoiled) { return std::string(spoiled.param.name); });

TEST(BadShardsTest, IndexAndShardsMustAgree) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {R"({"weight_map": {"a": "../model.safetensors"}})", "../model.safetensors"},
      {R"({"weight_map": {"a": "/etc/passwd"}})", "/etc/passwd"},
      {R"({"weight_map": {"a": "model-00001-of-00002.safetensors"}})",
       "model-00001-of-00002.safetensors"},
      {R"({"weight_map": {"a": 7}})", "index.json"},
      {R"({})", "weight_map"},
  };
  for (const auto& [index, part] : bad) {
    Checkpoint checkpoint;
    fs::remove(checkpoint.folder() / "model.safetensors");
    write_text(checkpoint.folder() / "model.safetensors.index.json", index);
    const Outcome outcome =
        run_lockstep("dump '" + checkpoint.folder().string() + "' --prompt-ids 1 --stats");
    EXPECT_EQ(outcome.status, 2) << index;
    EXPECT_NE(outcome.text.find(part), std::string::npos) << part << " in: " << outcome.text;
  }
}

TEST(BadPromptTest, IdsAreChecked) {
  const std::string model = "'" + fixture("llama").string() + "' ";
  for (const auto& [ids, part] :
       std::vector<std::pair<std::string, std::string>>{{"''", "--prompt-ids"},
                                                        {"1,,2", "place 1"},
                                                        {"1,two", "two"},
                                                        {"1,2.5", "2.5"},
                                                        {"99999999999999", "99999999999999"},
                                                        {"957", "957"},
                                                        {"1,-1", "-1"}}) {
    for (const char* command : {"generate ", "dump --stats "}) {
      const Outcome outcome = run_lockstep(command + model + "--prompt-ids=" + ids);
      EXPECT_EQ(outcome.status, 2) << command << ids;
      EXPECT_NE(outcome.text.find(part), std::string::npos) << part << " in: " << outcome.text;
    }
  }
}

TEST(BadFlagTest, FlagsAreChecked) {
  const std::string model = "'" + fixture("llama").string() + "' --prompt-ids 1,2,3 ";
  for (const char* flags :
       {"--dtype float8", "--devices cuda:9", "--prefill 4 --stats", "--chunk -1 --stats",
        "--threads -3", "--no-such-flag", "--custom-architectures /no/such/folder --stats", ""}) {
    EXPECT_EQ(run_lockstep("dump " + model + flags).status, 2) << flags;
  }
  EXPECT_EQ(run_lockstep("").status, 2);
  EXPECT_EQ(run_lockstep("no-such-command").status, 2);
  EXPECT_EQ(run_lockstep("--help").status, 0);
  EXPECT_EQ(run_lockstep("list-archs --match NoSuch").status, 1);
}

TEST(BadEnvironmentTest, KernelsThatDoNotExistAreNamed) {
  setenv("LOCKSTEP_KERNEL", "linear=cpu.warp", 1);
  const Outcome outcome =
      run_lockstep("generate '" + fixture("llama").string() + "' --prompt-ids 1");
  unsetenv("LOCKSTEP_KERNEL");
  EXPECT_EQ(outcome.status, 2);
  EXPECT_NE(outcome.text.find("cpu.warp"), std::string::npos) << outcome.text;
}

TEST(JsonErrorTest, UnreadableInputIsOneDocumentOnStdout) {
  const Outcome outcome = run_lockstep("graph /no/such/model --json", "2>/dev/null");
  EXPECT_EQ(outcome.status, 2);
  const json document = json::parse(outcome.text);
  EXPECT_EQ(document["error"]["code"], "not_found");
}

}  // namespace
}  // namespace lockstep::test
