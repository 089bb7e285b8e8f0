#include "port/donor_difference.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace lockstep::port {
namespace {

TEST(LineDifferenceTest, ShowsWhatDiffersAndALittleAround) {
  EXPECT_EQ(line_difference("1\n2\n3\n4\n5\n6\n", "1\n2\n3\n4\nfive\n6\n"),
            "  ...\n  3\n  4\n- 5\n+ five\n  6\n");
  EXPECT_EQ(line_difference("a\nb\n", "a\nb\n"), "  ...\n");
  EXPECT_EQ(line_difference("", "a\n"), "+ a\n");
  EXPECT_EQ(line_difference("a\n", ""), "- a\n");
}

TEST(DonorDifferenceTest, SaysNothingOfWhatIsNotThere) {
  EXPECT_TRUE(donor_difference("/nowhere", "LlamaAttention").markdown.empty());
}

}  // namespace
}  // namespace lockstep::port
