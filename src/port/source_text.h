// What a person says in a file, apart from its code: comments of C++ sources, prose of Markdown.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lockstep::port {

/// A paragraph, its lines joined by single blanks.
struct Prose {
  std::string text;
  std::vector<std::pair<size_t, size_t>> lines;  // offset in `text`, line of the file from 1
  std::string heading;                           // of Markdown: the nearest one above

  size_t line_at(size_t offset) const;
  void add(std::string_view piece, size_t line);
};

struct SourceText {
  std::vector<Prose> comments;
  std::string code;  // the source with comments blanked; line ends stay
};

/// Comments on neighbouring lines of their own are one paragraph, which ends at an empty comment
/// line, at a list's next item, and before a line that begins with TODO, "Delta N" or "Key NAME:".
/// Comment signs inside literals, raw ones included, are code. Never throws: an unfinished comment
/// or literal ends with the source.
SourceText read_source(std::string_view source);

/// Paragraphs of Markdown outside code fences and outside the sections between lockstep's markers;
/// HTML comments are left out.
std::vector<Prose> read_markdown(std::string_view text);

}  // namespace lockstep::port
