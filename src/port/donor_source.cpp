#include "port/donor_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <regex>
#include <utility>

#include "base/file.h"
#include "lockstep/error.h"
#include "port/source_text.h"

namespace lockstep::port {
namespace fs = std::filesystem;
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

// Braces and parentheses that a line leaves open; literals left out.
int depth_change(std::string_view line) {
  int depth = 0;
  char quote = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote != 0) {
      if (c == '\\') ++i;
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '{' || c == '(') {
      ++depth;
    } else if (c == '}' || c == ')') {
      --depth;
    }
  }
  return depth;
}

Chunk chunk_of(std::string text) {
  static const std::regex kStruct(R"(struct (\w+)(?: final)?(?: : ([^{]+?))? \{)");
  static const std::regex kAlias(R"(^using (\w+) =)");
  static const std::regex kFunction(R"((\w+)\()");
  static const std::regex kConstant(R"((\w+) = )");
  Chunk chunk;
  std::smatch match;
  if (std::regex_search(text, match, kStruct) &&
      text.find('(') > static_cast<size_t>(match.position())) {
    chunk.name = match[1];
    chunk.base = match[2];
    chunk.is_struct = true;
  } else if (std::regex_search(text, match, kAlias) || std::regex_search(text, match, kConstant) ||
             std::regex_search(text, match, kFunction)) {
    chunk.name = match[1];
  }
  chunk.text = std::move(text);
  return chunk;
}

// "using Attention = llama::Attention;" in the body of a family.
std::map<std::string, std::string> aliases_of(const std::string& text) {
  static const std::regex kAlias(R"(\n  using (\w+) = ([^;]+);)");
  std::map<std::string, std::string> aliases;
  for (std::sregex_iterator at(text.begin(), text.end(), kAlias), none; at != none; ++at) {
    aliases[(*at)[1]] = (*at)[2];
  }
  return aliases;
}

std::string config_of(const std::vector<Chunk>& chunks) {
  for (const Chunk& chunk : chunks) {
    if (chunk.is_struct && chunk.name.ends_with("Config")) return chunk.name;
  }
  return "";
}

}  // namespace

std::string without_comments(std::string_view source) {
  std::string text;
  for (std::string& line : lines_of(read_source(source).code)) {
    line.erase(line.find_last_not_of(' ') + 1);
    // Lines that held a comment alone are empty now.
    if (line.empty() && (text.empty() || text.ends_with("\n\n"))) continue;
    text += line + "\n";
  }
  return text;
}

std::vector<Chunk> chunks_of(std::string_view source) {
  std::vector<Chunk> chunks;
  std::string text;
  int depth = 0;
  for (const std::string& line : lines_of(without_comments(source))) {
    if (depth == 0 && (line.empty() || line.starts_with('#') || line.starts_with("namespace") ||
                       line.starts_with('}'))) {
      continue;
    }
    text += line + "\n";
    depth += depth_change(line);
    const bool ends = depth == 0 && (line.ends_with(';') || line.ends_with('}'));
    if (ends) chunks.push_back(chunk_of(std::exchange(text, "")));
  }
  return chunks;
}

std::string forward_of(const std::string& struct_text) {
  const std::vector<std::string> lines = lines_of(struct_text);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].find(" forward(") == std::string::npos || lines[i].starts_with("    ")) continue;
    std::string text = i > 0 && lines[i - 1].starts_with("  template") ? lines[i - 1] + "\n" : "";
    int depth = 0;
    for (; i < lines.size(); ++i) {
      text += lines[i] + "\n";
      depth += depth_change(lines[i]);
      if (depth == 0 && lines[i].ends_with('}')) return text;
    }
  }
  return "";
}

DonorSource DonorSource::read(const fs::path& sdk, const std::string& slug,
                              const std::string& class_name, const std::string& base_model_prefix) {
  const fs::path header = sdk / "lockstep" / "archs" / (slug + ".h");
  const std::string source = read_text_file(header);
  DonorSource donor;
  donor.slug = slug;
  donor.class_name = class_name;
  donor.base_model_prefix = base_model_prefix;
  donor.chunks = chunks_of(source);
  donor.config_ = config_of(donor.chunks);
  for (const std::string& line : lines_of(source)) {
    if (line.starts_with("#include <")) donor.includes.push_back(line.substr(9));
  }
  for (const Chunk& chunk : donor.chunks) {
    if (chunk.is_struct && chunk.text.find(" kCausalLM =") != std::string::npos) {
      donor.family = chunk.name;
      donor.parts = aliases_of(chunk.text);
    }
  }
  if (donor.find(class_name) == nullptr || donor.config_.empty()) {
    throw Error(ErrorCode::kInternal,
                fmt::format("{}: expected {} and the struct of its configuration", header.string(),
                            class_name));
  }
  return donor;
}

const Chunk* DonorSource::find(std::string_view name) const {
  const auto at = std::ranges::find(chunks, name, &Chunk::name);
  return at == chunks.end() ? nullptr : &*at;
}

std::string stem_of(std::string_view class_name) {
  for (const std::string_view end : {"LMHeadModel", "LMHead", "Model"}) {
    if (class_name.size() > end.size() && class_name.ends_with(end)) {
      return std::string(class_name.substr(0, class_name.size() - end.size()));
    }
  }
  const size_t at = class_name.rfind("For");
  const bool is_suffix = at != std::string_view::npos && at > 0 && at + 3 < class_name.size() &&
                         std::isupper(static_cast<unsigned char>(class_name[at + 3])) != 0;
  return std::string(class_name.substr(0, is_suffix ? at : class_name.size()));
}

std::string with_stem(std::string_view text, std::string_view from, std::string_view to,
                      const std::set<std::string>& kept) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && is_word(text[end])) ++end;
    const std::string word(text.substr(i, end - i));
    const char next = word.size() > from.size() ? word[from.size()] : 'A';
    const bool is_literal = i > 0 && text[i - 1] == '"';
    const bool is_one = word.starts_with(from) && !word.empty() &&
                        (std::isupper(static_cast<unsigned char>(next)) != 0) &&
                        (is_literal || !kept.contains(word));
    out += is_one ? std::string(to) + word.substr(from.size()) : word;
    if (end < text.size()) out += text[end];
    i = end + 1;
  }
  return out;
}

std::string with_word(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const bool begins = i == 0 || !is_word(text[i - 1]);
    const size_t end = i + from.size();
    const bool ends = from.ends_with(':') || end >= text.size() || !is_word(text[end]);
    if (begins && ends && text.substr(i, from.size()) == from) {
      out += to;
      i = end;
    } else {
      out += text[i++];
    }
  }
  return out;
}

}  // namespace lockstep::port
