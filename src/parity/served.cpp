#include "parity/served.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <ranges>

#include "base/text.h"
#include "lockstep/error.h"
#include "parity/served_rows.h"

namespace lockstep::parity {
namespace {

using Kind = ServedPosition::Outcome;

constexpr double kRelative = 0.05;
constexpr double kLeastNats = 1e-3;
constexpr double kDeviations =
    4;                      // of the noise, for a sound server at every one of some positions
constexpr int kOthers = 4;  // of the reference's next tokens

// Both logits of a difference are noisy.
double difference_noise(double noise) { return kDeviations * std::sqrt(2.0) * noise; }

// A token's logprob moves by its own logit's noise and by the mean of all, weighed by probability:
// the surer the token, the less.
double allowed_of_top(double logprob, double noise) {
  return std::max({kRelative * std::abs(logprob), difference_noise(noise) * (1 - std::exp(logprob)),
                   kLeastNats});
}
double allowed_of_other(double logprob, double noise) {
  return 2 * std::max({kRelative * std::abs(logprob), difference_noise(noise), kLeastNats});
}

// The server's list for one position, by id.
struct NamedTops {
  std::map<int64_t, double> logprob;
  double least = std::numeric_limits<double>::infinity();
  bool complete = true;  // every entry has an id and a logprob
};

NamedTops name_all(const client::TokenPosition& said, ServedTokens& tokens) {
  NamedTops tops;
  const auto add = [&](const client::ServerToken& token) {
    std::string why;
    const auto id = tokens.id_of(token, why);
    if (!id.has_value() || !token.logprob.has_value()) {
      tops.complete = false;
      return;
    }
    tops.logprob.emplace(*id, *token.logprob);
    tops.least = std::min(tops.least, *token.logprob);
  };
  for (const client::ServerToken& token : said.top) add(token);
  // A list in which names fell together is shorter, and says less.
  const size_t n_listed = said.top.size();
  if (tops.logprob.size() != n_listed || n_listed < 2) tops.complete = false;
  if (said.token.logprob.has_value()) add(said.token);
  return tops;
}

std::vector<int64_t> next_tokens(const ReferenceRow& row, int n) {
  std::vector<int64_t> ids(row.logits.size());
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i);
  const auto end = ids.begin() + std::min<int64_t>(n + 1, static_cast<int64_t>(ids.size()));
  std::partial_sort(ids.begin(), end, ids.end(), [&](int64_t a, int64_t b) {
    return row.logits[static_cast<size_t>(a)] > row.logits[static_cast<size_t>(b)];
  });
  return {ids.begin(), end};
}

class Comparison {
 public:
  Comparison(client::ApiClient& api, const std::string& model, const Recording& reference,
             const ServedOptions& options, ServedTokens& tokens)
      : completer_(api, model),
        options_(options),
        tokens_(tokens),
        prompts_(recorded_prompts(reference, options.dtype)),
        noise_(prompts_, options.dtype) {
    if (prompts_.empty()) {
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("{}: expected logits of a prompt, found none", reference.path.string()),
          "lockstep reference MODEL --output REF records them");
    }
    report_.url = api.target().root;
    report_.model = model;
    report_.reference = reference.path.string();
    report_.dtype = options.dtype;
    report_.noise = noise_.source();
  }

  ServedReport run() {
    ask_prompts();
    if (!options_.positions.empty()) ask_prefixes();
    decide();
    return std::move(report_);
  }

 private:
  // The recorded prompt that begins with `ids`.
  const RecordedPrompt& find(const std::vector<int64_t>& ids) const {
    for (const RecordedPrompt& prompt : prompts_) {
      if (prompt.ids().size() >= ids.size() &&
          std::ranges::equal(ids,
                             prompt.ids() | std::views::take(static_cast<int64_t>(ids.size())))) {
        return prompt;
      }
    }
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format(
            "{}: expected a recorded prompt that begins with {} ids {}, found none",
            report_.reference, ids.size(),
            fmt::join(ids.begin(),
                      ids.begin() + std::min<int64_t>(8, static_cast<int64_t>(ids.size())), ",")),
        "record the prompt (lockstep reference --prompt T), or give --python");
  }

  void ask_prompts() {
    if (options_.prompts.empty()) {
      for (const RecordedPrompt& prompt : prompts_) {
        ask("prompt", prompt, static_cast<int64_t>(prompt.ids().size()));
      }
    }
    for (const auto& ids : options_.prompts) {
      ask("prompt", find(ids), static_cast<int64_t>(ids.size()));
    }
  }

  void ask_prefixes() {
    const RecordedPrompt* longest = nullptr;
    if (!options_.long_prompt.empty()) {
      longest = &find(options_.long_prompt);
    } else {
      // Of as many of the lengths as can be had, then the longest.
      const auto worth = [&](const RecordedPrompt& prompt) {
        const auto n = std::ranges::count_if(options_.positions, [&](int64_t length) {
          return length >= prompt.first && length <= prompt.last;
        });
        return std::pair(n, prompt.ids().size());
      };
      longest = &*std::ranges::max_element(prompts_, {}, worth);
    }
    report_.run = longest->truth->info.id;
    for (const int64_t length : options_.positions) ask("prefix", *longest, length);
  }

  void ask(const char* part, const RecordedPrompt& prompt, int64_t length) {
    ServedPosition position;
    position.part = part;
    position.prompt = prompt.truth->info.prompt;
    position.length = length;
    if (report_.run.empty()) report_.run = prompt.truth->info.id;
    if (length < prompt.first || length > prompt.last) {
      position.outcome = Kind::kUnasked;
      position.reason =
          fmt::format("the reference has logits after {} to {} tokens", prompt.first, prompt.last);
    } else {
      judge(prompt, position);
    }
    report_.positions.push_back(std::move(position));
  }

  void judge(const RecordedPrompt& prompt, ServedPosition& position) {
    const ReferenceRow row = reference_row(*prompt.truth, position.length);
    const double noise = noise_.at(prompt, position.length, row);
    const std::vector<int64_t> best = next_tokens(row, kOthers);
    position.reference_token = row.top;
    position.reference_logprob = row.logprob(row.top);
    position.allowed = allowed_of_top(position.reference_logprob, noise);
    position.margin = best.size() < 2 ? 0 : row.logprob(row.top) - row.logprob(best[1]);
    client::CompletionQuery query;
    const auto& ids = prompt.ids();
    query.prompt_ids.assign(ids.begin(), ids.begin() + position.length);
    const client::Completion said = completer_.complete(query);
    if (!is_usable(said, position)) return;
    const client::TokenPosition& token = said.positions.front();
    std::string why;
    position.server_token = tokens_.id_of(token.token, why);
    if (!position.server_token.has_value()) {
      skip(position, Kind::kUnnamed, why);
      return;
    }
    const bool low_agrees =
        prompt.low != nullptr && position.length > prompt.low->first_logit_row &&
        reference_row(*prompt.low, position.length).top == *position.server_token;
    if (judge_token(row, noise, low_agrees, position))
      judge_logprobs(row, noise, best, token, position);
  }

  static void skip(ServedPosition& position, Kind kind, std::string reason) {
    position.outcome = kind;
    position.reason = std::move(reason);
  }

  bool is_usable(const client::Completion& said, ServedPosition& position) const {
    if (!said.problem.empty()) {
      skip(position, Kind::kUnanswered, said.problem);
    } else if (said.prompt_tokens.has_value() && *said.prompt_tokens != position.length) {
      skip(
          position, Kind::kUnanswered,
          fmt::format("{:+} prompt tokens against the ids that were sent: the server does not take "
                      "ids as they are",
                      *said.prompt_tokens - position.length));
    } else if (said.positions.empty()) {
      skip(position, Kind::kUnanswered, said.no_logprobs);
    } else if (said.positions.size() > 1) {
      skip(position, Kind::kUnanswered,
           fmt::format("one token was asked for, logprobs of {} came", said.positions.size()));
    } else if (!said.positions.front().token.logprob.has_value()) {
      skip(position, Kind::kUnanswered, "the server gives its token no logprob");
    } else {
      return true;
    }
    return false;
  }

  // The token's identity. False: it differs, and no logprob can mend that.
  static bool judge_token(const ReferenceRow& row, double noise, bool low_agrees,
                          ServedPosition& position) {
    const int64_t found = *position.server_token;
    position.outcome = Kind::kSame;
    if (found == row.top) return true;
    if (found >= static_cast<int64_t>(row.logits.size())) {
      skip(position, Kind::kDiffers,
           fmt::format("token {} is beyond the reference's vocabulary of {}", found,
                       row.logits.size()));
      return false;
    }
    position.margin = row.logprob(row.top) - row.logprob(found);
    if (position.margin > difference_noise(noise) && !low_agrees) {
      skip(position, Kind::kDiffers,
           fmt::format("another token; the reference's margin is {:.3g}, a tie would be {:.3g}",
                       position.margin, difference_noise(noise)));
      return false;
    }
    position.outcome = Kind::kTie;
    position.reason = low_agrees ? "the reference itself chooses this token in the server's type"
                                 : fmt::format("the reference's margin is {:.3g}, noise {:.3g}",
                                               position.margin, difference_noise(noise));
    return true;
  }

  // The probabilities of the reference's own token and of those next to it.
  void judge_logprobs(const ReferenceRow& row, double noise, const std::vector<int64_t>& best,
                      const client::TokenPosition& said, ServedPosition& position) {
    const NamedTops tops = name_all(said, tokens_);
    for (const int64_t id : best) {
      const bool is_own = id == row.top;
      const double expected = row.logprob(id);
      const double allowed = is_own ? position.allowed : allowed_of_other(expected, noise);
      const auto at = tops.logprob.find(id);
      if (at == tops.logprob.end()) {
        // It is no more likely than the least likely one of the list.
        if (tops.complete && tops.least < expected - allowed) {
          skip(position, Kind::kDiffers,
               fmt::format("token {} at {:.4g} is not in the server's list down to {:.4g}",
                           tokens_.shown(id), expected, tops.least));
          return;
        }
        if (!is_own) continue;
        skip(position, Kind::kUnnamed, "the reference's own token is not in the server's list");
        return;
      }
      if (is_own) position.server_logprob = at->second;
      // What is not comparable is no agreement.
      if (!(std::abs(at->second - expected) <= allowed)) {
        skip(position, Kind::kDiffers,
             fmt::format("logprob of {}: {:.4g}, reference {:.4g}, allowed {:.2g} apart",
                         is_own ? "its token" : "token " + tokens_.shown(id), at->second, expected,
                         allowed));
        return;
      }
      if (!is_own) ++position.n_others;
    }
  }

  void decide() {
    const int n_compared = report_.n_compared();
    const int n_unnamed = report_.count(Kind::kUnnamed);
    if (report_.count(Kind::kDiffers) > 0) {
      report_.outcome = Outcome::kDiverged;
    } else if (n_compared > 0 && report_.count(Kind::kUnanswered) == 0 && n_unnamed <= n_compared) {
      report_.outcome = Outcome::kPass;
    }
    int64_t longest = 0;
    std::map<std::pair<std::string, std::string>, std::vector<int64_t>> skipped;  // by what and why
    for (const ServedPosition& position : report_.positions) {
      if (position.compared()) {
        longest = std::max(longest, position.length);
      } else {
        skipped[{fmt::format("{} {}", position.part, position.prompt), position.reason}].push_back(
            position.length);
      }
    }
    for (const auto& [what, lengths] : skipped) {
      report_.not_covered.push_back(
          fmt::format("{} after {} tokens: {}", what.first, fmt::join(lengths, ", "), what.second));
    }
    if (n_compared > 0)
      report_.not_covered.push_back(fmt::format("contexts longer than {} tokens", longest));
    report_.not_covered.emplace_back(
        "more than one token after a prompt; other requests in the batch");
  }

  client::Completer completer_;
  const ServedOptions& options_;
  ServedTokens& tokens_;
  std::vector<RecordedPrompt> prompts_;
  LogitNoise noise_;
  ServedReport report_;
};

}  // namespace

int ServedReport::count(ServedPosition::Outcome wanted) const {
  return static_cast<int>(std::ranges::count(positions, wanted, &ServedPosition::outcome));
}

int ServedReport::n_compared() const {
  return static_cast<int>(std::ranges::count_if(positions, &ServedPosition::compared));
}

const ServedPosition* ServedReport::first_difference() const {
  const ServedPosition* first = nullptr;
  for (const ServedPosition& position : positions) {
    if (position.outcome != Kind::kDiffers) continue;
    if (first == nullptr || position.length < first->length) first = &position;
  }
  return first;
}

ServedReport compare_served(client::ApiClient& api, const std::string& model,
                            const Recording& reference, const ServedOptions& options,
                            ServedTokens& tokens) {
  return Comparison(api, model, reference, options, tokens).run();
}

}  // namespace lockstep::parity
