#include "port/verdict_history.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace lockstep::port {
namespace {

const std::vector<std::string> kOrder = {"embed", "layers.0.norm", "layers.0.mlp", "norm"};

KeptVerdict verdict(const std::string& content, const std::string& first) {
  return {"isolate", "ref", content, first.empty() ? "pass" : "diverged", first, "", "now"};
}

Move moved(const KeptVerdict& before, const KeptVerdict& now) {
  return compare_verdicts(before, now, kOrder).move;
}

TEST(VerdictHistoryTest, AMoveIsReadInOrderOfExecution) {
  EXPECT_EQ(moved(verdict("a", "layers.0.norm"), verdict("b", "layers.0.mlp")), Move::kLater);
  EXPECT_EQ(moved(verdict("a", "layers.0.mlp"), verdict("b", "layers.0.norm")), Move::kEarlier);
  EXPECT_EQ(moved(verdict("a", "norm"), verdict("b", "norm")), Move::kStayed);
  EXPECT_EQ(moved(verdict("a", "norm"), verdict("b", "")), Move::kFixed);
  EXPECT_EQ(moved(verdict("a", ""), verdict("b", "norm")), Move::kBroke);
  EXPECT_EQ(moved(verdict("a", ""), verdict("b", "")), Move::kClean);
  EXPECT_EQ(moved(verdict("a", "norm"), verdict("a", "norm")), Move::kSameContent);
  EXPECT_EQ(moved(verdict("a", "gone"), verdict("b", "norm")), Move::kUnordered);
}

TEST(VerdictHistoryTest, AnUndecidedRunIsNoFix) {
  KeptVerdict now = verdict("b", "");
  now.verdict = "undecided";
  EXPECT_EQ(moved(verdict("a", "norm"), now), Move::kUnordered);
}

TEST(VerdictHistoryTest, TheLastOtherContentIsComparedWith) {
  std::string pattern = (std::filesystem::temp_directory_path() / "verdicts-XXXXXX").string();
  const std::filesystem::path folder = mkdtemp(pattern.data());
  EXPECT_EQ(keep_verdict(folder, verdict("a", "layers.0.norm"), kOrder).move, Move::kFirstRun);
  EXPECT_EQ(keep_verdict(folder, verdict("b", "layers.0.norm"), kOrder).move, Move::kStayed);
  // Asked again on the same content: still what the edit did.
  EXPECT_EQ(keep_verdict(folder, verdict("b", "layers.0.norm"), kOrder).move, Move::kStayed);
  EXPECT_EQ(keep_verdict(folder, verdict("c", "norm"), kOrder).move, Move::kLater);
  KeptVerdict other = verdict("d", "embed");
  other.reference = "another recording";
  EXPECT_EQ(keep_verdict(folder, other, kOrder).move, Move::kFirstRun);
  std::ofstream(folder / "verdicts.json") << "{\"version\": 1, \"verdicts\": [3";
  EXPECT_EQ(keep_verdict(folder, verdict("e", "norm"), kOrder).move, Move::kFirstRun);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace lockstep::port
