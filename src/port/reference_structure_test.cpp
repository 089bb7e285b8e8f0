// What the sources say, joined to what config.json and headers say.
#include "port/reference_structure.h"

#include <gtest/gtest.h>

#include <functional>

#include "lockstep/error.h"

namespace lockstep::port {
namespace {

std::string document(const std::string& differences, const std::string& more = "") {
  return R"({"event": "done", "transformers": "5.1", "file": "/x/modeling_foo.py",
             "not_compared": [], "keys": {"no_rope_layers": "modeling_foo.py:11"},
             "unread": ["spare_layers"], "donors": {"LlamaForCausalLM": {"not_compared": ["order"],
             "differences": [)" +
         differences + "]" + more + "}}}";
}

std::string difference(const std::string& part, const std::string& names,
                       const std::string& tensors) {
  return R"~({"part": ")~" + part +
         R"~(", "where": "modeling_foo.py:7", "reference": "does a",
             "donor": "does b (modeling_llama.py:9)", "change": "do a", "names": [)~" +
         names + R"~(], "tensors": [)~" + tensors + "]}";
}

Delta delta(Delta::Kind kind, const std::string& part, std::vector<std::string> keys,
            std::vector<std::string> tensors) {
  return {0, kind, part, "stores", "has none", "add", "", std::move(keys), std::move(tensors)};
}

DonorReport joined(std::vector<Delta> deltas, const std::string& text) {
  DonorReport report{
      .slug = "llama", .class_name = "LlamaForCausalLM", .deltas = std::move(deltas)};
  add_reference(report, ReferenceStructure::parse(text));
  return report;
}

constexpr Delta::Kind kStructural = Delta::Kind::kStructural, kCosmetic = Delta::Kind::kCosmetic;

TEST(ReferenceStructureTest, TheSameTensorsAreTheSameDelta) {
  const DonorReport report =
      joined({delta(kStructural, "norm", {}, {"model.layers.*.x.weight"})},
             document(difference("norm", "", R"("model.layers.*.x.weight")")));
  ASSERT_EQ(report.deltas.size(), 1u);
  EXPECT_EQ(report.deltas[0].where, "modeling_foo.py:7");
  EXPECT_EQ(report.deltas[0].reference, "stores; does a");
  EXPECT_TRUE(report.sources_compared);
  EXPECT_EQ(report.not_compared, std::vector<std::string>{"order"});
}

TEST(ReferenceStructureTest, TheSameKeyIsTheSameDelta) {
  const DonorReport report = joined({delta(kStructural, "positions", {"no_rope_layers"}, {})},
                                    document(difference("attention", R"("no_rope_layers")", "")));
  ASSERT_EQ(report.deltas.size(), 1u);
  EXPECT_EQ(report.deltas[0].where, "modeling_foo.py:7");
}

TEST(ReferenceStructureTest, AnythingElseIsADeltaOfItsOwn) {
  const DonorReport report =
      joined({delta(kStructural, "norm", {}, {"model.layers.*.x.weight"}),
              delta(kCosmetic, "positions", {"rope_interleave"}, {})},
             document(difference("positions", "", "") + "," + difference("mlp", "", "")));
  ASSERT_EQ(report.deltas.size(), 4u);
  EXPECT_EQ(report.n_structural(), 3u);
  EXPECT_EQ(report.deltas[0].part, "positions");
  EXPECT_EQ(report.deltas[0].number, 1);
  EXPECT_EQ(report.deltas[1].part, "norm");
  EXPECT_EQ(report.deltas[2].part, "mlp");
  EXPECT_EQ(report.deltas[3].kind, kCosmetic);
}

TEST(ReferenceStructureTest, WhatWasGuessedGoesAndKeysAreLookedUp) {
  const DonorReport report =
      joined({delta(kStructural, "norm", {}, {}), delta(kStructural, "layer", {"spare_layers"}, {}),
              delta(kStructural, "positions", {"no_rope_layers"}, {})},
             document(""));
  ASSERT_EQ(report.deltas.size(), 2u);
  EXPECT_EQ(report.deltas[0].where, "modeling_foo.py:11");
  EXPECT_EQ(report.deltas[1].kind, kCosmetic);
  EXPECT_NE(report.deltas[1].reference.find("no line of transformers 5.1 reads it"),
            std::string::npos);
}

TEST(ReferenceStructureTest, WithoutAComparisonGuessesStay) {
  const DonorReport report =
      joined({delta(kStructural, "norm", {}, {})}, document("", R"(, "failed": true)"));
  EXPECT_EQ(report.deltas.size(), 1u);
  EXPECT_FALSE(report.sources_compared);
}

TEST(ReferenceStructureTest, ComparedDonorsComeFirst) {
  std::vector<DonorReport> reports(3);
  reports[0] = {.slug = "a", .class_name = "", .deltas = {}};
  reports[1] = {.slug = "b",
                .class_name = "",
                .deltas = {delta(kStructural, "mlp", {}, {})},
                .sources_compared = true};
  reports[2] = {.slug = "c",
                .class_name = "",
                .deltas = {delta(kCosmetic, "mlp", {}, {})},
                .sources_compared = true};
  rank_again(reports);
  EXPECT_EQ(reports[0].slug, "c");
  EXPECT_EQ(reports[1].slug, "b");
  EXPECT_EQ(reports[2].slug, "a");
}

TEST(ReferenceStructureTest, WhatIsWrongIsNamed) {
  const auto error_of = [](const std::string& text) {
    try {
      ReferenceStructure::parse(text);
    } catch (const Error& error) {
      return error.message();
    }
    return std::string();
  };
  EXPECT_NE(error_of("").find("transformers: expected an object around it"), std::string::npos);
  EXPECT_NE(
      error_of(R"({"transformers": 5})").find("transformers: expected a string, found number"),
      std::string::npos);
  EXPECT_NE(error_of(document(R"({"part": 3})")).find("part: expected a string"),
            std::string::npos);
}

}  // namespace
}  // namespace lockstep::port
