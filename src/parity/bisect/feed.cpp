#include "parity/bisect/feed.h"

#include <fmt/format.h>

#include <algorithm>

namespace lockstep::parity {
namespace {

int64_t rows_of(const FeedStep& step) {
  int64_t rows = step.end - step.begin;
  for (const OtherPart& part : step.before) rows += part.end - part.begin;
  for (const OtherPart& part : step.after) rows += part.end - part.begin;
  return rows;
}

// How the others go along: the next `n` tokens of text `who`, none when it is over.
class Others {
 public:
  explicit Others(const std::vector<std::vector<int32_t>>& texts)
      : texts_(texts), done_(texts.size(), 0) {}

  void add(std::vector<OtherPart>& to, size_t who, int64_t n) {
    if (who >= texts_.size()) return;
    const int64_t begin = done_[who];
    const int64_t end = std::min(begin + n, static_cast<int64_t>(texts_[who].size()));
    if (begin == end) return;
    to.push_back({who, begin, end});
    done_[who] = end;
  }

 private:
  const std::vector<std::vector<int32_t>>& texts_;
  std::vector<int64_t> done_;
};

}  // namespace

Feed feed_at_once(int64_t n_tokens) { return {"at once", {{0, n_tokens, {}, {}}}, {}}; }

Feed feed_by_token(int64_t n_prompt, int64_t n_tokens) {
  Feed feed{"token by token", {{0, n_prompt, {}, {}}}, {}};
  for (int64_t i = n_prompt; i < n_tokens; ++i) feed.steps.push_back({i, i + 1, {}, {}});
  return feed;
}

Feed feed_in_chunks(int64_t n_tokens, int64_t chunk) {
  Feed feed{fmt::format("chunks of {}", chunk), {}, {}};
  for (int64_t i = 0; i < n_tokens; i += chunk) {
    feed.steps.push_back({i, std::min(i + chunk, n_tokens), {}, {}});
  }
  return feed;
}

Feed feed_with_others(int64_t n_prompt, int64_t n_tokens,
                      std::vector<std::vector<int32_t>> texts) {
  Feed feed = feed_by_token(n_prompt, n_tokens);
  feed.name = "with others";
  feed.others = std::move(texts);
  Others others(feed.others);
  for (size_t i = 0; i < feed.steps.size(); ++i) {
    FeedStep& step = feed.steps[i];
    others.add(step.before, 0, i == 0 ? 5 : 1);
    if (i >= 2) others.add(step.before, 1, i == 2 ? 7 : 1);
    others.add(step.after, 2, i % 3 == 0 ? 3 : 1);
    if (i < 2) others.add(step.after, 3, 4);
  }
  return feed;
}

int64_t most_rows(const Feed& feed) {
  int64_t most = 0;
  for (const FeedStep& step : feed.steps) most = std::max(most, rows_of(step));
  return most;
}

int64_t most_sequences(const Feed& feed) { return 1 + static_cast<int64_t>(feed.others.size()); }

TextLogits run_feed(Pipeline& pipeline, std::span<const int32_t> ids, const Feed& feed,
                    const BeforeStep& before) {
  Sequence own;
  std::vector<Sequence> others(feed.others.size());
  TextLogits logits;
  std::vector<Segment> segments;
  const auto add = [&](const OtherPart& part) {
    const std::span<const int32_t> text(feed.others[part.text]);
    segments.push_back({&others[part.text],
                        text.subspan(static_cast<size_t>(part.begin),
                                     static_cast<size_t>(part.end - part.begin)),
                        LogitRows::kNone});
  };
  for (const FeedStep& step : feed.steps) {
    segments.clear();
    for (const OtherPart& part : step.before) add(part);
    if (before) before(step, segments.size());
    segments.push_back({&own,
                        ids.subspan(static_cast<size_t>(step.begin),
                                    static_cast<size_t>(step.end - step.begin)),
                        LogitRows::kAll});
    for (const OtherPart& part : step.after) add(part);
    const View rows = pipeline.step(segments);
    const int64_t vocab = rows.dim(-1);
    for (int64_t r = 0; r < step.end - step.begin; ++r) {
      std::vector<float>& row = logits.emplace_back(static_cast<size_t>(vocab));
      for (int64_t i = 0; i < vocab; ++i) {
        row[static_cast<size_t>(i)] =
            static_cast<float>(load_element(rows.data, rows.dtype, r * vocab + i));
      }
    }
  }
  pipeline.release(own);
  for (Sequence& sequence : others) pipeline.release(sequence);
  return logits;
}

}  // namespace lockstep::parity
