// Subjects for bisections: a fixture, sound or with a fault planted in its graph.
#pragma once

#include "../support.h"
#include "cli/loopback_server.h"
#include "parity/bisect/bisect.h"
#include "step_faults.h"

namespace lockstep::test {

using Plant = std::function<void(Graph&)>;

inline parity::Subject subject_of(const std::filesystem::path& folder, const Plant& plant = {}) {
  parity::Subject subject;
  subject.folder = folder;
  subject.open = [folder, plant](DType dtype) {
    Model model = Model::open(folder.string(), Registry(), dtype);
    if (plant) plant(model.trace.graph);
    return model;
  };
  subject.start = [](Model model, const PipelineOptions& sizes) {
    PipelineOptions alone = sizes;
    alone.threads = 1;  // small steps
    return std::make_unique<Pipeline>(std::move(model), alone);
  };
  return subject;
}

inline void make_servable(parity::Subject& subject) {
  subject.serve = [&subject](DType dtype) -> std::unique_ptr<parity::RunningServer> {
    serve::ServedModel served = serve::ServedModel::open(subject.folder, "");
    served.names = {"served"};
    return std::make_unique<cli::LoopbackServer>(subject, dtype, std::move(served));
  };
}

inline parity::Recording golden_of(const std::string& name) {
  return parity::read_recording(fixture(name) / "golden");
}

/// Why it is no pass, for messages of tests.
inline std::string findings_of(const parity::BisectReport& report) {
  std::string text;
  for (const parity::StageResult& stage : report.stages) {
    for (const parity::StageFinding& finding : stage.findings) {
      text += std::string(stage_name(stage.stage)) + ", " + finding.probe + ", " + finding.dtype +
              " prompt " + std::to_string(finding.prompt) + " token " +
              std::to_string(finding.token) + ": " + finding.message + "\n";
      if (!finding.evidence) continue;
      text += "  " + finding.evidence->tensor + "\n";
      for (const std::string& line : finding.evidence->lines) text += "  " + line + "\n";
    }
  }
  return text;
}

}  // namespace lockstep::test
