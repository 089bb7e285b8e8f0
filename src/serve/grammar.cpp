#include "serve/grammar.h"

#include <algorithm>

namespace lockstep::serve {
namespace {

using Kind = GrammarNode::Kind;

// Inside a string.
enum StringState : uint32_t {
  kPlain,
  kEscape,     // after a backslash
  kHex1,       // after \u
  kHex2,       // one digit read
  kHex2After,  // one digit read, which was d: the next is below 8, or it were half a pair
  kHex3,
  kHex4,
  kTail1,  // one more byte of the character
  kTail2,
  kTail3,
  kTail2AfterE0,  // the next is at least a0
  kTail2AfterEd,  // at most 9f
  kTail3AfterF0,  // at least 90
  kTail3AfterF4,  // at most 8f
};

// Inside a number: what was read last.
enum NumberState : uint32_t { kMinus, kZero, kDigits, kPoint, kFraction, kE, kESign, kExponent };

// Longer numbers would not come back from a parser as they were.
constexpr uint32_t kMaxDigits = 15, kMaxExponentDigits = 2;

// Inside an object; the upper bits are the next property.
enum ObjectState : uint32_t { kOpen, kAfterMember, kNeedKey, kNeedKeyNow, kColon, kRestColon };
constexpr uint32_t kStateBits = 3;

enum ArrayState : uint32_t { kArrayOpen, kAfterItem };

bool is_digit(unsigned char byte) { return byte >= '0' && byte <= '9'; }

bool is_hex(unsigned char byte) {
  return is_digit(byte) || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
}

// The state after the first byte of a character beyond ASCII; nothing for no such byte.
std::optional<uint32_t> lead_state(unsigned char byte) {
  if (byte >= 0xc2 && byte <= 0xdf) return kTail1;
  if (byte == 0xe0) return kTail2AfterE0;
  if (byte == 0xed) return kTail2AfterEd;
  if (byte >= 0xe1 && byte <= 0xef) return kTail2;
  if (byte == 0xf0) return kTail3AfterF0;
  if (byte == 0xf4) return kTail3AfterF4;
  if (byte >= 0xf1 && byte <= 0xf3) return kTail3;
  return std::nullopt;
}

std::optional<uint32_t> tail_state(uint32_t state, unsigned char byte) {
  if (byte < 0x80 || byte > 0xbf) return std::nullopt;
  switch (state) {
    case kTail1:
      return kPlain;
    case kTail2AfterE0:
      return byte >= 0xa0 ? std::optional<uint32_t>(kTail1) : std::nullopt;
    case kTail2AfterEd:
      return byte <= 0x9f ? std::optional<uint32_t>(kTail1) : std::nullopt;
    case kTail2:
      return kTail1;
    case kTail3AfterF0:
      return byte >= 0x90 ? std::optional<uint32_t>(kTail2) : std::nullopt;
    case kTail3AfterF4:
      return byte <= 0x8f ? std::optional<uint32_t>(kTail2) : std::nullopt;
    default:
      return kTail2;
  }
}

// The state after a byte of an escape.
std::optional<uint32_t> escape_state(uint32_t state, unsigned char byte) {
  if (state == kEscape) {
    if (byte == 'u') return kHex1;
    return std::string_view("\"\\/bfnrt").find(static_cast<char>(byte)) != std::string_view::npos
               ? std::optional<uint32_t>(kPlain)
               : std::nullopt;
  }
  if (!is_hex(byte)) return std::nullopt;
  if (state == kHex1) return byte == 'd' || byte == 'D' ? kHex2After : kHex2;
  if (state == kHex2After) return byte <= '7' ? std::optional<uint32_t>(kHex3) : std::nullopt;
  if (state == kHex2) return kHex3;
  return state == kHex3 ? kHex4 : kPlain;
}

// The state of a string after the first `n` bytes of `text`, valid UTF-8.
uint32_t utf8_state(std::string_view text, size_t n) {
  uint32_t state = kPlain;
  for (const char c : text.substr(0, n)) {
    const auto byte = static_cast<unsigned char>(c);
    state = byte < 0x80    ? kPlain
            : byte >= 0xc0 ? lead_state(byte).value_or(kPlain)
                           : tail_state(state, byte).value_or(kPlain);
  }
  return state;
}

// Without bounds members need not be counted, and then an object's places are few.
bool counts_members(const GrammarNode& node) {
  return node.min > 0 || node.max != GrammarNode::kNoMaximum;
}

uint32_t n_required(const GrammarNode& node, uint32_t next) {
  uint32_t n = 0;
  for (size_t i = next; i < node.properties.size(); ++i) n += node.properties[i].required ? 1 : 0;
  return n;
}

bool can_close(const GrammarNode& node, uint32_t next, uint32_t count) {
  return count >= node.min && n_required(node, next) == 0;
}

bool has_rest(const GrammarNode& node, uint32_t count) {
  return node.rest != GrammarNode::kNone && count < node.max;
}

// Calls `visit` with every property from `next` on that may come after `count` members: up to the
// first that is required, with room for what is required after it, and enough of them left to
// reach the least. Returns where it ended: the number of properties, or the required one.
template <class Visit>
uint32_t for_each_member(const GrammarNode& node, uint32_t next, uint32_t count, Visit visit) {
  const auto n = static_cast<uint32_t>(node.properties.size());
  const bool counts = counts_members(node);
  uint32_t required = counts ? n_required(node, next) : 0;
  for (uint32_t i = next; i < n; ++i) {
    const bool is_required = node.properties[i].required;
    const uint32_t after = required - (counts && is_required ? 1 : 0);
    const bool fits = !counts || count + 1 + after <= node.max;
    const bool reaches = !counts || node.rest != GrammarNode::kNone || count + (n - i) >= node.min;
    if (fits && reaches) visit(i);
    required = after;
    if (is_required) return i;
  }
  return n;
}

bool has_member(const GrammarNode& node, uint32_t next, uint32_t count) {
  bool any = false;
  const uint32_t end = for_each_member(node, next, count, [&](uint32_t) { any = true; });
  return any || (end == node.properties.size() && has_rest(node, count));
}

}  // namespace

size_t StackSet::FrameHash::operator()(const Frame& frame) const noexcept {
  uint64_t hash = frame.node;
  for (const uint64_t part :
       {uint64_t{frame.state}, uint64_t{frame.count}, uint64_t{frame.below}}) {
    hash = (hash ^ part) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
  }
  return hash;
}

StackSet::StackSet(const Grammar& grammar) : grammar_(grammar) {
  frames_.push_back({GrammarNode::kNone, 0, 0, 0, 0});
  start_ = push(grammar.root, kStart, 0, 0);
}

StackId StackSet::push(NodeId node, uint32_t state, uint32_t count, StackId below) {
  const Frame frame{node, state, count, below, frames_[below].depth + 1};
  const auto [place, is_new] = ids_.emplace(frame, static_cast<StackId>(frames_.size()));
  if (is_new) frames_.push_back(frame);
  return place->second;
}

void StackSet::advance(StackId stack, unsigned char byte, std::vector<StackId>& out) {
  if (stack == 0 || is_full()) return;
  const Frame frame = frames_[stack];
  if (frame.state == kStart || frame.state == kStartSpace) {
    if (frame.state == kStartSpace && byte == ' ') {
      out.push_back(push(frame.node, kStart, 0, frame.below));
    } else {
      begin(frame.node, frame.below, byte, out);
    }
    return;
  }
  switch (grammar_.nodes[frame.node].kind) {
    case Kind::kLiteral:
      return in_literal(frame, byte, out);
    case Kind::kString:
      return in_string(frame, byte, out);
    case Kind::kNumber:
      return in_number(frame, byte, out);
    case Kind::kAutomaton:
      return in_automaton(frame, byte, out);
    case Kind::kObject:
      return in_object(frame, byte, out);
    case Kind::kArray:
      return in_array(frame, byte, out);
    case Kind::kKey:
      return in_key(frame, byte, out);
    case Kind::kAlternatives:
      return;
  }
}

bool StackSet::is_complete(StackId stack) const {
  if (stack == 0) return true;
  const Frame& frame = frames_[stack];
  if (frame.below != 0 || frame.state == kStart || frame.state == kStartSpace) return false;
  const GrammarNode& node = grammar_.nodes[frame.node];
  if (node.kind == Kind::kAutomaton) return node.automaton->states[frame.state].accepts;
  if (node.kind != Kind::kNumber) return false;
  return frame.state == kZero || frame.state == kDigits || frame.state == kFraction ||
         frame.state == kExponent;
}

std::optional<StackSet::Inside> StackSet::inside_string(StackId stack) const {
  const Frame& frame = frames_[stack];
  if (stack == 0 || frame.state != kPlain) return std::nullopt;
  const GrammarNode& node = grammar_.nodes[frame.node];
  if (node.kind != Kind::kString) return std::nullopt;
  return Inside{frame.below, frame.count, node.min, node.max};
}

void StackSet::begin(NodeId node, StackId below, unsigned char byte, std::vector<StackId>& out) {
  if (grammar_.nodes[node].kind != Kind::kAlternatives) return begin_one(node, below, byte, out);
  for (const NodeId item : grammar_.nodes[node].items) begin_one(item, below, byte, out);
}

void StackSet::begin_one(NodeId id, StackId below, unsigned char byte, std::vector<StackId>& out) {
  const GrammarNode& node = grammar_.nodes[id];
  const bool has_room = frames_[below].depth + 2 < kMaxDepth;
  switch (node.kind) {
    case Kind::kLiteral:
      in_literal({id, 0, 0, below, 0}, byte, out);
      break;
    case Kind::kString:
      if (byte == '"') out.push_back(push(id, kPlain, 0, below));
      break;
    case Kind::kNumber:
      if (byte == '-') out.push_back(push(id, kMinus, 0, below));
      if (byte == '0') out.push_back(push(id, kZero, 1, below));
      if (byte >= '1' && byte <= '9') out.push_back(push(id, kDigits, 1, below));
      break;
    case Kind::kAutomaton:
      in_automaton({id, 0, 0, below, 0}, byte, out);
      break;
    case Kind::kObject:
      if (byte == '{' && has_room) out.push_back(push(id, kOpen, 0, below));
      break;
    case Kind::kArray:
      if (byte == '[' && has_room) out.push_back(push(id, kArrayOpen, 0, below));
      break;
    case Kind::kAlternatives:
    case Kind::kKey:
      break;
  }
}

void StackSet::in_literal(const Frame& frame, unsigned char byte, std::vector<StackId>& out) {
  const std::string& text = grammar_.nodes[frame.node].text;
  if (static_cast<unsigned char>(text[frame.state]) != byte) return;
  out.push_back(frame.state + 1 == text.size() ? frame.below
                                               : push(frame.node, frame.state + 1, 0, frame.below));
}

void StackSet::in_string(const Frame& frame, unsigned char byte, std::vector<StackId>& out) {
  const GrammarNode& node = grammar_.nodes[frame.node];
  // A string without bounds need not count, and then its places are few.
  const bool counts = node.min > 0 || node.max != GrammarNode::kNoMaximum;
  const auto go = [&](uint32_t state, uint32_t count) {
    out.push_back(push(frame.node, state, counts ? count : 0, frame.below));
  };
  if (frame.state >= kTail1) {
    if (const auto next = tail_state(frame.state, byte)) go(*next, frame.count);
    return;
  }
  if (frame.state != kPlain) {
    if (const auto next = escape_state(frame.state, byte)) go(*next, frame.count);
    return;
  }
  if (byte == '"') {
    if (frame.count >= node.min) out.push_back(frame.below);
    return;
  }
  if (byte < 0x20 || frame.count >= node.max) return;
  if (byte == '\\') {
    go(kEscape, frame.count + 1);
  } else if (byte < 0x80) {
    go(kPlain, frame.count + 1);
  } else if (const auto next = lead_state(byte)) {
    go(*next, frame.count + 1);
  }
}

void StackSet::in_number(const Frame& frame, unsigned char byte, std::vector<StackId>& out) {
  const bool integer = grammar_.nodes[frame.node].integer;
  const auto go = [&](uint32_t state, uint32_t count) {
    out.push_back(push(frame.node, state, count, frame.below));
  };
  const uint32_t state = frame.state, count = frame.count;
  if (is_digit(byte)) {
    const uint32_t most = state == kExponent ? kMaxExponentDigits : kMaxDigits;
    if (state == kMinus) return go(byte == '0' ? kZero : kDigits, 1);
    if (state == kZero) return;
    if (state == kPoint) return go(kFraction, count + 1);
    if (state == kE || state == kESign) return go(kExponent, 1);
    if (count < most) go(state, count + 1);
    return;
  }
  const bool is_whole = state == kZero || state == kDigits;
  if (!integer && byte == '.' && is_whole && count < kMaxDigits) return go(kPoint, count);
  if (!integer && (byte == 'e' || byte == 'E') && (is_whole || state == kFraction)) {
    return go(kE, 0);
  }
  if ((byte == '+' || byte == '-') && state == kE) return go(kESign, 0);
  // Anything else comes after the number.
  if (is_whole || state == kFraction || state == kExponent) advance(frame.below, byte, out);
}

void StackSet::in_automaton(const Frame& frame, unsigned char byte, std::vector<StackId>& out) {
  const Automaton& automaton = *grammar_.nodes[frame.node].automaton;
  if (const auto next = automaton.next(frame.state, byte)) {
    const Automaton::State& state = automaton.states[*next];
    out.push_back(state.accepts && state.n_edges == 0 ? frame.below
                                                      : push(frame.node, *next, 0, frame.below));
  } else if (automaton.states[frame.state].accepts) {
    advance(frame.below, byte, out);
  }
}

// After the quote of a name: any member up to the first that is required.
void StackSet::begin_member(const Frame& frame, std::vector<StackId>& out) {
  const GrammarNode& node = grammar_.nodes[frame.node];
  const uint32_t n = for_each_member(node, frame.state >> kStateBits, frame.count, [&](uint32_t i) {
    const StackId object =
        push(frame.node, (i + 1) << kStateBits | kColon, frame.count, frame.below);
    out.push_back(push(node.properties[i].key_node, 1, 0, object));
  });
  if (n == node.properties.size() && has_rest(node, frame.count)) begin_rest(frame, out);
}

void StackSet::begin_rest(const Frame& frame, std::vector<StackId>& out) {
  const GrammarNode& node = grammar_.nodes[frame.node];
  const auto n = static_cast<uint32_t>(node.properties.size());
  const StackId object = push(frame.node, n << kStateBits | kRestColon, frame.count, frame.below);
  // Both kinds of names begin in state 0: kPlain, or the first taken name.
  out.push_back(push(node.rest_key, 0, 0, object));
}

void StackSet::in_object(const Frame& frame, unsigned char byte, std::vector<StackId>& out) {
  const GrammarNode& node = grammar_.nodes[frame.node];
  const uint32_t next = frame.state >> kStateBits;
  switch (frame.state & ((1u << kStateBits) - 1)) {
    case kOpen:
    case kAfterMember:
      if (byte == '}' && can_close(node, next, frame.count)) out.push_back(frame.below);
      if ((frame.state & ((1u << kStateBits) - 1)) == kOpen) {
        if (byte == '"') begin_member(frame, out);
      } else if (byte == ',' && has_member(node, next, frame.count)) {
        out.push_back(push(frame.node, next << kStateBits | kNeedKey, frame.count, frame.below));
      }
      break;
    case kNeedKey:
      if (byte == ' ') {
        out.push_back(push(frame.node, next << kStateBits | kNeedKeyNow, frame.count, frame.below));
      }
      [[fallthrough]];
    case kNeedKeyNow:
      if (byte == '"') begin_member(frame, out);
      break;
    case kColon:
    case kRestColon: {
      if (byte != ':') break;
      const bool is_rest = (frame.state & ((1u << kStateBits) - 1)) == kRestColon;
      const uint32_t count = counts_members(node) ? frame.count + 1 : 0;
      const StackId object =
          push(frame.node, next << kStateBits | kAfterMember, count, frame.below);
      out.push_back(
          push(is_rest ? node.rest : node.properties[next - 1].value, kStartSpace, 0, object));
      break;
    }
    default:
      break;
  }
}

void StackSet::in_array(const Frame& frame, unsigned char byte, std::vector<StackId>& out) {
  const GrammarNode& node = grammar_.nodes[frame.node];
  // Beyond what bounds and places tell apart all counts are one.
  const auto most = static_cast<uint32_t>(std::max<size_t>(
      {node.items.size(), node.min, node.max == GrammarNode::kNoMaximum ? 0 : node.max}));
  const NodeId item = frame.count < node.items.size() ? node.items[frame.count] : node.rest;
  const bool has_more = frame.count < node.max && item != GrammarNode::kNone;
  if (byte == ']') {
    if (frame.count >= node.min) out.push_back(frame.below);
    return;
  }
  if (!has_more) return;
  const StackId array = push(frame.node, kAfterItem, std::min(frame.count + 1, most), frame.below);
  if (frame.state == kArrayOpen) {
    begin(item, array, byte, out);
  } else if (byte == ',') {
    out.push_back(push(item, kStartSpace, 0, array));
  }
}

// A name without escapes, as long as a taken name begins so; `count` is the number of its bytes,
// `state` the first such name. From where it differs on it is any string.
void StackSet::in_key(const Frame& frame, unsigned char byte, std::vector<StackId>& out) {
  if (byte == '\\') return;  // an escape could spell a taken name
  const GrammarNode& node = grammar_.nodes[frame.node];
  const std::vector<std::string>& taken = node.taken;
  const uint32_t read = frame.count, first = frame.state;
  const auto fits = [&](size_t i) {
    return i < taken.size() && taken[i].size() > read &&
           taken[i].compare(0, read, taken[first], 0, read) == 0;
  };
  size_t i = first;
  while (fits(i) && static_cast<unsigned char>(taken[i][read]) < byte) ++i;
  if (!fits(i) || static_cast<unsigned char>(taken[i][read]) != byte) {
    in_string({node.rest, utf8_state(taken[first], read), 0, frame.below, 0}, byte, out);
    return;
  }
  if (byte == '"' && read + 1 == taken[i].size()) return;  // it is taken
  out.push_back(push(frame.node, static_cast<uint32_t>(i), read + 1, frame.below));
}

}  // namespace lockstep::serve
