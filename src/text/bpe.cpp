// BPE: characters (or bytes) of a piece become symbols, what the vocabulary lacks becomes byte
// tokens or the unknown token, and BpeMerges does the rest.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/text.h"
#include "lockstep/error.h"
#include "text/bpe_merges.h"
#include "text/byte_alphabet.h"
#include "text/model.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace lockstep::text {
namespace {

constexpr int32_t kNoId = -1;

// Pieces that came before and what became of them; one cache line each, the newest of equal hash.
class WordCache {
 public:
  static constexpr size_t kMaxBytes = 30;
  static constexpr size_t kMaxIds = 8;

  WordCache() : slots_(kSlots) {}

  bool append(std::string_view word, uint64_t hash, std::vector<int32_t>& ids) const {
    const Slot& slot = slots_[hash % kSlots];
    if (slot.n_bytes != word.size() || std::memcmp(slot.bytes, word.data(), word.size()) != 0) {
      return false;
    }
    ids.insert(ids.end(), slot.ids, slot.ids + slot.n_ids);
    return true;
  }
  void set(std::string_view word, uint64_t hash, const int32_t* ids, size_t n_ids) {
    if (word.size() > kMaxBytes || n_ids > kMaxIds) return;
    Slot& slot = slots_[hash % kSlots];
    slot.n_bytes = static_cast<uint8_t>(word.size());
    slot.n_ids = static_cast<uint8_t>(n_ids);
    std::memcpy(slot.bytes, word.data(), word.size());
    std::copy(ids, ids + n_ids, slot.ids);
  }

 private:
  static constexpr size_t kSlots = size_t{1} << 15;
  struct alignas(64) Slot {
    uint8_t n_bytes = 0;  // 0: empty, as no word is
    uint8_t n_ids = 0;
    char bytes[kMaxBytes];
    int32_t ids[kMaxIds];
  };
  std::vector<Slot> slots_;
};

struct BpeScratch : Model::Scratch {
  WordCache cache;
  BpeMerges::Scratch merging;
  std::vector<int32_t> symbols;
};

struct BpeOptions {
  std::optional<std::string> unk_token;
  std::string prefix, suffix;  // of what continues, of what ends a word
  bool fuse_unk, byte_fallback, ignore_merges;

  explicit BpeOptions(const JsonPart& part)
      : prefix(part.string_or("continuing_subword_prefix", "")),
        suffix(part.string_or("end_of_word_suffix", "")),
        fuse_unk(part.bool_or("fuse_unk", false)),
        byte_fallback(part.bool_or("byte_fallback", false)),
        ignore_merges(part.bool_or("ignore_merges", false)) {
    if (const std::optional<JsonPart> unk = part.optional("unk_token")) {
      unk_token = unk->as_string();
    }
    const std::optional<JsonPart> dropout = part.optional("dropout");
    if (dropout.has_value() && dropout->as_number() != 0) {
      throw Error(ErrorCode::kUnimplemented,
                  fmt::format("{}: merges left out at random ({}) are not supported",
                              dropout->place(), dropout->describe()),
                  "dropout belongs to training; set it to null");
    }
  }
};

class Bpe : public Model {
 public:
  Bpe(const JsonPart& part, PieceForm form)
      : place_(part.place()),
        options_(part),
        vocabulary_(Vocabulary::of_object(part.member("vocab"))),
        form_(form),
        merges_(make_merges(part.member("merges"))) {
    if (options_.unk_token.has_value()) {
      unk_id_ = vocabulary_.find(*options_.unk_token).value_or(kNoId);
    }
  }

  std::unique_ptr<Scratch> make_scratch() const override { return std::make_unique<BpeScratch>(); }
  void encode(std::string_view piece, Scratch* scratch, std::vector<int32_t>& ids) const override;

  std::optional<int32_t> token_to_id(std::string_view token) const override {
    return vocabulary_.find(token);
  }
  size_t id_limit() const override { return vocabulary_.id_limit(); }
  size_t size() const override { return vocabulary_.size(); }
  std::optional<std::string_view> id_to_token(size_t id) const override {
    return vocabulary_.token(id);
  }

 private:
  BpeMerges make_merges(const JsonPart& part);
  void index_bytes();
  int32_t find_whole(std::string_view piece, uint64_t hash) const;
  template <class Emit>
  void for_each_unit(std::string_view piece, Emit&& emit) const;
  int32_t unit_of(std::string_view character, bool is_first, bool is_last,
                  std::string& spelled) const;
  bool append_byte_tokens(std::string_view spelled, std::vector<int32_t>& tokens) const;
  int32_t unknown_id() const;
  void encode_short(std::string_view piece, uint64_t hash, BpeScratch& scratch,
                    std::vector<int32_t>& ids) const;
  void encode_long(std::string_view piece, BpeScratch& scratch, std::vector<int32_t>& ids) const;

  std::string place_;
  BpeOptions options_;
  Vocabulary vocabulary_;
  PieceForm form_;
  StringTable by_bytes_;                    // where pieces are bytes: tokens as such
  std::array<int32_t, 256> units_{};        // of a byte, or of an ASCII character
  std::array<int32_t, 256> byte_tokens_{};  // "<0x00>" to "<0xFF>"
  // Whether a part of a piece becomes the same symbols as it would alone, unless one is unknown.
  bool symbols_follow_text_ = true;
  int32_t unk_id_ = kNoId;
  BpeMerges merges_;
};

// The three tokens of a rule, found; "a b" in older files, ["a", "b"] in newer.
class RuleReader {
 public:
  RuleReader(const Vocabulary& vocabulary, size_t prefix_bytes, const JsonPart& part)
      : vocabulary_(vocabulary), prefix_bytes_(prefix_bytes), part_(part) {}

  BpeMerges::Rule read(simdjson::dom::element element, size_t rank) {
    std::string_view left;
    std::string_view right;
    split(element, rank, left, right);
    if (right.size() < prefix_bytes_) fail(rank, "a token with the continuing prefix", right);
    both_.assign(left).append(right.substr(prefix_bytes_));
    return {id_of(left, rank), id_of(right, rank), id_of(both_, rank)};
  }

 private:
  [[noreturn]] void fail(size_t rank, std::string_view expected, std::string_view found) const {
    part_.elements()[rank].fail(expected, quote_text(found));
  }
  void split(simdjson::dom::element element, size_t rank, std::string_view& left,
             std::string_view& right) const {
    std::string_view text;
    if (element.get_string().get(text) == simdjson::SUCCESS) {
      const size_t space = text.find(' ');
      if (space == text.npos || text.find(' ', space + 1) != text.npos) {
        fail(rank, "two tokens with a space between them", text);
      }
      left = text.substr(0, space);
      right = text.substr(space + 1);
      return;
    }
    simdjson::dom::array pair;
    size_t n = 0;
    if (element.get_array().get(pair) == simdjson::SUCCESS) {
      for (const simdjson::dom::element token : pair) {
        if (token.get_string().get(n == 0 ? left : right) != simdjson::SUCCESS) n = 2;
        ++n;
      }
    }
    if (n != 2) part_.elements()[rank].fail("two tokens", part_.elements()[rank].describe());
  }
  int32_t id_of(std::string_view token, size_t rank) const {
    const std::optional<int32_t> id = vocabulary_.find(token);
    if (!id.has_value()) fail(rank, "a merge of and to tokens of the vocabulary", token);
    return *id;
  }

  const Vocabulary& vocabulary_;
  size_t prefix_bytes_;
  const JsonPart& part_;
  std::string both_;
};

BpeMerges Bpe::make_merges(const JsonPart& part) {
  RuleReader reader(vocabulary_, options_.prefix.size(), part);
  std::vector<BpeMerges::Rule> rules;
  const simdjson::dom::array merges = part.as_array();
  rules.reserve(merges.size());
  for (const simdjson::dom::element element : merges) {
    rules.push_back(reader.read(element, rules.size()));
  }
  units_.fill(kNoId);
  for (size_t byte = 0; byte < byte_tokens_.size(); ++byte) {
    byte_tokens_[byte] = vocabulary_.find(fmt::format("<0x{:02X}>", byte)).value_or(kNoId);
  }
  const bool all_bytes = std::ranges::find(byte_tokens_, kNoId) == byte_tokens_.end();
  symbols_follow_text_ =
      options_.prefix.empty() && options_.suffix.empty() && (all_bytes || !options_.byte_fallback);
  index_bytes();
  // What text can begin as: single characters, with what is put around them, byte tokens, unknown.
  std::vector<int32_t> units;
  const StringTable& table = vocabulary_.table();
  for (size_t i = 0; i < table.size(); ++i) {
    std::string_view token = table.string(i);
    const bool marked = !options_.prefix.empty() || !options_.suffix.empty();
    if (marked || count_code_points(token) == 1) {
      units.push_back(static_cast<int32_t>(table.value(i)));
    }
  }
  for (const int32_t token : byte_tokens_) {
    if (token != kNoId && options_.byte_fallback) units.push_back(token);
  }
  if (options_.unk_token.has_value()) {
    if (const auto unk = vocabulary_.find(*options_.unk_token)) units.push_back(*unk);
  }
  return {rules, units};
}

void Bpe::index_bytes() {
  const StringTable& table = vocabulary_.table();
  std::string bytes;
  if (form_ == PieceForm::kBytes) by_bytes_.reserve(table.size(), 8 * table.size());
  for (size_t i = 0; i < table.size(); ++i) {
    const std::string_view token = table.string(i);
    const auto id = static_cast<int32_t>(table.value(i));
    if (form_ == PieceForm::kText) {
      if (token.size() == 1) units_[static_cast<unsigned char>(token[0])] = id;
      continue;
    }
    bytes.clear();
    if (!append_bytes_of_alphabet(bytes, token) || bytes.empty()) continue;
    by_bytes_.set(bytes, table.value(i));
    if (bytes.size() == 1) units_[static_cast<unsigned char>(bytes[0])] = id;
  }
}

void Bpe::encode(std::string_view piece, Scratch* scratch, std::vector<int32_t>& ids) const {
  auto& mine = static_cast<BpeScratch&>(*scratch);
  if (piece.size() <= WordCache::kMaxBytes) {
    const uint64_t hash = hash_bytes(piece);
    if (mine.cache.append(piece, hash, ids)) return;
    encode_short(piece, hash, mine, ids);
    return;
  }
  if (options_.ignore_merges) {
    if (const int32_t id = find_whole(piece, hash_bytes(piece)); id != kNoId) {
      ids.push_back(id);
      return;
    }
  }
  encode_long(piece, mine, ids);
}

int32_t Bpe::find_whole(std::string_view piece, uint64_t hash) const {
  const StringTable& table = form_ == PieceForm::kBytes ? by_bytes_ : vocabulary_.table();
  const uint32_t* id = table.find(piece, hash);
  return id == nullptr ? kNoId : static_cast<int32_t>(*id);
}

void Bpe::encode_short(std::string_view piece, uint64_t hash, BpeScratch& scratch,
                       std::vector<int32_t>& ids) const {
  std::vector<int32_t>& symbols = scratch.symbols;
  symbols.clear();
  const int32_t whole = options_.ignore_merges ? find_whole(piece, hash) : kNoId;
  if (whole != kNoId) {
    symbols.push_back(whole);
  } else {
    for_each_unit(piece, [&](int32_t id, size_t) { symbols.push_back(id); });
    merges_.apply(symbols, scratch.merging);
  }
  scratch.cache.set(piece, hash, symbols.data(), symbols.size());
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

// Cut where no merge can reach across, so that a text of one piece is still words to the cache.
void Bpe::encode_long(std::string_view piece, BpeScratch& scratch,
                      std::vector<int32_t>& ids) const {
  std::vector<int32_t>& symbols = scratch.symbols;
  symbols.clear();
  const bool plain = symbols_follow_text_ && !options_.ignore_merges;
  size_t begin = 0;  // of the symbols' text
  bool known = plain;
  int32_t last = kNoId;
  const auto flush = [&](size_t end) {
    const std::string_view word = piece.substr(begin, end - begin);
    const bool cached = known && !word.empty() && word.size() <= WordCache::kMaxBytes;
    const uint64_t hash = cached ? hash_bytes(word) : 0;
    if (!cached || !scratch.cache.append(word, hash, ids)) {
      merges_.apply(symbols, scratch.merging);
      ids.insert(ids.end(), symbols.begin(), symbols.end());
      if (cached) scratch.cache.set(word, hash, symbols.data(), symbols.size());
    }
    symbols.clear();
    begin = end;
    known = plain;
  };
  size_t end = 0;
  for_each_unit(piece, [&](int32_t id, size_t unit_end) {
    if (last != kNoId && !merges_.may_join(last, id)) flush(end);
    symbols.push_back(id);
    last = id;
    end = unit_end;
    if (id == unk_id_) known = false;
  });
  if (!symbols.empty()) flush(end);
}

// Calls `emit(id, end of its text)`. An unknown character waits for the next known one or the end,
// so that several can become one; byte tokens overtake it, as in the reference.
template <class Emit>
void Bpe::for_each_unit(std::string_view piece, Emit&& emit) const {
  if (form_ == PieceForm::kBytes && !options_.unk_token.has_value()) {
    for (size_t at = 0; at < piece.size(); ++at) {
      const int32_t id = units_[static_cast<unsigned char>(piece[at])];
      if (id != kNoId) emit(id, at + 1);
    }
    return;
  }
  std::string spelled;
  std::vector<int32_t> bytes;
  bool pending = false;
  for (size_t at = 0; at < piece.size();) {
    const size_t length = form_ == PieceForm::kBytes ? 1 : utf8_length(piece[at]);
    const std::string_view character = piece.substr(at, length);
    const int32_t id = unit_of(character, at == 0, at + length == piece.size(), spelled);
    at += length;
    if (id != kNoId) {
      if (pending) emit(unk_id_, at - length);
      pending = false;
      emit(id, at);
      continue;
    }
    bytes.clear();
    if (append_byte_tokens(spelled, bytes)) {
      for (size_t i = 0; i < bytes.size(); ++i) {
        emit(bytes[i], std::min(at, at - length + i + 1));
      }
      continue;
    }
    if (!options_.unk_token.has_value()) continue;
    const int32_t unknown = unknown_id();
    if (pending && !options_.fuse_unk) emit(unknown, at - length);
    pending = true;
  }
  if (pending) emit(unk_id_, piece.size());
}

// The symbol of a character in its place in the word; where there is none, `spelled` is what was
// looked for.
int32_t Bpe::unit_of(std::string_view character, bool is_first, bool is_last,
                     std::string& spelled) const {
  const bool plain = options_.prefix.empty() && options_.suffix.empty();
  const auto lead = static_cast<unsigned char>(character[0]);
  if (plain && (lead < 0x80 || form_ == PieceForm::kBytes) && units_[lead] != kNoId) {
    return units_[lead];
  }
  spelled.clear();
  if (!is_first) spelled += options_.prefix;
  spelled += character;
  if (is_last) spelled += options_.suffix;
  if (form_ == PieceForm::kBytes) return kNoId;
  return vocabulary_.find(spelled).value_or(kNoId);
}

bool Bpe::append_byte_tokens(std::string_view spelled, std::vector<int32_t>& tokens) const {
  if (!options_.byte_fallback) return false;
  for (const char c : spelled) {
    const int32_t token = byte_tokens_[static_cast<unsigned char>(c)];
    if (token == kNoId) return false;
    tokens.push_back(token);
  }
  return true;
}

int32_t Bpe::unknown_id() const {
  if (unk_id_ != kNoId) return unk_id_;
  throw Error(ErrorCode::kFailedPrecondition,
              fmt::format("{}: unk_token {} is needed, and is not in the vocabulary", place_,
                          quote_text(*options_.unk_token)));
}

}  // namespace

std::unique_ptr<Model> make_bpe(const JsonPart& part, PieceForm form) {
  return std::make_unique<Bpe>(part, form);
}

bool model_takes_bytes(const JsonPart& part) {
  if (part.string_or("type", "BPE") != "BPE" || !part.optional("merges").has_value()) return false;
  return part.string_or("continuing_subword_prefix", "").empty() &&
         part.string_or("end_of_word_suffix", "").empty() && !part.bool_or("byte_fallback", false);
}

}  // namespace lockstep::text
