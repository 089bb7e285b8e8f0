// Whole models behind HTTP against their goldens: sound ones pass in both types, planted faults and
// other checkpoints do not.
#include "parity/served.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <thread>

#include "../faults.h"
#include "serve/server.h"

namespace lockstep::test {
namespace {

using parity::Outcome;

/// A fixture served in this process, on one thread, with a change of its graph.
class Served {
 public:
  explicit Served(const std::string& name, DType dtype, const Fault* fault = nullptr) {
    const std::filesystem::path folder = fixture(name);
    Model model = Model::open(folder.string(), Registry(), dtype);
    if (fault != nullptr) plant(model.trace.graph, *fault);
    EngineOptions engine;
    engine.max_batch_size = 4;
    engine.cache_tokens = 2048;
    const EnginePlan plan = plan_engine(model, engine);
    const GenerationDefaults defaults =
        read_generation_defaults(model.files.folder, model.files.config);
    PipelineOptions sizes = plan.pipeline;
    sizes.threads = 1;  // small steps, on machines that others use as well
    serve::ServedModel served = serve::ServedModel::open(folder.string(), "");
    served.names = {name};
    serve::ServerOptions options;
    options.http.host = "127.0.0.1";
    options.http.port = 0;
    auto pipeline = std::make_unique<Pipeline>(std::move(model), sizes);
    server_ = std::make_unique<serve::Server>(
        std::move(served), std::make_unique<Engine>(std::move(pipeline), plan, defaults), options);
    thread_ = std::thread([this] { server_->run(); });
  }
  ~Served() {
    server_->drain();
    thread_.join();
  }

  parity::ServedReport compare(const parity::Recording& recording, const std::string& dtype) {
    client::ApiClient api(client::Target::local(server_->port()));
    parity::ServedOptions options;
    options.dtype = dtype;
    parity::ServedTokens tokens(nullptr);
    const std::string name = api.model_name("");
    const parity::ServedReport report =
        parity::compare_served(api, name, recording, options, tokens);
    text = parity::served_text(report, tokens);
    return report;
  }
  std::string text;

 private:
  std::unique_ptr<serve::Server> server_;
  std::thread thread_;
};

constexpr std::pair<DType, const char*> kTypes[] = {{DType::kFloat32, "float32"},
                                                    {DType::kBFloat16, "bfloat16"}};

TEST(ServedModels, SoundOnesPass) {
  int n_compared = 0;
  for (const std::string& name : golden_fixtures()) {
    const parity::Recording golden = parity::read_recording(fixture(name) / "golden");
    for (const auto& [dtype, dtype_name] : kTypes) {
      Served served(name, dtype);
      const parity::ServedReport report = served.compare(golden, dtype_name);
      EXPECT_EQ(report.outcome, Outcome::kPass) << name << " " << dtype_name << "\n" << served.text;
      n_compared += report.n_compared();
    }
  }
  fmt::print("{} positions compared\n", n_compared);
}

// In bfloat16 a step's limit moves the logits by less than the type does.
bool is_below_noise(const Fault& fault, DType dtype) {
  return dtype == DType::kBFloat16 && fault.name == std::string("StepLimit");
}

TEST(ServedModels, PlantedFaultsDiffer) {
  for (const Fault& fault : faults()) {
    const parity::Recording golden = parity::read_recording(fixture(fault.fixture) / "golden");
    for (const auto& [dtype, dtype_name] : kTypes) {
      if (is_below_noise(fault, dtype)) continue;
      Served served(fault.fixture, dtype, &fault);
      EXPECT_EQ(served.compare(golden, dtype_name).outcome, Outcome::kDiverged)
          << fault.name << " in " << fault.fixture << " " << dtype_name << "\n"
          << served.text;
    }
  }
}

TEST(ServedModels, OtherCheckpointsDiffer) {
  Served served("llama", DType::kFloat32);
  for (const char* other : {"gemma3", "gpt2", "mixtral", "llama_rope3"}) {
    const parity::Recording golden = parity::read_recording(fixture(other) / "golden");
    EXPECT_NE(served.compare(golden, "float32").outcome, Outcome::kPass) << other << "\n"
                                                                         << served.text;
  }
}

}  // namespace
}  // namespace lockstep::test
