#include "parity/html/html.h"

#include <gtest/gtest.h>

namespace lockstep::parity {
namespace {

TEST(EscapeHtmlTest, MarkupIsText) {
  EXPECT_EQ(escape_html("<script>alert(\"1\" & '2')</script>"),
            "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;");
}

TEST(EscapeHtmlTest, WhatReadersCannotSeeIsShown) {
  const std::string mark = "\xEF\xBF\xBD";
  EXPECT_EQ(escape_html(std::string("a\0b\x1b[31m", 8)), "a" + mark + "b" + mark + "[31m");
  EXPECT_EQ(escape_html("q_proj\u202Ejorp_k"), "q_proj" + mark + "jorp_k");
  EXPECT_EQ(escape_html("\u2066x\u2069\u200F"), mark + "x" + mark + mark);
  EXPECT_EQ(escape_html("broken \xC3("), "broken " + mark + "(");
  EXPECT_EQ(escape_html("na\xC3\xAFve \xE6\x97\xA5"), "na\xC3\xAFve \xE6\x97\xA5");
  EXPECT_EQ(escape_html("two\nlines\t"), "two\nlines\t");
}

TEST(HtmlPageTest, IsOneFileThatAllowsNothingElse) {
  const std::string page = html_page("a<b", "<p>body</p>");
  EXPECT_TRUE(page.starts_with("<!doctype html>"));
  EXPECT_NE(page.find("<title>a&lt;b</title>"), std::string::npos);
  EXPECT_NE(page.find("default-src 'none'"), std::string::npos);
  for (const char* foreign : {"http://", "https://", "<script", "@import", "url("}) {
    EXPECT_EQ(page.find(foreign), std::string::npos) << foreign;
  }
  EXPECT_NE(page.find("prefers-color-scheme: dark"), std::string::npos);
}

}  // namespace
}  // namespace lockstep::parity
