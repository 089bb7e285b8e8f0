// Gates and audit as a person types them, on a port made of the Llama in the tree: each gate made
// to fail once, with its message, its next step and the exit status.
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "../run_program.h"
#include "base/testing/temp_folder.h"
#include "port/delta.h"
#include "port/port_record.h"

namespace lockstep::test {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kSource = LOCKSTEP_SOURCE_DIR;

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

class GatesTest : public ::testing::Test {
 protected:
  // Compiled once: copies of it have the same content.
  static void SetUpTestSuite() {
    compiled_ = new TempFolder;
    const fs::path folder = *compiled_ / "mine";
    fs::create_directory(folder);
    fs::copy_file(kSource / "src/archs/llama/llama.cpp", folder / "arch.cpp");
    std::string header = read_bytes(kSource / "src/archs/llama/llama.h");
    header += "\n// Key unused_key: an example of one that is rightly left unread.\n";
    compiled_->write("mine/llama.h", header);
    const Outcome outcome = run_lockstep("build " + folder.string());
    ASSERT_EQ(outcome.status, 0) << outcome.text;
  }
  static void TearDownTestSuite() { delete compiled_; }

  GatesTest() {
    fs::copy(*compiled_ / "mine", port(), fs::copy_options::recursive);
    fs::create_directory(model());
    for (const fs::directory_entry& entry :
         fs::directory_iterator(kSource / "tests/fixtures/llama")) {
      if (entry.is_regular_file()) fs::copy_file(entry.path(), model() / entry.path().filename());
    }
    edit_config([](json& c) { c["unused_key"] = 3; });
    settle_deltas();
  }

  fs::path port() const { return temp_ / "mine"; }
  fs::path model() const { return temp_ / "model"; }
  std::string header() const { return read_bytes(port() / "llama.h"); }

  // No delta: a port of the donor itself.
  void settle_deltas() const {
    port::write_deltas(port() / "deltas.json", {"mistral", "MistralForCausalLM", {}});
  }
  void edit_config(const std::function<void(json&)>& edit) const {
    json config = json::parse(read_bytes(model() / "config.json"));
    edit(config);
    temp_.write("model/config.json", config.dump(2));
  }

  Outcome run(const std::string& more = "", const char* redirect = "2>/dev/null") const {
    return run_lockstep("gates " + model().string() + " --port-dir " + port().string() + " " + more,
                        redirect);
  }
  json run_json(int status) const {
    const Outcome outcome = run("--json");
    EXPECT_EQ(outcome.status, status) << outcome.text;
    return json::parse(outcome.text);
  }
  static json gate(const json& document, const std::string& name) {
    for (const json& gate : document["gates"]) {
      if (gate["gate"] == name) return gate;
    }
    ADD_FAILURE() << "no gate " << name;
    return {{"status", ""}, {"detail", ""}};
  }
  // The gate fails with `part` in its detail and a next step, and is the first that does.
  void expect_failure(const std::string& name, const std::string& part) const {
    const json document = run_json(1);
    EXPECT_EQ(document["overall"], "FAIL");
    EXPECT_EQ(document["first_failing_gate"], name) << document.dump(1);
    const json found = gate(document, name);
    EXPECT_EQ(found["status"], "FAIL");
    const std::string detail = found["detail"];
    EXPECT_NE(detail.find(part), std::string::npos) << detail;
    EXPECT_NE(detail.find("\nnext: "), std::string::npos) << detail;
  }
  void expect_status(const json& document, const std::string& name,
                     const std::string& status) const {
    EXPECT_EQ(gate(document, name)["status"], status) << gate(document, name).dump();
  }

  static TempFolder* compiled_;
  TempFolder temp_;
};
TempFolder* GatesTest::compiled_ = nullptr;

TEST_F(GatesTest, ASoundPortPassesAndTheTableFits) {
  const Outcome outcome = run();
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_NE(outcome.text.find("(preflight): PASS\nnext: lockstep verify "), std::string::npos)
      << outcome.text;
  for (size_t begin = 0; begin < outcome.text.size();) {
    const size_t end = outcome.text.find('\n', begin);
    const std::string line = outcome.text.substr(begin, end - begin);
    // A path may be longer than a line.
    EXPECT_TRUE(line.size() <= 100 || line.find(temp_.path().string()) != std::string::npos)
        << line;
    begin = end + 1;
  }
}

TEST_F(GatesTest, TheDocumentIsAsProgramsRelyOnIt) {
  const fs::path file = temp_ / "gates.json";
  run();  // makes PORT.md, which is audited from then on
  EXPECT_EQ(run("--json-out " + file.string()).status, 0);
  const json document = json::parse(read_bytes(file));
  EXPECT_EQ(document["hf_id"], model().string());
  EXPECT_EQ(document["port_dir"], port().string());
  EXPECT_EQ(document["phase"], "preflight");
  EXPECT_EQ(document["overall"], "PASS");
  EXPECT_TRUE(document["first_failing_gate"].is_null());
  std::vector<std::string> names;
  for (const json& gate : document["gates"]) {
    names.push_back(gate["gate"]);
    EXPECT_EQ(gate["status"], "PASS") << gate.dump();
    EXPECT_TRUE(gate["detail"].is_string());
  }
  EXPECT_EQ(names, (std::vector<std::string>{"walls", "checkpoint_meta", "arch_name", "encoding",
                                             "config_keys", "deltas", "import", "dry_build", "keys",
                                             "weights_format", "docstrings"}));
  EXPECT_EQ(gate(document, "config_keys")["detail"], "15 keys read, 1 left out for a reason");
  EXPECT_EQ(run_json(0), document);
}

TEST_F(GatesTest, Walls) {
  edit_config([](json& c) { c["quantization_config"] = {{"quant_method", "gptq"}, {"bits", 4}}; });
  expect_failure("walls", "BLOCK [quant");
}

TEST_F(GatesTest, CheckpointMeta) {
  edit_config([](json& c) { c["num_hidden_layers"] = 5; });
  expect_failure("checkpoint_meta", "expected layers 0 to 4 (config.json), no tensor of 4");
}

TEST_F(GatesTest, HeadersThatCannotBeReadFailAndSkipWhatNeedsThem) {
  for (const fs::directory_entry& entry : fs::directory_iterator(model())) {
    if (entry.path().extension() == ".safetensors") {
      temp_.write("model/" + entry.path().filename().string(), "not a header");
    }
  }
  expect_failure("checkpoint_meta", "safetensors");
  const json document = run_json(1);
  for (const char* skipped : {"walls", "encoding", "config_keys", "dry_build", "keys"}) {
    expect_status(document, skipped, "SKIP");
  }
  EXPECT_EQ(gate(document, "keys")["detail"], "needs dry_build");
  expect_status(document, "import", "PASS");
  expect_status(document, "arch_name", "PASS");
}

TEST_F(GatesTest, ArchName) {
  edit_config([](json& c) { c["architectures"] = {"OtherForCausalLM"}; });
  expect_failure("arch_name",
                 "the port registers LlamaForCausalLM, config.json's architectures[0] is "
                 "OtherForCausalLM");
}

TEST_F(GatesTest, MismatchedEncodingsWarnAndExitZero) {
  edit_config([](json& c) { c["dtype"] = "float32"; });
  const json document = run_json(0);
  EXPECT_EQ(document["overall"], "WARN");
  expect_status(document, "encoding", "WARN");
  const std::string detail = gate(document, "encoding")["detail"];
  EXPECT_NE(detail.find("config.json says float32, most weights are bfloat16"), std::string::npos);
  EXPECT_EQ(run().status, 0);
}

TEST_F(GatesTest, UnreadKeysAreNamedUnlessTheSourcesSayWhy) {
  edit_config([](json& c) {
    c["magic_scale"] = 2.5;
    c["magic_window"] = 7;
  });
  const json document = run_json(0);
  expect_status(document, "config_keys", "WARN");
  const std::string detail = gate(document, "config_keys")["detail"];
  EXPECT_NE(detail.find("read by nobody: magic_scale, magic_window\n"), std::string::npos)
      << detail;
  const std::string record = port::read_record(port(), "config");
  EXPECT_NE(record.find("| magic_scale | **read by nobody** |"), std::string::npos) << record;
  EXPECT_NE(record.find("| unused_key | left out: an example of one"), std::string::npos) << record;
}

TEST_F(GatesTest, OpenDeltasFailByNumber) {
  port::Delta delta;
  delta.number = 4;
  delta.part = "attention";
  delta.change = "norm q and k";
  delta.where = "modeling_x.py:120";
  port::write_deltas(port() / "deltas.json", {"mistral", "MistralForCausalLM", {delta}});
  expect_failure("deltas",
                 "delta 4 attention: norm q and k (modeling_x.py:120); no source mentions");
}

TEST_F(GatesTest, WithoutDeltasItWarns) {
  fs::remove(port() / "deltas.json");
  expect_status(run_json(0), "deltas", "WARN");
}

TEST_F(GatesTest, Import) {
  temp_.write("mine/arch.cpp", "#include \"llama.h\"\nint broken = no_such_name;\n");
  expect_failure("import", "arch.cpp:2:");
  const json document = run_json(1);
  for (const char* skipped : {"arch_name", "config_keys", "dry_build", "keys", "docstrings"}) {
    expect_status(document, skipped, "SKIP");
  }
  EXPECT_EQ(gate(document, "dry_build")["detail"], "needs import");
}

TEST_F(GatesTest, DryBuild) {
  edit_config([](json& c) { c["hidden_act"] = "no_such_function"; });
  expect_failure("dry_build", "no_such_function");
}

TEST_F(GatesTest, KeysBothWays) {
  edit_config([](json& c) { c["num_hidden_layers"] = 3; });
  const json surplus = run_json(1);
  EXPECT_EQ(surplus["first_failing_gate"], "keys");
  const std::string detail = gate(surplus, "keys")["detail"];
  EXPECT_NE(detail.find("supplied, not used (9):\n  model.layers.3."), std::string::npos) << detail;
  EXPECT_NE(detail.find("\n  ... and 1 more (1 tensor)"), std::string::npos) << detail;
  expect_status(surplus, "checkpoint_meta", "WARN");

  edit_config([](json& c) { c["num_hidden_layers"] = 6; });
  const std::string missing = gate(run_json(1), "keys")["detail"];
  EXPECT_NE(missing.find("needed, not supplied (18):\n  model.layers.{4,5}."), std::string::npos)
      << missing;
}

TEST_F(GatesTest, WeightsFormat) {
  for (const fs::directory_entry& entry : fs::directory_iterator(model())) {
    if (entry.path().extension() == ".safetensors") fs::remove(entry.path());
  }
  temp_.write("model/pytorch_model.bin", "pickled");
  const json document = run_json(1);
  expect_status(document, "weights_format", "FAIL");
  const std::string detail = gate(document, "weights_format")["detail"];
  EXPECT_NE(detail.find("expected safetensors, found pytorch_model.bin"), std::string::npos);
}

TEST_F(GatesTest, Docstrings) {
  temp_.write("mine/PORT.md", "# Mine\n\nA single-GPU port with QK-norm.\n");
  expect_failure("docstrings", "PORT.md:3: Lie: \"QK-norm\"");
  const Outcome audited =
      run_lockstep("audit " + port().string() + " --model " + model().string(), "2>/dev/null");
  EXPECT_EQ(audited.status, 1) << audited.text;
  EXPECT_NE(audited.text.find("Lie   PORT.md:3: \"single-GPU\""), std::string::npos)
      << audited.text;
  // Repaired, it passes; the model is the one that the gates were run with.
  temp_.write("mine/PORT.md", "# Mine\n\nA port with RMSNorm.\n");
  EXPECT_EQ(run().status, 0);
  const Outcome passed = run_lockstep("audit " + port().string() + " --json", "2>/dev/null");
  EXPECT_EQ(passed.status, 0) << passed.text;
  const json document = json::parse(passed.text);
  EXPECT_EQ(document["holds"], true);
  EXPECT_EQ(document["hits"], document["claims"].size());
  EXPECT_EQ(document["content_hash"].get<std::string>().size(), 64u);
}

TEST_F(GatesTest, WhatCannotBeReadIsNoAnswer) {
  const Outcome no_model =
      run_lockstep("gates " + (temp_ / "absent").string() + " --port-dir " + port().string());
  EXPECT_EQ(no_model.status, 2) << no_model.text;
  const Outcome no_port =
      run_lockstep("gates " + model().string() + " --port-dir " + temp_.path().string());
  EXPECT_EQ(no_port.status, 2) << no_port.text;
  EXPECT_NE(no_port.text.find("found a folder of ports"), std::string::npos) << no_port.text;
  EXPECT_EQ(run("--slug other").status, 2);
  EXPECT_EQ(run("--slug llama").status, 0);
  EXPECT_EQ(run("--port 8000").status, 2);
  EXPECT_EQ(run("--phase verify").status, 2);
  EXPECT_EQ(run("--dtype int8").status, 2);
  temp_.write("mine/deltas.json", "{");
  const Outcome broken = run("--json");
  EXPECT_EQ(broken.status, 2);
  EXPECT_TRUE(json::parse(broken.text).contains("error")) << broken.text;
  settle_deltas();
  temp_.write("model/config.json", "{");
  EXPECT_EQ(run().status, 2);
}

TEST_F(GatesTest, TheVerifyPhaseProbesLengthsOfAPrompt) {
  const std::string reference = (kSource / "tests/fixtures/llama/golden").string();
  const Outcome outcome = run("--phase verify --json --reference " + reference);
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  const json document = json::parse(outcome.text);
  const json probe = gate(document, "logits_multi");
  EXPECT_EQ(probe["status"], "PASS") << probe.dump();
  EXPECT_NE(probe["detail"].get<std::string>().find("float32: 1 "), std::string::npos);

  // Needs what fails.
  edit_config([](json& c) { c["num_hidden_layers"] = 3; });
  const json skipped = json::parse(run("--phase verify --json --reference " + reference).text);
  EXPECT_EQ(gate(skipped, "logits_multi")["status"], "SKIP");
}

TEST_F(GatesTest, AnotherRotationDiffersFromSeveralTokensOnNotFromOne) {
  std::string source = header();
  for (const char* sound :
       {"apply_rotary_pos_emb(q, positions", "apply_rotary_pos_emb(k, positions"}) {
    source = replaced(source, sound, std::string(sound) + ", RopeStyle::kInterleaved");
  }
  temp_.write("mine/llama.h", source);
  const json document = json::parse(
      run("--phase verify --json --reference " + (kSource / "tests/fixtures/llama/golden").string())
          .text);
  EXPECT_EQ(document["first_failing_gate"], "logits_multi");
  const std::string detail = gate(document, "logits_multi")["detail"];
  EXPECT_NE(detail.find("differs from 5 tokens on: head layout, mask, or rotation"),
            std::string::npos)
      << detail;
  EXPECT_NE(detail.find("next: lockstep isolate "), std::string::npos) << detail;
}

TEST_F(GatesTest, AnUngatedPortIsSaidInOneLineUntilItPasses) {
  const std::string generate = "generate " + model().string() +
                               " --prompt-ids 1,2,3 --max-tokens 2 --custom-architectures " +
                               port().string();
  const auto notice = [&] { return run_lockstep(generate).text; };
  EXPECT_NE(notice().find("mine: the gates have not been run: lockstep gates " + model().string() +
                          " --port-dir " + port().string() + "\n"),
            std::string::npos)
      << notice();
  EXPECT_EQ(run().status, 0);
  EXPECT_EQ(notice().find("the gates"), std::string::npos) << notice();
  edit_config([](json& c) { c["rms_norm_eps"] = 1e-5; });
  EXPECT_NE(notice().find("the gates were run on another model"), std::string::npos);
  edit_config([](json& c) { c["architectures"] = {"LlamaForCausalLM", "x"}; });
  temp_.write("mine/PORT.md", "A mixture of experts.\n");
  EXPECT_EQ(run().status, 1);
  EXPECT_NE(notice().find("the gates failed at docstrings"), std::string::npos) << notice();
  temp_.write("mine/spare.h", "\n");
  EXPECT_NE(notice().find("the gates were run before its sources changed"), std::string::npos);
}

TEST_F(GatesTest, RunsAreRecordedWithWhatChanged) {
  const std::string verify = "verify " + model().string() + " --reference " +
                             (kSource / "tests/fixtures/llama/golden").string() +
                             " --custom-architectures " + port().string();
  const Outcome first = run_lockstep(verify);
  ASSERT_EQ(first.status, 0) << first.text;
  temp_.write("mine/spare.h", "// Nothing.\n");
  ASSERT_EQ(run_lockstep(verify).status, 0);
  const std::string runs = port::read_record(port(), "runs");
  EXPECT_NE(runs.find("| verify | "), std::string::npos) << runs;
  EXPECT_NE(runs.find("| pass | "), std::string::npos) << runs;
  EXPECT_NE(runs.find("| first run |"), std::string::npos) << runs;
  EXPECT_NE(runs.find("| new: spare.h |"), std::string::npos) << runs;
}

TEST_F(GatesTest, ThePersonsTextInPortMdStays) {
  const std::string mine = "# My port\r\n\r\nnotes, mine\r\n";
  temp_.write("mine/PORT.md", mine);
  EXPECT_EQ(run().status, 0);
  const std::string record = read_bytes(port() / "PORT.md");
  EXPECT_TRUE(record.starts_with(mine)) << record;
  EXPECT_NE(record.find("| dry_build | PASS |"), std::string::npos) << record;
  EXPECT_NE(port::read_record(port(), "attestation").find("all gates (preflight) hold on content"),
            std::string::npos);
}

}  // namespace
}  // namespace lockstep::test
