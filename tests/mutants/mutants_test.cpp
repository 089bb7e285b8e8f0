// The checker checked, in a tenth of the matrix: bars below which no change may fall.
#include <gtest/gtest.h>

#include "score.h"

namespace lockstep::mutants {
namespace {

// Of the whole matrix 0.5 points more; a tenth scatters.
constexpr double kOperatorFound = 0.98, kCauseNamed = 0.90;
constexpr uint64_t kSeed = 11;

std::vector<std::string> fixtures() {
  std::vector<std::string> names = test::golden_fixtures();
  std::erase(names, "storyteller");
  return names;
}

Matrix& matrix() {
  static Matrix made;
  return made;
}

std::string text_of(const Outcome& outcome) {
  std::string text = to_string(outcome.mutant) + ": " + outcome.note + " " + outcome.error;
  for (const std::string& path : outcome.sources) text += "\n  guilty: " + path;
  for (const Named& named : outcome.named) {
    text += "\n  " + named.path + ": " + (named.causes.empty() ? "undecided" : named.causes[0]) +
            " " + named.what;
  }
  return text;
}

TEST(Mutants, AreOfEnoughKindsInEnoughModels) {
  if (!std::filesystem::exists(test::shared_fixtures())) {
    GTEST_SKIP() << test::shared_fixtures() << " is not there";
  }
  std::set<std::string_view> known, unknown;
  std::set<std::string> models;
  for (const Mutant& mutant : all_mutants(fixtures(), 1)) {
    const FaultKind* kind = mutant.kinds.front();
    std::set<std::string_view>& of_sort = kind->rows.empty() ? unknown : known;
    if (of_sort.contains(kind->id) && models.contains(mutant.fixture)) continue;
    if (!matrix().applies(mutant)) continue;
    of_sort.insert(kind->id);
    models.insert(mutant.fixture);
  }
  EXPECT_GE(known.size(), 100u);
  EXPECT_GE(unknown.size(), 13u);
  EXPECT_GE(models.size(), 34u);
}

TEST(Mutants, SoundPortsAreNotAlarmed) {
  for (const std::string& fixture : fixtures()) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      EXPECT_EQ(matrix().false_alarms(fixture, dtype), std::vector<std::string>())
          << fixture << " " << dtype_name(dtype);
    }
  }
}

TEST(Mutants, ATenthIsFoundAndNamed) {
  const std::vector<Outcome> outcomes =
      run_all(matrix(), a_tenth(all_mutants(fixtures(), 1), kSeed));
  const Scores scores = score(outcomes);
  std::string misses;
  for (const Outcome& outcome : outcomes) {
    EXPECT_EQ(outcome.error, "") << text_of(outcome);
    // No fault of another kind may get a name of the catalogue.
    if (outcome.is_unknown()) {
      EXPECT_TRUE(outcome.misnamed.empty()) << text_of(outcome);
    }
    const bool is_right = outcome.operator_found() && outcome.cause_named();
    if (outcome.applies && !outcome.is_under_floor && !is_right) misses += text_of(outcome) + "\n";
  }
  const size_t found = scores.known.found + scores.unknown.found;
  const size_t all = scores.known.mutants + scores.unknown.mutants;
  printf("  operator %zu of %zu, cause %zu of %zu, wrong names %zu, unknown named %zu of %zu\n",
         found, all, scores.known.named, scores.known.mutants, scores.known.misnamed,
         scores.unknown.misnamed, scores.unknown.mutants);
  EXPECT_GE(share(found, all), kOperatorFound) << misses;
  EXPECT_GE(share(scores.known.named, scores.known.mutants), kCauseNamed) << misses;
  EXPECT_EQ(scores.known.floor_failed + scores.unknown.floor_failed, 0u);
}

TEST(Mutants, ThreeAtOnceAreFoundAndNamed) {
  const std::vector<Outcome> outcomes = run_all(matrix(), triples(matrix(), fixtures(), 20, 1));
  Score score;
  std::string misses;
  for (const Outcome& outcome : outcomes) {
    score.add(outcome);
    if (!outcome.operator_found() || !outcome.cause_named()) misses += text_of(outcome) + "\n";
  }
  EXPECT_EQ(outcomes.size(), 20u);
  EXPECT_GE(share(score.named, score.mutants), kCauseNamed) << misses;
}

}  // namespace
}  // namespace lockstep::mutants
