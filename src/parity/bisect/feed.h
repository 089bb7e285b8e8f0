// The ways to feed one text to a pipeline that must all give the same logits: at once, token by
// token, in chunks, in one batch with others.
//
//   at once       | p p p p p g g g |
//   by token      | p p p p p | g | g | g |
//   in chunks     | p p p | p p g | g g |
//   with others   | a p p p p p b b | a g b | g b | a a g |
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "runtime/pipeline.h"

namespace lockstep::parity {

/// Tokens [begin, end) of another text, in the same step.
struct OtherPart {
  size_t text = 0;
  int64_t begin = 0, end = 0;
};

/// Tokens [begin, end) of the text, and who stands before and after them in the step.
struct FeedStep {
  int64_t begin = 0, end = 0;
  std::vector<OtherPart> before, after;
};

struct Feed {
  std::string name;  // "chunks of 3"
  std::vector<FeedStep> steps;
  std::vector<std::vector<int32_t>> others;
};

Feed feed_at_once(int64_t n_tokens);
/// The first `n_prompt` tokens at once, then one by one.
Feed feed_by_token(int64_t n_prompt, int64_t n_tokens);
Feed feed_in_chunks(int64_t n_tokens, int64_t chunk);
/// As feed_by_token, in steps shared with `others`: one is there from the start, one joins while
/// the text is generated, one is fed in chunks beside it, one leaves early.
Feed feed_with_others(int64_t n_prompt, int64_t n_tokens, std::vector<std::vector<int32_t>> others);

/// Rows that the largest step of any feed of such a text has, and sequences.
int64_t most_rows(const Feed& feed);
int64_t most_sequences(const Feed& feed);

/// Logits of every token of a text, widened: [tokens][vocab].
using TextLogits = std::vector<std::vector<float>>;

/// Called before each step with the number of the text's segment in it.
using BeforeStep = std::function<void(const FeedStep&, size_t segment)>;

/// Feeds `ids` as `feed` says and releases every sequence. Throws as Pipeline::step.
TextLogits run_feed(Pipeline& pipeline, std::span<const int32_t> ids, const Feed& feed,
                    const BeforeStep& before = {});

}  // namespace lockstep::parity
