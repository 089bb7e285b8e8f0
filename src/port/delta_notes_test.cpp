#include "port/delta_notes.h"

#include <gtest/gtest.h>

namespace lockstep::port {
namespace {

using Status = DeltaState::Status;

const std::vector<TensorEntry>& tensors() {
  static const std::vector<TensorEntry> all = {
      {"model.layers.0.self_attn.q_norm.weight", DType::kFloat32, {8}, 0, 32}};
  return all;
}

DeltaEvidence evidence() {
  return {{"no_rope_layers", "rope_theta", "rope_scaling.factor"}, {"rope_theta"}, tensors()};
}

DonorReport report() {
  DonorReport r{"llama", "LlamaForCausalLM", {}};
  const auto add = [&](Delta::Kind kind, const std::string& where,
                       const std::vector<std::string>& keys) {
    Delta delta;
    delta.number = static_cast<int>(r.deltas.size()) + 1;
    delta.kind = kind;
    delta.where = where;
    delta.keys = keys;
    r.deltas.push_back(delta);
  };
  add(Delta::Kind::kStructural, "modeling_x.py:120", {});
  add(Delta::Kind::kStructural, "", {"no_rope_layers"});
  add(Delta::Kind::kCosmetic, "", {"rope_scaling.factor"});
  add(Delta::Kind::kCosmetic, "", {"rope_theta"});
  return r;
}

std::vector<DeltaState> states(const std::string& source) {
  return judge_deltas(report(), find_delta_notes(source, "x.h"), evidence());
}

TEST(DeltaNotesTest, UnmentionedDeltasAreOpenButThoseThatConfigJsonCarries) {
  const std::vector<DeltaState> s = states("int a;\n");
  ASSERT_EQ(s.size(), 4u);
  EXPECT_EQ(s[0].status, Status::kOpen);
  EXPECT_EQ(s[0].why, "no source mentions it");
  EXPECT_EQ(s[2].status, Status::kConfigured);
  EXPECT_EQ(s[3].status, Status::kOpen);
  EXPECT_EQ(s[3].why, "nobody reads rope_theta");
}

TEST(DeltaNotesTest, ANoteWithAPlaceSettlesADelta) {
  const std::vector<DeltaState> s = states(
      "// Delta 1 (modeling_x.py:120): every fourth layer\n//   does not turn\nint a;\n"
      "// Delta 2: N/A (config.json: no_rope_layers): all are ones\n"
      "// Delta 4 (model.layers.*.self_attn.q_norm.weight): read\n");
  EXPECT_EQ(s[0].status, Status::kDone);
  EXPECT_EQ(s[0].place, "modeling_x.py:120");
  EXPECT_EQ(s[0].why, "every fourth layer does not turn");
  EXPECT_EQ(s[0].at, "x.h:1");
  EXPECT_EQ(s[1].status, Status::kNotApplicable);
  EXPECT_EQ(s[1].at, "x.h:4");
  EXPECT_EQ(s[3].status, Status::kDone);
}

TEST(DeltaNotesTest, ATodoAnywhereKeepsADeltaOpen) {
  const std::vector<DeltaState> s = states(
      "// Delta 1 (modeling_x.py:120): done in part\n"
      "s.builder().drop(\"*.bias\", \"TODO(delta 1): the bias\");\n// TODO(delta 9): new\n");
  EXPECT_EQ(s[0].status, Status::kOpen);
  EXPECT_EQ(s[0].at, "x.h:2");
  ASSERT_EQ(s.size(), 5u);
  EXPECT_EQ(s[4].number, 9);
}

TEST(DeltaNotesTest, PlacesThatProveNothingLeaveADeltaOpen) {
  const auto why = [](const std::string& note, size_t i = 0) { return states(note)[i].why; };
  EXPECT_NE(why("// Delta 1: done\n").find("no place: expected (modeling_x.py:120)"),
            std::string::npos);
  EXPECT_NE(why("// Delta 1 (config.json: rope_theta): done\n").find("file and line"),
            std::string::npos);
  EXPECT_NE(why("// Delta 1 (modeling_x.py): done\n").find("file and line"), std::string::npos);
  EXPECT_NE(why("// Delta 2 (config.json: no_such): done\n", 1).find("no such key"),
            std::string::npos);
  EXPECT_NE(why("// Delta 2 (model.nothing): done\n", 1).find("expected"), std::string::npos);
  EXPECT_NE(why("// Delta 1 (modeling_x.py:120):\n").find("says nothing"), std::string::npos);
  EXPECT_EQ(states("const char* a = \"// Delta 1 (m.py:1): no comment\";\n")[0].why,
            "no source mentions it");
}

}  // namespace
}  // namespace lockstep::port
