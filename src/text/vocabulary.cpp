#include "text/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace lockstep::text {
namespace {

constexpr int64_t kMaxIds = 1 << 24;

}  // namespace

Vocabulary Vocabulary::of_object(const JsonPart& part) {
  Vocabulary vocabulary;
  const simdjson::dom::object object = part.as_object();
  size_t n_bytes = 0;
  size_t n_tokens = 0;
  for (const auto& [token, id] : object) {
    n_bytes += token.size();
    ++n_tokens;
  }
  vocabulary.table_.reserve(n_tokens, n_bytes);
  for (const auto& [token, element] : object) {
    int64_t id = 0;
    if (element.get_int64().get(id) != simdjson::SUCCESS || id < 0 || id >= kMaxIds) {
      part.member(token).fail(fmt::format("an id from 0 to {}", kMaxIds - 1),
                              part.member(token).describe());
    }
    vocabulary.table_.set(token, static_cast<uint32_t>(id));
  }
  vocabulary.index_ids();
  return vocabulary;
}

Vocabulary Vocabulary::of_list(const std::vector<std::string_view>& tokens) {
  Vocabulary vocabulary;
  size_t n_bytes = 0;
  for (const std::string_view token : tokens) n_bytes += token.size();
  vocabulary.table_.reserve(tokens.size(), n_bytes);
  for (size_t id = 0; id < tokens.size(); ++id) {
    vocabulary.table_.set(tokens[id], static_cast<uint32_t>(id));
  }
  vocabulary.index_ids();
  // An earlier one of equal tokens still has its id.
  vocabulary.index_of_id_.resize(tokens.size(), 0);
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (vocabulary.index_of_id_[id] != 0) continue;
    vocabulary.index_of_id_[id] = vocabulary.index_of_id_[*vocabulary.table_.find(tokens[id])];
  }
  return vocabulary;
}

void Vocabulary::index_ids() {
  for (size_t i = 0; i < table_.size(); ++i) {
    const uint32_t id = table_.value(i);
    if (id >= index_of_id_.size()) index_of_id_.resize(std::max<size_t>(id + 1, table_.size()));
    index_of_id_[id] = static_cast<uint32_t>(i + 1);
  }
  while (!index_of_id_.empty() && index_of_id_.back() == 0) index_of_id_.pop_back();
}

}  // namespace lockstep::text
