// The faults of recordings, planted in true ones: storyteller's reference and what the port
// computes, edited and written again. Each must be called a fault of the harness by its own name,
// and no operator may be blamed. Nothing tells the tool what was done.
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "parity/dump.h"
#include "parity/test_dumps.h"
#include "runtime/registry.h"

namespace lockstep::parity::testing {
namespace {

const std::string kModel = std::string(LOCKSTEP_SOURCE_DIR) + "/examples/storyteller";
constexpr int kStoryLayers = 6;

std::string layer_path(int i) { return "model.layers." + std::to_string(i); }

/// What both sides recorded, float32: a prefill and two decode steps.
struct Sides {
  std::vector<FakeRun> reference, port;

  FakeTensor& of(std::vector<FakeRun>& side, const std::string& path) { return side[0].tap(path); }
};

std::vector<FakeRun> float32_runs(const Recording& recording) {
  std::vector<FakeRun> out;
  for (const Run& run : recording.runs) {
    if (run.info.dtype != "float32") continue;
    out.push_back(copy_of(run));
    // What transformers keeps of the prompt's keys is what the port calls rotated.
    if (run.info.phase != Phase::kPrefill) continue;
    for (FakeTensor& t : out.back().taps) {
      if (t.info.path.ends_with("/k_cache")) {
        t.info.path.replace(t.info.path.size() - 8, 8, "/k_rot");
      }
    }
  }
  return out;
}

Recording record_port(const Recording& like, const std::filesystem::path& folder) {
  Model model = Model::open(kModel, Registry(), parse_activation_dtype("", "float32"));
  PipelineOptions options;
  options.max_logit_rows = options.max_tokens;
  options.threads = 1;
  Pipeline pipeline(std::move(model), options);
  std::vector<PlannedSequence> plan = plan_like(like, options.max_tokens);
  std::erase_if(plan, [](const PlannedSequence& s) { return s.dtype != DType::kFloat32; });
  dump({&pipeline}, plan, {}, folder);
  return read_recording(folder);
}

void add(FakeTensor& to, const FakeTensor& what) {
  for (size_t i = 0; i < to.values.size(); ++i) to.values[i] += what.values[i];
}

/// What a decode step computes that sees its own token alone: with one key attention is its value.
void forget_context(std::vector<FakeRun>& side, const std::filesystem::path& folder) {
  FakeRun& step = side[1];
  FakeRun alone = step;
  alone.info.phase = Phase::kPrefill;
  alone.info.step = 0;
  alone.info.prompt_ids = {step.info.prompt_ids.back(), step.info.prompt_ids.back()};
  const Recording like =
      (std::filesystem::create_directories(folder),
       read_recording(write_dump(folder / "alone-like", {alone}, {}, kStoryLayers)));
  const Recording found = record_port(like, folder / "alone");
  const FakeRun values = copy_of(found.runs[0]);
  for (FakeTensor& t : step.taps) {
    for (const FakeTensor& other : values.taps) {
      if (other.info.path != t.info.path || other.info.role != t.info.role ||
          other.info.index != t.info.index) {
        continue;
      }
      const size_t n = std::min(t.values.size(), other.values.size() / 2);
      std::copy_n(other.values.begin(), n, t.values.begin());
    }
  }
  const size_t vocab = step.logits->values.size();
  std::copy_n(values.logits->values.begin(), vocab, step.logits->values.begin());
}

struct Fault {
  const char* name;
  std::function<void(Sides&, const std::filesystem::path&)> plant;
  std::set<std::string> codes;  // any of these
};

const std::vector<Fault>& faults() {
  static const std::vector<Fault> all{
      {"the reference decodes without the whole mask",
       [](Sides& s, const auto& folder) { forget_context(s.reference, folder); },
       {"decode_mask"}},
      {"hidden states are numbered from the embedding",
       [](Sides& s, const auto&) {
         for (int i = kStoryLayers - 1; i > 0; --i) {
           s.of(s.port, layer_path(i)).values = s.of(s.port, layer_path(i - 1)).values;
         }
         s.of(s.port, layer_path(0)).values = s.of(s.port, "model.embed_tokens").values;
       },
       {"layer_index_shift"}},
      {"the last hidden state is taken after the final norm",
       [](Sides& s, const auto&) {
         s.of(s.reference, layer_path(kStoryLayers - 1)).values =
             s.of(s.reference, "model.norm").values;
       },
       {"last_post_norm"}},
      {"one buffer is recorded again and again",
       [](Sides& s, const auto&) {
         for (int i = 0; i < kStoryLayers - 1; ++i) {
           s.of(s.port, layer_path(i)).values = s.of(s.port, layer_path(kStoryLayers - 1)).values;
         }
       },
       {"equal_hashes"}},
      {"keys are tapped before the rotation",
       [](Sides& s, const auto&) {
         for (int i = 0; i < kStoryLayers; ++i) {
           const std::string attention = layer_path(i) + ".self_attn";
           s.of(s.port, attention + "/k_rot").values = s.of(s.port, attention + ".k_proj").values;
         }
       },
       {"tap_point"}},
      {"layers are tapped before the residual is added",
       [](Sides& s, const auto&) {
         for (int i = 0; i < kStoryLayers; ++i) {
           s.of(s.port, layer_path(i)).values = s.of(s.port, layer_path(i) + ".mlp").values;
         }
       },
       {"tap_point"}},
      {"a saved tensor is changed in place",
       [](Sides& s, const auto&) {
         add(s.of(s.reference, layer_path(1)), s.of(s.reference, layer_path(2) + ".self_attn"));
       },
       {"mutated_tensor"}},
      {"every residual is an alias that the next layer adds to",
       [](Sides& s, const auto&) {
         for (int i = 0; i + 1 < kStoryLayers; ++i) {
           add(s.of(s.reference, layer_path(i)),
               s.of(s.reference, layer_path(i + 1) + ".self_attn"));
         }
       },
       {"mutated_tensor"}},
      {"the reference's weights are random",
       [](Sides& s, const auto&) {
         size_t seed = 5;
         for (FakeRun& run : s.reference) {
           for_each_tensor(
               run, [&](FakeTensor& t) { t.values = random_values(t.values.size(), ++seed); });
           for (float& x : run.logits->values) x *= 0.3f;
         }
       },
       {"reference_not_loaded"}},
      {"the reference's head was not loaded",
       [](Sides& s, const auto&) {
         for (FakeRun& run : s.reference) {
           FakeTensor& head = run.tap("lm_head");
           head.values = random_values(head.values.size(), 77);
           run.logits->values = head.values;
         }
       },
       {"reference_not_loaded"}},
      {"the reference is not finite",
       [](Sides& s, const auto&) {
         for (float& x : s.of(s.reference, layer_path(2) + ".mlp").values) x = NAN;
       },
       {"nonfinite"}},
      {"the port was fed a second BOS",
       [](Sides& s, const auto&) {
         for (FakeRun& run : s.port) {
           run.info.prompt_ids.insert(run.info.prompt_ids.begin(), run.info.prompt_ids[0]);
         }
         s.port.resize(1);
         for_each_tensor(s.port[0], [](FakeTensor& t) {
           const size_t row = t.values.size() / static_cast<size_t>(t.shape[0]);
           t.values.insert(t.values.begin(), t.values.begin(), t.values.begin() + row);
           ++t.shape[0];
         });
       },
       {"different_prompts"}},
      {"a prompt of one token",
       [](Sides& s, const auto&) {
         for (auto* side : {&s.reference, &s.port}) {
           side->resize(1);
           side->front().info.prompt_ids.resize(1);
           for_each_tensor(side->front(), [](FakeTensor& t) {
             t.values.resize(t.values.size() / static_cast<size_t>(t.shape[0]));
             t.shape[0] = 1;
           });
         }
       },
       {"one_token_prompt"}},
      {"one row is broadcast over all",
       [](Sides& s, const auto&) {
         FakeTensor& t = s.of(s.port, layer_path(3) + ".mlp");
         const size_t row = t.values.size() / static_cast<size_t>(t.shape[0]);
         for (size_t i = row; i < t.values.size(); ++i) t.values[i] = t.values[i % row];
       },
       {"broadcast_shape"}},
      {"bfloat16 is recorded as float32",
       [](Sides& s, const auto&) {
         for (FakeRun& run : s.port) {
           for_each_tensor(run, [](FakeTensor& t) {
             for (float& x : t.values) x = bfloat16_to_float(float_to_bfloat16(x));
           });
         }
       },
       {"wrong_dtype"}},
      {"the recorder was interrupted",
       [](Sides& s, const auto&) {
         for (FakeRun& run : s.port) {
           run.taps.clear();
           run.logits.reset();
         }
       },
       {"empty_dump"}},
  };
  return all;
}

class HarnessFaults : public ::testing::Test {
 protected:
  void SetUp() override {
    const Recording reference = read_recording(kModel + "/reference");
    sound_.reference = float32_runs(reference);
    sound_.port = float32_runs(record_port(reference, folder_ / "recorded"));
    greedy_ = reference.greedy;
  }
  Compared compare(const Sides& sides) {
    return compare_dumps(write_dump(folder_ / "r", sides.reference, greedy_, kStoryLayers),
                         write_dump(folder_ / "p", sides.port, {}, kStoryLayers));
  }

  TempFolder folder_;
  Sides sound_;
  std::vector<GreedyInfo> greedy_;
};

TEST_F(HarnessFaults, EachIsCalledByItsNameAndNoOperatorIsBlamed) {
  {
    const Compared c = compare(sound_);
    ASSERT_EQ(c.report.outcome, Outcome::kPass) << c.findings();
  }
  EXPECT_GE(faults().size(), 12u);
  for (const Fault& fault : faults()) {
    SCOPED_TRACE(fault.name);
    Sides sides = sound_;
    fault.plant(sides, folder_ / "aside");
    std::filesystem::remove_all(folder_ / "r");
    std::filesystem::remove_all(folder_ / "p");
    const Compared c = compare(sides);
    EXPECT_EQ(c.report.outcome, Outcome::kUndecided) << c.findings();
    EXPECT_FALSE(c.report.valid);
    bool named = false;
    for (const auto& finding : c.report.findings) {
      EXPECT_NE(finding.level, Level::kDiverged) << c.findings();
      EXPECT_NE(finding.code, "candidate") << c.findings();
      if (finding.level != Level::kRefusal) continue;
      named = named || fault.codes.contains(finding.code);
      EXPECT_TRUE(fault.codes.contains(finding.code)) << c.findings();
      EXPECT_FALSE(finding.way_out.empty()) << finding.code;
    }
    EXPECT_TRUE(named) << c.findings();
  }
}

// The same edits where they are faults of the port: then operators are blamed.
TEST_F(HarnessFaults, AFaultOfTheGraphIsNotTheHarness) {
  // A residual that lost what layer 2's attention adds shows in everything after it.
  Sides sides = sound_;
  for (int i = 2; i < kStoryLayers; ++i) {
    FakeTensor& t = sides.of(sides.port, layer_path(i));
    const FakeTensor& lost = sides.of(sides.port, layer_path(2) + ".self_attn");
    for (size_t k = 0; k < t.values.size(); ++k) t.values[k] -= lost.values[k];
  }
  for (const char* path : {"model.norm", "lm_head"}) {
    for (float& x : sides.of(sides.port, path).values) x *= 1.1f;
  }
  for (float& x : sides.port[0].logits->values) x *= 1.1f;
  const Compared c = compare(sides);
  EXPECT_EQ(c.report.outcome, Outcome::kDiverged) << c.findings();
}

TEST_F(HarnessFaults, ADoubledBosIsSaid) {
  Sides sides = sound_;
  faults()[11].plant(sides, folder_ / "aside");
  const Compared c = compare(sides);
  ASSERT_NE(c.find("different_prompts"), nullptr) << c.findings();
  EXPECT_NE(c.find("different_prompts")->message.find("double BOS"), std::string::npos)
      << c.findings();
}

}  // namespace
}  // namespace lockstep::parity::testing
