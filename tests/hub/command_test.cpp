// lockstep list-keys and download as a person runs them.
#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "../run_program.h"
#include "test_hub.h"

namespace lockstep::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class HubCommandTest : public HubTest {
 protected:
  // The program sees this Hub, this cache and this token alone.
  std::string environment() const {
    return "env -u HF_HUB_OFFLINE -u TRANSFORMERS_OFFLINE LOCKSTEP_LOG=debug HOME=" +
           temp_.path().string() + " HF_HUB_CACHE=" + settings_.cache.string() +
           " HF_ENDPOINT=" + hub_.url() + " HF_TOKEN=" + kToken + " ";
  }
  Outcome run(const std::string& arguments, const char* redirect = "2>&1") const {
    Outcome outcome = run_shell(environment() + LOCKSTEP_BINARY_DIR "/bin/lockstep " + arguments +
                                " " + redirect);
    EXPECT_EQ(outcome.text.find(kToken), std::string::npos) << outcome.text;
    return outcome;
  }
  json run_json(const std::string& arguments) const {
    const Outcome outcome = run(arguments + " --json", "2>/dev/null");
    return json::parse(outcome.text, nullptr, false);
  }
};

TEST_F(HubCommandTest, ListKeysAsJson) {
  weights() = safetensors_of({"model.a.x", "model.b.x", "lm_head"}, 10);
  const json all = run_json("list-keys org/tiny");
  EXPECT_EQ(all, json::parse(R"({
    "hf_id": "org/tiny", "sharded": false, "dtype_counts": {"BF16": 3}, "dominant_dtype": "BF16",
    "total_parameters": 1920, "tensors": [
      {"name": "model.a.x", "dtype": "BF16", "shape": [10, 64]},
      {"name": "model.b.x", "dtype": "BF16", "shape": [10, 64]},
      {"name": "lm_head", "dtype": "BF16", "shape": [10, 64]}]})"));
  const auto names = [&](const std::string& flags) {
    std::string out;
    const json document = run_json("list-keys org/tiny " + flags);
    for (const json& tensor : document["tensors"]) {
      out += tensor["name"].get<std::string>() + " ";
    }
    return out;
  };
  EXPECT_EQ(names("--prefix model."), "model.a.x model.b.x ");
  EXPECT_EQ(names("--exclude-prefix model.a --exclude-prefix lm"), "model.b.x ");
  EXPECT_EQ(names("--match '*.b.*' --match lm_head"), "model.b.x lm_head ");
  EXPECT_EQ(names("--limit 1"), "model.a.x ");
  EXPECT_EQ(run_json("list-keys org/tiny --limit 1")["total_parameters"], 1920);
  const json summary = run_json("list-keys org/tiny --summary --prefix model");
  EXPECT_FALSE(summary.contains("tensors"));
  EXPECT_EQ(summary["dtype_counts"]["BF16"], 2);
}

TEST_F(HubCommandTest, ListKeysAsText) {
  const Outcome outcome = run("list-keys org/tiny --limit 1", "2>/dev/null");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.text,
            "a\tBF16\t[1000, 64]\n... and 1 more\n"
            "org/tiny: 2 tensors in 1 file, 128000 parameters, 256000 bytes\n"
            "  BF16     2 tensors, 128000 parameters\nnext: lockstep graph org/tiny\n");
  // A name from a stranger stays on its line.
  weights() = safetensors_of({R"(a\nb)"}, 10);
  EXPECT_NE(run("list-keys org/tiny").text.find("\"a\\x0ab\"\tBF16"), std::string::npos);
}

TEST_F(HubCommandTest, ListKeysOfAFolder) {
  const std::string folder = LOCKSTEP_SOURCE_DIR "/examples/storyteller";
  const json found = run_json("list-keys " + folder);
  EXPECT_EQ(found["hf_id"], folder);
  EXPECT_EQ(found["sharded"], false);
  EXPECT_FALSE(found["tensors"].empty());
  EXPECT_TRUE(hub_.requests().empty());
}

TEST_F(HubCommandTest, RefusalsAreStatusTwo) {
  hub_.models[kModel].is_gated = true;
  for (const std::string command :
       {"list-keys org/tiny", "download org/tiny", "list-keys org/none", "list-keys ./nothing",
        "download examples/storyteller/x", "list-keys"}) {
    EXPECT_EQ(run(command).status, 2) << command;
  }
  const json error = run_json("list-keys org/tiny")["error"];
  EXPECT_EQ(error["code"], "failed_precondition");
  EXPECT_NE(error["message"].get<std::string>().find("org/tiny: gated"), std::string::npos);
}

TEST_F(HubCommandTest, DownloadSaysWhere) {
  const Outcome outcome = run("download org/tiny", "2>/dev/null");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.text, snapshot().string() + "\n");
  expect_whole();
  EXPECT_EQ(run_json("download org/tiny"),
            (json{{"hf_id", "org/tiny"}, {"folder", snapshot().string()}}));
}

TEST_F(HubCommandTest, CommandsFetchWhatTheyLack) {
  const fs::path source = LOCKSTEP_SOURCE_DIR "/examples/storyteller";
  ServedModel& model = hub_.models["org/storyteller"];
  for (const char* path : {"config.json", "tokenizer.json", "tokenizer_config.json"}) {
    model.files[path] = small_file(read_bytes(source / path));
  }
  model.files["model.safetensors"] = {read_bytes(source / "model.safetensors"), 0, true, ""};
  const std::string ids = " --prompt-ids 1,2,3 --max-tokens 4 --json";
  const Outcome here = run("generate " + source.string() + ids, "2>/dev/null");
  const Outcome there = run("generate org/storyteller" + ids, "2>/dev/null");
  EXPECT_EQ(there.status, 0);
  EXPECT_EQ(here.text, there.text);
  hub_.forget_requests();
  EXPECT_EQ(run("generate org/storyteller" + ids, "2>/dev/null").text, here.text);
  EXPECT_TRUE(hub_.requests().empty());
  EXPECT_NE(run("generate org/none" + ids).text.find("expected a model on"), std::string::npos);
}

// Whatever moment an interrupt comes at, a file is absent or whole, and the next run ends the work.
TEST_F(HubCommandTest, AnInterruptLeavesFilesAbsentOrWhole) {
  weights() = safetensors_of({"a", "b"}, 20'000);
  const std::vector<std::string> paths = {"config.json", "README.md", "tokenizer.json",
                                          "model.safetensors"};
  hub_.fault = [](const ServedRequest& request) {
    const bool is_slow = request.target.ends_with("model.safetensors");
    return Fault{.cut_after = is_slow ? std::optional<uint64_t>(700'000) : std::nullopt,
                 .delay_ms = 40};
  };
  for (const char* seconds : {"0.05", "0.1", "0.15", "0.2", "0.4"}) {
    const std::string limit = std::string("timeout -s INT ") + seconds + " ";
    run_shell(environment() + limit + LOCKSTEP_BINARY_DIR "/bin/lockstep download org/tiny 2>&1");
    for (const std::string& path : paths) {
      if (!fs::exists(snapshot() / path)) continue;
      EXPECT_EQ(read_bytes(snapshot() / path), full(hub_.models[kModel].files[path])) << path;
    }
  }
  hub_.fault = nullptr;
  EXPECT_EQ(run("download org/tiny").status, 0);
  expect_whole();
}

TEST_F(HubCommandTest, ListKeysOfALargeFolder) {
  constexpr int kShards = 163, kTensorsPerShard = 558;
  std::string map;
  for (int i = 0; i < kShards; ++i) {
    std::vector<std::string> names;
    const std::string shard = "model-" + std::to_string(i) + ".safetensors";
    for (int j = 0; j < kTensorsPerShard; ++j) {
      names.push_back("model.layers." + std::to_string(i) + ".mlp.experts." + std::to_string(j) +
                      ".up_proj.weight");
      map += (map.empty() ? "\"" : ",\"") + names.back() + "\":\"" + shard + "\"";
    }
    const ServedFile file = safetensors_of(names, 1000);
    fs::resize_file(temp_.write("large/" + shard, file.bytes), file.full_size());
  }
  temp_.write("large/model.safetensors.index.json", "{\"weight_map\":{" + map + "}}");
  const auto begin = std::chrono::steady_clock::now();
  const json found = run_json("list-keys " + (temp_ / "large").string());
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  RecordProperty("seconds", std::to_string(seconds.count()));
  EXPECT_EQ(found["tensors"].size(), size_t{kShards} * kTensorsPerShard);
  EXPECT_EQ(found["sharded"], true);
  // Less than one on a quiet machine.
  EXPECT_LT(seconds.count(), 4.0 * kSlowness);
}

// A model of a class that nobody knows, with quantised siblings beside it.
TEST_F(HubCommandTest, PlanListsQuantisedSiblings) {
  const fs::path example = LOCKSTEP_SOURCE_DIR "/examples/storyteller";
  std::map<std::string, ServedFile>& files = hub_.models[kModel].files;
  files.clear();
  for (const fs::directory_entry& entry : fs::directory_iterator(example)) {
    if (!entry.is_regular_file()) continue;
    const std::string name = entry.path().filename().string();
    files[name] = {read_bytes(entry.path()), 0, name.ends_with(".safetensors"), ""};
  }
  json config = json::parse(files["config.json"].bytes);
  config["architectures"] = {"MadeUpForCausalLM"};
  config["model_type"] = "made_up";
  files["config.json"] = small_file(config.dump());
  for (const char* id : {"org/tiny-FP8", "other/tiny-gptq-int4", "org/tiny-chat"}) hub_.models[id];
  const std::string command = "plan org/tiny --output-dir " + temp_.path().string();
  const auto planned = [&] {
    const Outcome outcome =
        run_shell("LOCKSTEP_PYTHON=/no/such/python " + environment() +
                  LOCKSTEP_BINARY_DIR "/bin/lockstep " + command + " --json 2>/dev/null");
    EXPECT_EQ(outcome.status, 0) << outcome.text;
    return json::parse(outcome.text, nullptr, false);
  };
  EXPECT_EQ(planned()["siblings"], json({"org/tiny-FP8", "other/tiny-gptq-int4"}));
  // No weights were fetched for it.
  EXPECT_FALSE(fs::exists(snapshot() / "model.safetensors"));
  // Without an answer it is said that nobody looked.
  hub_.fault = [](const ServedRequest& request) {
    return request.target.find("search=") == std::string::npos ? Fault() : Fault{.status = 500};
  };
  const json without = planned();
  EXPECT_TRUE(without["siblings"].empty());
  EXPECT_NE(without["paragraph"].get<std::string>().find("the Hub did not answer"),
            std::string::npos);
}

}  // namespace
}  // namespace lockstep::test
