#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"
#include "text/utf8.h"

namespace lockstep::text {
namespace {

bool ends_in_word(std::string_view text) {
  size_t end = text.size();
  return end > 0 && is_word(previous_code_point(text, end));
}

bool begins_with_word(std::string_view text) {
  size_t at = 0;
  return !text.empty() && is_word(next_code_point(text, at));
}

// Where the white space begins that `text` ends in.
size_t space_at_end(std::string_view text, size_t not_before) {
  size_t begin = text.size();
  for (size_t at = begin; at > not_before && is_white_space(previous_code_point(text, at));) {
    begin = at;
  }
  return begin;
}

size_t space_at_start(std::string_view text) {
  size_t end = 0;
  for (size_t at = 0; at < text.size() && is_white_space(next_code_point(text, at));) end = at;
  return end;
}

}  // namespace

void AddedTokens::add(const std::vector<AddedToken>& tokens, const Model& model,
                      const Normalizer* normalizer) {
  auto next = static_cast<int32_t>(model.size());
  for (const Entry& entry : entries_) next = std::max(next, entry.id + 1);
  for (const AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    std::optional<int32_t> id = find(token.content);
    if (!id.has_value()) id = model.token_to_id(token.content);
    add_one(token, id.has_value() ? *id : next++, normalizer);
  }
  raw_ = make_matcher(false);
  normalized_ = make_matcher(true);
}

void AddedTokens::add_one(const AddedToken& token, int32_t id, const Normalizer* normalizer) {
  Entry entry{token, id, ""};
  if (token.normalized && normalizer != nullptr) {
    StagedText text{token.content, true, StagedText::max_bytes_for(token.content.size())};
    normalizer->apply(text);
    if (text.text != token.content) entry.normalized = std::move(text.text);
  }
  const auto [place, is_new] = by_content_.try_emplace(token.content, entries_.size());
  if (is_new) {
    by_id_[id] = entries_.size();
    entries_.push_back(std::move(entry));
  } else {
    // Once special, a content stays so.
    entry.token.special = entry.token.special || entries_[place->second].token.special;
    entries_[place->second] = std::move(entry);
  }
}

AddedTokens::Matcher AddedTokens::make_matcher(bool normalized) const {
  Matcher matcher;
  std::vector<ByteTrie::Entry> entries;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (entry.token.normalized != normalized) continue;
    entries.push_back({entry.normalized.empty() ? entry.token.content : entry.normalized,
                       static_cast<uint32_t>(i)});
  }
  for (const ByteTrie::Entry& entry : entries) {
    if (matcher.first_bytes.find(entry.key[0]) == std::string::npos) {
      matcher.first_bytes += entry.key[0];
    }
  }
  matcher.trie = ByteTrie::build(std::move(entries));
  return matcher;
}

std::optional<int32_t> AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  if (found == by_content_.end()) return std::nullopt;
  return entries_[found->second].id;
}

const AddedToken* AddedTokens::token(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &entries_[found->second].token;
}

std::optional<std::string_view> AddedTokens::text_of(int32_t id) const {
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return std::nullopt;
  const Entry& entry = entries_[found->second];
  return entry.normalized.empty() ? entry.token.content : entry.normalized;
}

bool AddedTokens::is_special(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found != by_content_.end() && entries_[found->second].token.special;
}

std::vector<int32_t> AddedTokens::ids() const {
  std::vector<int32_t> ids;
  for (const Entry& entry : entries_) ids.push_back(entry.id);
  return ids;
}

size_t AddedTokens::Matcher::next_candidate(std::string_view text, size_t at) const noexcept {
  if (first_bytes.size() == 1) return std::min(text.find(first_bytes[0], at), text.size());
  while (at < text.size() && !trie.begins_with(text[at])) ++at;
  return at;
}

void AddedTokens::Matcher::find_in(const AddedTokens& tokens, std::string_view text,
                                   bool skip_special, std::vector<Span>& spans) const {
  size_t done = 0;
  size_t at = trie.empty() ? text.size() : 0;
  while ((at = next_candidate(text, at)) < text.size()) {
    size_t length = 0;
    uint32_t index = 0;
    trie.for_each_prefix(text.substr(at), [&](size_t n, uint32_t value) {
      length = n;
      index = value;
    });
    if (length == 0) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at + length;
    at = end;
    const auto& [token, id, normalized] = tokens.entries_[index];
    if (skip_special && token.special) continue;
    if (token.single_word &&
        (ends_in_word(text.substr(0, begin)) || begins_with_word(text.substr(end)))) {
      continue;
    }
    if (token.lstrip) begin = std::max(space_at_end(text.substr(0, begin), done), done);
    if (token.rstrip) end += space_at_start(text.substr(end));
    if (done < begin) spans.push_back({done, begin, -1});
    spans.push_back({begin, end, id});
    done = end;
  }
  if (done < text.size()) spans.push_back({done, text.size(), -1});
}

}  // namespace lockstep::text
