#include "port/source_text.h"

#include <gtest/gtest.h>

namespace lockstep::port {
namespace {

std::vector<std::string> texts(const std::vector<Prose>& prose) {
  std::vector<std::string> all;
  for (const Prose& p : prose) all.push_back(p.text);
  return all;
}

TEST(SourceTextTest, CommentsAreParagraphsAndCodeIsWhatIsLeft) {
  const std::string source =
      "// One\n// and two.\n//\n// Three.\nint a;  // of a\nint b;  // of b\n"
      "/* A block\n * of lines\n */\n/// Doc.\n";
  const SourceText read = read_source(source);
  EXPECT_EQ(texts(read.comments), (std::vector<std::string>{"One and two.", "Three.", "of a",
                                                            "of b", "A block of lines", "Doc."}));
  EXPECT_EQ(read.comments[0].line_at(0), 1u);
  EXPECT_EQ(read.comments[0].line_at(read.comments[0].text.find("two")), 2u);
  EXPECT_EQ(read.comments[3].line_at(0), 6u);
  EXPECT_EQ(read.comments[4].line_at(12), 8u);
  EXPECT_EQ(read.code.size(), source.size());
  EXPECT_NE(read.code.find("int a;"), std::string::npos);
  EXPECT_EQ(read.code.find("One"), std::string::npos);
}

TEST(SourceTextTest, SignsInLiteralsAreCode) {
  const std::string source =
      "const char* a = \"// no \\\" /* no\";\nchar b = '\"'; int n = 1'000'000;  // yes\n"
      "auto c = R\"x(// no\n)\" */ )x\";  // and yes\nint BAR = 1;\n";
  EXPECT_EQ(texts(read_source(source).comments), (std::vector<std::string>{"yes", "and yes"}));
  EXPECT_EQ(read_source(source).comments[1].line_at(0), 4u);
}

TEST(SourceTextTest, NotesAndItemsBeginParagraphs) {
  const std::string source =
      "// Text\n// TODO(delta 1): a\n//   goes on\n// Delta 2 (m.py:3): b\n// - item\n// 1. "
      "first\n";
  EXPECT_EQ(texts(read_source(source).comments),
            (std::vector<std::string>{"Text", "TODO(delta 1): a goes on", "Delta 2 (m.py:3): b",
                                      "- item", "1. first"}));
}

TEST(SourceTextTest, UnfinishedSourcesEnd) {
  for (const char* source : {"/* open", "\"open", "R\"(open", "// open \\", "'", "/", "R\"", ""}) {
    EXPECT_LE(read_source(source).comments.size(), 1u) << source;
  }
}

TEST(SourceTextTest, MarkdownIsReadOutsideMarkersFencesAndComments) {
  const std::string text =
      "# Port of x\n\nFirst\nparagraph.\n\n<!-- a note\nof lines -->\n## Gates\n\n"
      "<!-- lockstep:gates -->\nours\n<!-- /lockstep:gates -->\nmine\n```\ncode\n```\n- one\n- "
      "two\n";
  const std::vector<Prose> prose = read_markdown(text);
  EXPECT_EQ(texts(prose), (std::vector<std::string>{"# Port of x", "First paragraph.", "## Gates",
                                                    "mine", "- one", "- two"}));
  EXPECT_EQ(prose[3].heading, "Gates");
  EXPECT_EQ(prose[3].line_at(0), 13u);
}

}  // namespace
}  // namespace lockstep::port
