// Tokens and ids, both ways.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "text/json_part.h"
#include "text/string_table.h"

namespace lockstep::text {

class Vocabulary {
 public:
  Vocabulary() = default;
  /// `{"token": id, ...}`. Throws naming the place for an id outside [0, 2^24).
  static Vocabulary of_object(const JsonPart& part);
  /// Tokens in the order of their ids; of equal ones the last has the name.
  static Vocabulary of_list(const std::vector<std::string_view>& tokens);

  std::optional<int32_t> find(std::string_view token) const noexcept {
    const uint32_t* id = table_.find(token);
    return id == nullptr ? std::nullopt : std::optional(static_cast<int32_t>(*id));
  }
  std::optional<std::string_view> token(size_t id) const noexcept {
    if (id >= index_of_id_.size() || index_of_id_[id] == 0) return std::nullopt;
    return table_.string(index_of_id_[id] - 1);
  }
  size_t size() const noexcept { return table_.size(); }
  size_t id_limit() const noexcept { return index_of_id_.size(); }
  const StringTable& table() const noexcept { return table_; }

 private:
  void index_ids();

  StringTable table_;
  std::vector<uint32_t> index_of_id_;  // 1 + index in table_; 0: none
};

}  // namespace lockstep::text
