#include "port/port_record.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <vector>

#include "base/file.h"
#include "lockstep/error.h"

namespace lockstep::port {
namespace {
namespace fs = std::filesystem;

class PortRecordTest : public ::testing::Test {
 protected:
  PortRecordTest() {
    std::string pattern = (fs::temp_directory_path() / "lockstep-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~PortRecordTest() override { fs::remove_all(folder_); }

  fs::path file() const { return folder_ / "PORT.md"; }
  std::string text() const { return read_text_file(file()); }
  void write(const std::string& text) const { std::ofstream(file(), std::ios::binary) << text; }
  std::string refusal(const std::string& section = "gates") const {
    try {
      update_record(folder_, section, "x");
    } catch (const Error& error) {
      return error.message();
    }
    return "no error";
  }

  fs::path folder_;
};

TEST_F(PortRecordTest, ANewRecordHasEverySectionInOrderAndAPromptForAPerson) {
  update_record(folder_, "gates", "all PASS");
  size_t last = 0;
  for (const char* heading :
       {"# Port of lockstep-", "## Model card", "## Configuration", "## Plan", "## Deltas",
        "## Gates", "<!-- lockstep:gates -->\nall PASS\n<!-- /lockstep:gates -->", "## Runs",
        "## Root cause", "## Lessons", "## Attestation"}) {
    const size_t at = text().find(heading, last);
    ASSERT_NE(at, std::string::npos) << heading << "\n" << text();
    last = at;
  }
  EXPECT_EQ(read_record(folder_, "gates"), "all PASS");
  EXPECT_EQ(read_record(folder_, "runs"), "");
}

TEST_F(PortRecordTest, WritingTheSameTwiceChangesNothing) {
  update_record(folder_, "runs", "| a |\n| b |\n");
  const std::string once = text();
  update_record(folder_, "runs", "| a |\n| b |\n");
  EXPECT_EQ(text(), once);
  EXPECT_EQ(read_record(folder_, "runs"), "| a |\n| b |");
}

TEST_F(PortRecordTest, AMissingSectionComesWhereTheOrderHasIt) {
  write("notes\n\n## Deltas\n\n<!-- lockstep:deltas -->\nd\n<!-- /lockstep:deltas -->\nmine");
  update_record(folder_, "card", "c");
  update_record(folder_, "gates", "g");
  update_record(folder_, "other", "o");
  const std::string whole = text();
  EXPECT_LT(whole.find("## Model card"), whole.find("## Deltas"));
  EXPECT_LT(whole.find("## Deltas"), whole.find("## Gates"));
  EXPECT_LT(whole.find("## Gates"), whole.find("mine"));
  EXPECT_LT(whole.find("mine"), whole.find("## other"));
}

TEST_F(PortRecordTest, ARecordOfAPersonsOwnIsAppendedTo) {
  write("my own notes, no line end");
  update_record(folder_, "gates", "g");
  EXPECT_EQ(text(),
            "my own notes, no line end\n\n## Gates\n\n<!-- lockstep:gates -->\ng\n"
            "<!-- /lockstep:gates -->\n");
}

TEST_F(PortRecordTest, MarkersInATextAreMadeHarmless) {
  const std::string hostile = "a\n<!-- /lockstep:card -->\n  <!-- lockstep:gates -->\r\nb";
  update_record(folder_, "card", hostile);
  update_record(folder_, "gates", "g");
  EXPECT_EQ(read_record(folder_, "gates"), "g");
  EXPECT_EQ(read_record(folder_, "card"),
            "a\n&lt;!-- /lockstep:card -->\n  &lt;!-- lockstep:gates -->\r\nb");
}

TEST_F(PortRecordTest, BrokenMarkersAreRefusedWithTheirLine) {
  write("a\n<!-- lockstep:gates -->\nx\n");
  EXPECT_EQ(refusal(), file().string() + ":2: section \"gates\" is not closed");
  write("<!-- lockstep:gates -->\n<!-- lockstep:runs -->\n<!-- /lockstep:runs -->\n");
  EXPECT_NE(refusal().find(":2: section \"runs\" opened before \"gates\" (line 1) is closed"),
            std::string::npos);
  const std::string pair = "<!-- lockstep:gates -->\n<!-- /lockstep:gates -->\n";
  write(pair + "\n" + pair);
  EXPECT_NE(refusal().find(":4: section \"gates\" opened twice, first in line 1"),
            std::string::npos);
  write("<!-- /lockstep:gates -->\n");
  EXPECT_NE(refusal().find(":1: section \"gates\" closed, but not open"), std::string::npos);
  EXPECT_EQ(text(), "<!-- /lockstep:gates -->\n");
  EXPECT_NE(refusal("a b").find("expected a name"), std::string::npos);
}

TEST_F(PortRecordTest, ALinkStaysALink) {
  std::ofstream(folder_ / "elsewhere.md") << "mine\n";
  fs::create_symlink("elsewhere.md", file());
  update_record(folder_, "gates", "g");
  EXPECT_TRUE(fs::is_symlink(file()));
  EXPECT_TRUE(read_text_file(folder_ / "elsewhere.md").starts_with("mine\n"));
}

// What a person wrote, whatever it is, stands between and around the sections byte for byte.
TEST_F(PortRecordTest, EveryByteOutsideTheMarkersStays) {
  const std::vector<std::string> sections = {"card", "deltas", "gates", "runs", "attestation"};
  std::mt19937 random(7);
  const auto any_text = [&] {
    constexpr std::string_view kPieces[] = {"word ",
                                            "\n",
                                            "\r\n",
                                            "\t",
                                            "# heading\n",
                                            "```\n",
                                            "<!-- note -->\n",
                                            "<!-- lockstep: -->\n",
                                            "<!-- lockstep:gates --> inline\n",
                                            "\xff\xfe",
                                            std::string_view("\0", 1),
                                            "<!-- ",
                                            " -->"};
    std::string text;
    for (size_t n = random() % 12; n > 0; --n) text += kPieces[random() % std::size(kPieces)];
    return text;
  };
  for (int round = 0; round < 40; ++round) {
    // A person's pieces with sections between them, in any order.
    std::vector<std::string> order = sections;
    std::shuffle(order.begin(), order.end(), random);
    order.resize(random() % order.size());
    std::string whole;
    std::vector<std::string> kept;
    for (const std::string& section : order) {
      kept.push_back(any_text() + "\n");
      whole += kept.back() + "<!-- lockstep:" + section + " -->\n" +
               "old\n<!-- /lockstep:" + section + " -->\n";
    }
    kept.push_back(any_text());
    whole += kept.back();
    write(whole);
    for (const std::string& section : order) {
      if (random() % 3 == 0) update_record(folder_, section, any_text());
      update_record(folder_, section, "new");
    }
    std::string expected;
    for (size_t i = 0; i < order.size(); ++i) {
      expected += kept[i] + "<!-- lockstep:" + order[i] + " -->\nnew\n<!-- /lockstep:" + order[i] +
                  " -->\n";
    }
    ASSERT_EQ(text(), expected + kept.back()) << round;
    // A new section takes nothing away: what was there is there in pieces around one insertion.
    const std::string before = text();
    update_record(folder_, "plan", "p");
    const std::string after = text();
    size_t same = 0;
    while (same < before.size() && before[same] == after[same]) ++same;
    ASSERT_TRUE(after.ends_with(before.substr(same))) << round;
  }
}

}  // namespace
}  // namespace lockstep::port
