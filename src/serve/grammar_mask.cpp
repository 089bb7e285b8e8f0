#include "serve/grammar_mask.h"

#include <algorithm>

namespace lockstep::serve {
namespace {

constexpr size_t kMaxMasks = 256;

void set_bit(std::span<uint32_t> mask, int32_t id) {
  mask[static_cast<size_t>(id) / 32] |= 1u << (static_cast<uint32_t>(id) % 32);
}

void sort_unique(std::vector<StackId>& stacks) {
  std::sort(stacks.begin(), stacks.end());
  stacks.erase(std::unique(stacks.begin(), stacks.end()), stacks.end());
}

}  // namespace

TokenTrie::TokenTrie(const text::TokenBytes& bytes, size_t vocab_size, std::vector<int32_t> ends)
    : bytes_(bytes), vocab_size_(vocab_size), ends_(std::move(ends)) {
  for (size_t id = 0; id < std::min(vocab_size, bytes.size()); ++id) {
    const auto token = static_cast<int32_t>(id);
    if (!bytes.bytes(token).empty()) tokens_.push_back(token);
  }
  std::erase_if(ends_, [&](int32_t id) { return id < 0 || static_cast<size_t>(id) >= vocab_size; });
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [&](int32_t a, int32_t b) { return bytes_.bytes(a) < bytes_.bytes(b); });
  build_nodes();
  sort_string_tokens();
}

void TokenTrie::build_nodes() {
  std::vector<uint32_t> open;  // nodes of the last token's bytes
  std::string_view last;
  for (uint32_t i = 0; i < tokens_.size(); ++i) {
    const std::string_view text = bytes_.bytes(tokens_[i]);
    longest_ = std::max(longest_, text.size());
    size_t common = 0;
    while (common < std::min(text.size(), last.size()) && text[common] == last[common]) ++common;
    while (open.size() > common) {
      nodes_[open.back()].skip = static_cast<uint32_t>(nodes_.size());
      open.pop_back();
    }
    for (size_t d = common; d < text.size(); ++d) {
      open.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back({static_cast<unsigned char>(text[d]), static_cast<uint16_t>(d), 0, i, 0});
    }
    Node& end = nodes_[open.back()];
    if (end.n_tokens++ == 0) end.first_token = i;
    last = text;
  }
  for (const uint32_t node : open) nodes_[node].skip = static_cast<uint32_t>(nodes_.size());
}

// Runs every token through a grammar that is a string and nothing more.
void TokenTrie::sort_string_tokens() {
  Grammar string;
  GrammarNode node;
  node.kind = GrammarNode::Kind::kString;
  string.nodes.push_back(node);
  StackSet stacks(string);
  std::vector<StackId> plain, from, to;
  stacks.advance(stacks.start(), '"', plain);
  staying_mask_.resize(n_words());
  for (const int32_t token : tokens_) {
    const std::string_view text = bytes_.bytes(token);
    from = plain;
    InString entry{token, 0, {}, false};
    size_t at = 0;
    for (; at < text.size() && !entry.closes; ++at) {
      const auto byte = static_cast<unsigned char>(text[at]);
      // A character begins at every plain place but the one where the string ends.
      const bool is_plain = stacks.inside_string(from.front()).has_value();
      to.clear();
      stacks.advance(from.front(), byte, to);
      if (to.empty()) break;
      entry.closes = to.front() == 0;
      entry.n_characters += is_plain && !entry.closes ? 1 : 0;
      from.swap(to);
    }
    if (entry.closes) {
      entry.rest = text.substr(at);
      closing_.push_back(entry);
    } else if (at == text.size()) {
      staying_.push_back(entry);
      set_bit(staying_mask_, token);
    }
  }
  std::stable_sort(staying_.begin(), staying_.end(), [](const InString& a, const InString& b) {
    return a.n_characters < b.n_characters;
  });
  std::stable_sort(closing_.begin(), closing_.end(),
                   [](const InString& a, const InString& b) { return a.rest < b.rest; });
}

GrammarMask::GrammarMask(std::shared_ptr<const Grammar> grammar, const TokenTrie& trie)
    : grammar_(std::move(grammar)), trie_(trie) {
  restart();
}

void GrammarMask::restart() {
  stacks_ = std::make_unique<StackSet>(*grammar_);
  masks_.clear();
  now_ = {stacks_->start()};
}

void GrammarMask::step(StackSet& stacks, const std::vector<StackId>& from, unsigned char byte,
                       std::vector<StackId>& to) {
  to.clear();
  for (const StackId stack : from) stacks.advance(stack, byte, to);
  if (to.size() > 1) sort_unique(to);
  if (to.size() > StackSet::kMaxThreads) to.clear();
}

bool GrammarMask::feed(std::string_view bytes) {
  for (const char byte : bytes) {
    step(*stacks_, now_, static_cast<unsigned char>(byte), next_);
    now_.swap(next_);
    if (now_.empty()) return false;
  }
  return true;
}

bool GrammarMask::follow(std::span<const int32_t> output) {
  if (stacks_->is_full()) {
    restart();
    if (!feed(text_)) return false;
  }
  for (; n_followed_ < output.size(); ++n_followed_) {
    const int32_t id = output[n_followed_];
    if (std::find(trie_.ends().begin(), trie_.ends().end(), id) != trie_.ends().end()) {
      ended_ = true;
      continue;
    }
    const std::string_view bytes = trie_.bytes(id);
    text_ += bytes;
    if (ended_ || !feed(bytes)) return false;
  }
  return true;
}

bool GrammarMask::accepts(StackId stack, std::string_view bytes) {
  std::vector<StackId> from{stack}, to;
  for (const char byte : bytes) {
    step(*stacks_, from, static_cast<unsigned char>(byte), to);
    if (to.empty()) return false;
    from.swap(to);
  }
  return true;
}

void GrammarMask::fill_in_string(const StackSet::Inside& inside, Mask& mask) {
  const uint32_t room =
      inside.max == GrammarNode::kNoMaximum ? inside.max : inside.max - inside.n_characters;
  if (room >= trie_.longest()) {
    for (size_t i = 0; i < mask.size(); ++i) mask[i] |= trie_.staying_mask()[i];
  } else {
    for (const TokenTrie::InString& entry : trie_.staying()) {
      if (entry.n_characters > room) break;
      set_bit(mask, entry.token);
    }
  }
  // What follows the quote is looked at once, though many tokens have it.
  std::string_view last;
  bool last_accepted = false, is_first = true;
  for (const TokenTrie::InString& entry : trie_.closing()) {
    if (is_first || entry.rest != last) {
      last = entry.rest;
      last_accepted = accepts(inside.after, last);
      is_first = false;
    }
    const uint32_t n = inside.n_characters + entry.n_characters;
    if (last_accepted && entry.n_characters <= room && n >= inside.min) set_bit(mask, entry.token);
  }
}

void GrammarMask::walk(StackId stack, Mask& mask) {
  const std::vector<TokenTrie::Node>& nodes = trie_.nodes();
  path_.resize(trie_.longest() + 1);
  path_[0] = {stack};
  for (uint32_t i = 0; i < nodes.size();) {
    const TokenTrie::Node& node = nodes[i];
    std::vector<StackId>& to = path_[node.depth + 1u];
    step(*stacks_, path_[node.depth], node.byte, to);
    if (to.empty()) {
      i = node.skip;
      continue;
    }
    for (uint32_t k = 0; k < node.n_tokens; ++k)
      set_bit(mask, trie_.tokens()[node.first_token + k]);
    ++i;
  }
}

const GrammarMask::Mask& GrammarMask::mask_of(StackId stack) {
  if (masks_.size() >= kMaxMasks) masks_.clear();
  const auto [place, is_new] = masks_.try_emplace(stack);
  if (!is_new) return place->second;
  Mask& mask = place->second;
  mask.resize(trie_.n_words());
  if (const auto inside = stacks_->inside_string(stack)) {
    fill_in_string(*inside, mask);
  } else if (stack != 0) {
    walk(stack, mask);
  }
  return mask;
}

bool GrammarMask::allow(std::span<const int32_t> output, std::span<uint32_t> allowed) noexcept {
  try {
    if (!follow(output)) return false;
    bool is_complete = false, any = false;
    for (const StackId stack : now_) {
      is_complete |= stacks_->is_complete(stack);
      const Mask& mask = mask_of(stack);
      for (size_t i = 0; i < mask.size() && i < allowed.size(); ++i) {
        allowed[i] |= mask[i];
        any |= mask[i] != 0;
      }
    }
    if (is_complete) {
      for (const int32_t id : trie_.ends()) set_bit(allowed, id);
    }
    return any || (is_complete && !trie_.ends().empty());
  } catch (...) {
    return false;
  }
}

}  // namespace lockstep::serve
