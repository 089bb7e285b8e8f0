// What an answer may look like, byte by byte: a JSON value of a schema, or one of some texts.
//
// A grammar is a graph of nodes; a text that began is a set of stacks of frames, each a node that
// is under way. Equal stacks have equal numbers (StackSet), so that work done once for a stack is
// found again. Between tokens of JSON stands nothing but one optional space after ':' and ','.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "serve/automaton.h"

namespace lockstep::serve {

using NodeId = uint32_t;

struct GrammarNode {
  enum class Kind : uint8_t {
    kLiteral,       // `text`
    kString,        // a JSON string of min to max characters
    kNumber,        // a JSON number; `integer`: without fraction and exponent
    kAutomaton,     // what `automaton` takes
    kObject,        // min to max members in the order of `properties`, then others of `rest`
    kArray,         // min to max values: those of `items`, then `rest`
    kAlternatives,  // one of `items`, none of them alternatives
    kKey,           // internal: the name of a member that may not be one of `taken`
  };
  static constexpr NodeId kNone = UINT32_MAX;
  static constexpr uint32_t kNoMaximum = UINT32_MAX;

  struct Property {
    std::string key;  // as JSON, with quotes
    NodeId key_node = kNone, value = kNone;
    bool required = false;
  };
  Kind kind = Kind::kLiteral;
  std::string text;
  bool integer = false;
  uint32_t min = 0, max = kNoMaximum;
  std::shared_ptr<const Automaton> automaton;
  std::vector<Property> properties;
  std::vector<NodeId> items;
  /// Of further members or values; kNone: there are none. Of a kKey: the string that it is once no
  /// taken name begins as it does.
  NodeId rest = kNone;
  NodeId rest_key = kNone;  // the name of a further member: kKey or kString
  /// Of a kKey: names it may not be, with closing quotes; sorted.
  std::vector<std::string> taken;
};

struct Grammar {
  std::vector<GrammarNode> nodes;
  NodeId root = 0;
};

/// A stack: 0 is the empty one, where the text is complete.
using StackId = uint32_t;

/// The stacks of one text. Bounded: beyond the limits nothing more is accepted.
class StackSet {
 public:
  static constexpr size_t kMaxStacks = 100'000, kMaxThreads = 2048, kMaxDepth = 64;

  explicit StackSet(const Grammar& grammar);

  /// Where a text begins.
  StackId start() const { return start_; }
  /// Appends the stacks that `stack` can be after `byte`; none where it cannot follow.
  void advance(StackId stack, unsigned char byte, std::vector<StackId>& out);
  /// Whether the text may end here.
  bool is_complete(StackId stack) const;
  bool is_full() const { return frames_.size() >= kMaxStacks; }

  /// What is known of the inside of a string; nothing where `stack` is at no plain place of one.
  struct Inside {
    StackId after;          // once it is closed
    uint32_t n_characters;  // so far
    uint32_t min, max;
  };
  std::optional<Inside> inside_string(StackId stack) const;

 private:
  struct Frame {
    NodeId node;
    uint32_t state, count;
    StackId below;
    uint32_t depth;
    bool operator==(const Frame&) const = default;
  };
  struct FrameHash {
    size_t operator()(const Frame& frame) const noexcept;
  };
  static constexpr uint32_t kStart = UINT32_MAX, kStartSpace = UINT32_MAX - 1;

  StackId push(NodeId node, uint32_t state, uint32_t count, StackId below);
  void begin(NodeId node, StackId below, unsigned char byte, std::vector<StackId>& out);
  void begin_one(NodeId node, StackId below, unsigned char byte, std::vector<StackId>& out);
  void in_literal(const Frame& frame, unsigned char byte, std::vector<StackId>& out);
  void in_string(const Frame& frame, unsigned char byte, std::vector<StackId>& out);
  void in_number(const Frame& frame, unsigned char byte, std::vector<StackId>& out);
  void in_automaton(const Frame& frame, unsigned char byte, std::vector<StackId>& out);
  void in_object(const Frame& frame, unsigned char byte, std::vector<StackId>& out);
  void in_array(const Frame& frame, unsigned char byte, std::vector<StackId>& out);
  void in_key(const Frame& frame, unsigned char byte, std::vector<StackId>& out);
  void begin_member(const Frame& frame, std::vector<StackId>& out);
  void begin_rest(const Frame& frame, std::vector<StackId>& out);

  const Grammar& grammar_;
  std::vector<Frame> frames_;  // [stacks]; the first is the empty stack's
  std::unordered_map<Frame, StackId, FrameHash> ids_;
  StackId start_;
};

}  // namespace lockstep::serve
