// Strings and what they stand for, flat: one arena for the bytes, one array of slots.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::text {

/// 64 bits of `bytes`; not for adversaries who may choose them at will.
inline uint64_t hash_bytes(std::string_view bytes) noexcept {
  constexpr uint64_t kA = 0x9e3779b97f4a7c15u;
  constexpr uint64_t kB = 0xd6e8feb86659fd93u;
  const auto load = [&](size_t at, size_t n) {
    uint64_t value = 0;
    std::memcpy(&value, bytes.data() + at, n);
    return value;
  };
  const auto mix = [](uint64_t a, uint64_t b) {
    const auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  const size_t n = bytes.size();
  uint64_t hash = n * kB;
  size_t at = 0;
  for (; n - at > 16; at += 16) hash = mix(load(at, 8) ^ kA ^ hash, load(at + 8, 8) ^ kB);
  const size_t rest = n - at;
  uint64_t first = 0;
  uint64_t last = 0;
  if (rest >= 8) {
    first = load(at, 8);
    last = load(n - 8, 8);
  } else if (rest >= 4) {
    first = load(at, 4);
    last = load(n - 4, 4);
  } else if (rest > 0) {
    first = static_cast<unsigned char>(bytes[at]);
    last = static_cast<uint64_t>(static_cast<unsigned char>(bytes[at + rest / 2])) << 8 |
           static_cast<unsigned char>(bytes[n - 1]);
  }
  return mix(first ^ kA ^ hash, last ^ kB ^ (hash << 1));
}

/// A map from strings to 32-bit numbers. Strings are copied and kept until it is destroyed.
class StringTable {
 public:
  StringTable() { slots_.resize(16); }
  /// Room for `n_strings` of `n_bytes` in all, so that adding them moves nothing.
  void reserve(size_t n_strings, size_t n_bytes);
  /// Sets what `key` stands for; replaces an earlier number.
  void set(std::string_view key, uint32_t value);
  /// nullptr when absent.
  const uint32_t* find(std::string_view key) const noexcept { return find(key, hash_bytes(key)); }
  const uint32_t* find(std::string_view key, uint64_t hash) const noexcept {
    const size_t mask = slots_.size() - 1;
    const auto tag = static_cast<uint32_t>(hash >> 32);
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
      const Slot& slot = slots_[i];
      if (slot.entry == 0) return nullptr;
      if (slot.tag == tag && string(slot.entry - 1) == key) return &values_[slot.entry - 1];
    }
  }

  size_t size() const noexcept { return values_.size(); }
  /// The strings in the order in which they were first set.
  std::string_view string(size_t index) const noexcept {
    return {arena_.data() + begins_[index], begins_[index + 1] - begins_[index]};
  }
  uint32_t value(size_t index) const noexcept { return values_[index]; }

 private:
  struct Slot {
    uint32_t tag = 0;
    uint32_t entry = 0;  // 1 + index; 0 is free
  };
  void grow(size_t n_slots);

  std::vector<Slot> slots_;  // a power of two, at most half full
  std::vector<char> arena_;
  std::vector<uint64_t> begins_{0};  // [size + 1]
  std::vector<uint32_t> values_;     // [size]
};

}  // namespace lockstep::text
