// From a Hub id to a verdict, by the commands a person types, with a program that lacks the
// architectures: the untouched scaffold, and the one with its deltas filled in (the folders beside
// this file).
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "../hub/test_hub.h"
#include "../port/wrapped_model.h"
#include "../run_program.h"
#include "../support.h"
#include "tensor/safetensors.h"

namespace lockstep::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class PortKit : public HubTest {
 protected:
  static void SetUpTestSuite() { ::unsetenv("CXX"); }

  // The program sees this Hub and no Python with transformers.
  Outcome run(const std::string& arguments, const char* redirect = "2>/dev/null") const {
    return run_shell(
        "env -u HF_HUB_OFFLINE -u TRANSFORMERS_OFFLINE LOCKSTEP_PYTHON=/no/python HOME=" +
        temp_.path().string() + " HF_HUB_CACHE=" + settings_.cache.string() +
        " HF_ENDPOINT=" + hub_.url() + " " LOCKSTEP_BINARY_DIR "/bin/lockstep_unported " +
        arguments + " " + redirect);
  }
  json run_json(const std::string& arguments, int status) const {
    const Outcome outcome = run(arguments + " --json");
    EXPECT_EQ(outcome.status, status) << arguments << "\n" << run(arguments, "2>&1").text;
    return json::parse(outcome.text, nullptr, false);
  }
  void serve(const std::string& id, const fs::path& folder) {
    ServedModel& model = hub_.models[id];
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      if (!entry.is_regular_file()) continue;
      const std::string name = entry.path().filename().string();
      const bool is_large = name.ends_with(".safetensors");
      model.files[name] = {read_bytes(entry.path()), 0, is_large, ""};
    }
  }
  static json gate(const json& document, const std::string& name) {
    for (const json& gate : document["gates"]) {
      if (gate["gate"] == name) return gate;
    }
    return {{"status", "absent"}, {"detail", ""}};
  }
  // What stands before a port is begun.
  void decide(const std::string& id, const std::string& donor) const {
    EXPECT_EQ(run("list-archs --match " + class_).status, 1);
    EXPECT_EQ(run("inspect " + id).status, 0);
    EXPECT_LE(run("check-walls " + id).status, 1);
    const json plan = run_json("plan " + id + " --yes --output-dir " + temp_.path().string(), 0);
    EXPECT_EQ(plan["donor"], donor) << plan.dump(1);
  }
  json scaffold(const std::string& id, const std::string& slug, const std::string& donor) {
    port_ = temp_ / "ports" / slug;
    return run_json("scaffold " + id + " --start-from " + donor + " --slug " + slug +
                        " --output-dir " + (temp_ / "ports").string(),
                    0);
  }
  json gates(const std::string& id, int status) const {
    return run_json("gates " + id + " --port-dir " + port_.string(), status);
  }
  std::string verify(const std::string& id, const fs::path& golden) const {
    return "verify " + id + " --reference " + golden.string() + " --custom-architectures " +
           port_.string();
  }
  void fill_in(const std::string& slug) const {
    const fs::path from = source_dir() / "tests" / "port_kit" / slug;
    for (const fs::directory_entry& entry : fs::directory_iterator(from)) {
      fs::copy_file(entry.path(), port_ / entry.path().filename(),
                    fs::copy_options::overwrite_existing);
    }
  }

  std::string class_;
  fs::path port_;
};

// The untouched scaffold is honest: it can be traced, and every open delta is named.
void expect_open(const json& gates, const json& deltas) {
  const auto gate = [&](const std::string& name) {
    for (const json& each : gates["gates"]) {
      if (each["gate"] == name) return each;
    }
    return json{{"status", "absent"}, {"detail", ""}};
  };
  for (const char* name : {"import", "dry_build"}) {
    EXPECT_EQ(gate(name)["status"], "PASS") << gate(name).dump();
  }
  EXPECT_EQ(gate("deltas")["status"], "FAIL");
  const std::string detail = gate("deltas")["detail"];
  for (const json& delta : deltas) {
    const std::string name = "delta " + std::to_string(delta["number"].get<int>());
    EXPECT_NE(detail.find(name), std::string::npos) << name << " in: " << detail;
  }
}

struct Ported {
  const char* slug;
  const char* class_name;
  const char* donor;
  /// The module where the untouched scaffold differs first: what an open delta is about.
  const char* first_diverged;
};

class PortedTest : public PortKit, public ::testing::WithParamInterface<Ported> {};

TEST_P(PortedTest, FromAHubIdToAVerdict) {
  const Ported& ported = GetParam();
  const fs::path model = fixture(ported.slug);
  if (!fs::exists(model)) GTEST_SKIP() << model << " is not there";
  const std::string id = std::string("org/") + ported.slug;
  class_ = ported.class_name;
  serve(id, model);
  decide(id, ported.donor);

  const json made = scaffold(id, ported.slug, ported.donor);
  EXPECT_EQ(made["dry_build_fault"], "");
  EXPECT_FALSE(made["deltas"].empty());
  expect_open(gates(id, 1), made["deltas"]);
  const json diverged = run_json(verify(id, model / "golden"), 1);
  const std::string first = diverged["runs"][0]["first_diverged"];
  EXPECT_TRUE(first.starts_with(ported.first_diverged)) << first;

  fill_in(ported.slug);
  const json passed = gates(id, 0);
  EXPECT_EQ(gate(passed, "deltas")["status"], "PASS") << gate(passed, "deltas").dump(1);
  const json verdict = run_json(verify(id, model / "golden"), 0);
  EXPECT_EQ(verdict["verdict"], "pass");
  std::set<std::string> dtypes;
  for (const json& each : verdict["runs"]) dtypes.insert(each["dtype"].get<std::string>());
  EXPECT_EQ(dtypes, (std::set<std::string>{"bfloat16", "float32"}));

  EXPECT_EQ(run("test " + port_.string()).status, 2);  // no case yet
  fs::create_directory(port_ / "tests");
  fs::copy(model, port_ / "tests" / "whole", fs::copy_options::recursive);
  const json tested = run_json("test " + port_.string(), 0);
  EXPECT_EQ(tested["verdict"], "PASS");
  EXPECT_EQ(tested["cases"].size(), 2u);
}

INSTANTIATE_TEST_SUITE_P(
    Models, PortedTest,
    ::testing::Values(Ported{"smollm3", "SmolLM3ForCausalLM", "llama", "model.layers.3.self_attn."},
                      Ported{"glm4", "Glm4ForCausalLM", "phi3", "model.layers.0."},
                      Ported{"deepseek_v3", "DeepseekV3ForCausalLM", "deepseek_v2",
                             "model.rotary_emb:"}),
    [](const auto& ported) { return std::string(ported.param.slug); });

// A recording of the text model as one of the wrapper: its modules lie deeper.
void write_wrapped_golden(const fs::path& from, const fs::path& to) {
  fs::create_directories(to);
  fs::copy_file(from / "expected.json", to / "expected.json");
  const SafetensorsFile file = SafetensorsFile::open(from / "golden.safetensors");
  const auto deeper = [](std::string name) {
    const size_t at = name.find(".model");
    if (at != std::string::npos) name.insert(at + 6, ".language_model");
    return name;
  };
  SafetensorsWriter writer(to / "golden.safetensors");
  for (const TensorEntry& entry : file.tensors()) {
    writer.declare(deeper(entry.name), entry.dtype, entry.shape);
  }
  writer.begin();
  for (const TensorEntry& entry : file.tensors()) {
    const View view = file.view(entry);
    writer.write(deeper(entry.name), 0, {view.as<std::byte>(), view.bytes()});
  }
  writer.commit();
}

TEST_F(PortKit, TheTextPartOfAWrapper) {
  class_ = "MadeUpForConditionalGeneration";
  fs::create_directory(temp_ / "wrapped");
  write_wrapped("llama", wrapper_layouts().front(), {.class_name = class_}, temp_ / "wrapped");
  write_wrapped_golden(fixture("llama") / "golden", temp_ / "golden");
  serve("org/wrapped", temp_ / "wrapped");
  decide("org/wrapped", "llama");
  const json made = scaffold("org/wrapped", "made_up", "llama");
  EXPECT_EQ(made["dry_build_fault"], "");
  EXPECT_TRUE(made["missing"].empty());
  const json passed = gates("org/wrapped", 0);
  EXPECT_EQ(gate(passed, "keys")["status"], "PASS") << gate(passed, "keys").dump(1);
  const json verdict = run_json(verify("org/wrapped", temp_ / "golden"), 0);
  EXPECT_EQ(verdict["verdict"], "pass");
}

}  // namespace
}  // namespace lockstep::test
