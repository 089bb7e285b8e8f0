#include "text/string_table.h"

#include <bit>

namespace lockstep::text {

void StringTable::reserve(size_t n_strings, size_t n_bytes) {
  arena_.reserve(n_bytes);
  begins_.reserve(n_strings + 1);
  values_.reserve(n_strings);
  if (2 * n_strings > slots_.size()) grow(std::bit_ceil(2 * n_strings));
}

void StringTable::set(std::string_view key, uint32_t value) {
  const uint64_t hash = hash_bytes(key);
  if (const uint32_t* found = find(key, hash)) {
    values_[static_cast<size_t>(found - values_.data())] = value;
    return;
  }
  if (2 * (size() + 1) > slots_.size()) grow(2 * slots_.size());
  const size_t mask = slots_.size() - 1;
  size_t i = hash & mask;
  while (slots_[i].entry != 0) i = (i + 1) & mask;
  values_.push_back(value);
  arena_.insert(arena_.end(), key.begin(), key.end());
  begins_.push_back(arena_.size());
  slots_[i] = {static_cast<uint32_t>(hash >> 32), static_cast<uint32_t>(size())};
}

void StringTable::grow(size_t n_slots) {
  slots_.assign(n_slots, Slot{});
  const size_t mask = n_slots - 1;
  for (size_t entry = 0; entry < size(); ++entry) {
    const uint64_t hash = hash_bytes(string(entry));
    size_t i = hash & mask;
    while (slots_[i].entry != 0) i = (i + 1) & mask;
    slots_[i] = {static_cast<uint32_t>(hash >> 32), static_cast<uint32_t>(entry + 1)};
  }
}

}  // namespace lockstep::text
