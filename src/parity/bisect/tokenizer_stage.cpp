// The stage before any number: text to ids, special tokens, the chat template.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "lockstep/error.h"
#include "parity/bisect/stages.h"
#include "runtime/sampling_params.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace lockstep::parity {
namespace {

using Ids = std::vector<int32_t>;

bool starts_with(std::span<const int32_t> ids, std::span<const int32_t> prefix) {
  return !prefix.empty() && ids.size() >= prefix.size() &&
         std::equal(prefix.begin(), prefix.end(), ids.begin());
}

class TokenizerStage {
 public:
  TokenizerStage(const Subject& subject, const Recording& reference)
      : subject_(subject), reference_(reference) {
    result_.stage = Stage::kTokenizer;
    result_.outcome = StageResult::Outcome::kSame;
  }

  StageResult run() {
    try {
      tokenizer_.emplace(text::Tokenizer::open(subject_.folder));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kNotFound) throw;
      result_.outcome = StageResult::Outcome::kNotRun;
      result_.not_covered.push_back("text: " + error.message());
      return std::move(result_);
    }
    try {
      template_.emplace(ChatTemplate::open(subject_.folder));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kNotFound) throw;
    }
    check_prefix();
    check_prompts();
    check_template();
    return std::move(result_);
  }

 private:
  void differs(const char* probe, int prompt, int64_t token, std::string message) {
    StageFinding finding;
    finding.probe = probe;
    finding.prompt = prompt;
    finding.token = token;
    finding.against = prompt < 0 ? "itself" : "the reference";
    finding.message = std::move(message);
    result_.outcome = StageResult::Outcome::kDiffers;
    result_.findings.push_back(std::move(finding));
  }

  std::string name_of(int32_t id) const {
    return quote_text(tokenizer_->id_to_token(id).value_or("?"));
  }

  // What stands before every text: once.
  void check_prefix() {
    ++result_.probes;
    const Ids prefix = tokenizer_->prefix_ids();
    for (size_t i = 1; i < prefix.size(); ++i) {
      if (prefix[i] != prefix[i - 1]) continue;
      differs("special tokens", -1, static_cast<int64_t>(i),
              fmt::format("every text begins with {} twice: a double BOS of the tokenizer's own",
                          name_of(prefix[i])));
    }
  }

  Ids ids_of(const PromptText& prompt) const {
    if (!prompt.is_chat) return tokenizer_->encode(prompt.text);
    ChatRequest request;
    request.messages = {{{"role", "user"}, {"content", prompt.text}}};
    request.add_generation_prompt = true;
    return tokenizer_->encode(template_->render(request).text, {.add_special_tokens = false});
  }

  const std::vector<int64_t>* recorded_ids(int prompt) const {
    for (const Run& run : reference_.runs) {
      if (run.info.phase == Phase::kPrefill && run.info.prompt == prompt) {
        return &run.info.prompt_ids;
      }
    }
    return nullptr;
  }

  void check_prompts() {
    size_t n_checked = 0;
    for (const PromptText& prompt : reference_.prompts) {
      const std::vector<int64_t>* recorded = recorded_ids(prompt.prompt);
      if (recorded == nullptr || (prompt.is_chat && !template_)) continue;
      ++n_checked;
      ++result_.probes;
      compare(prompt, Ids(recorded->begin(), recorded->end()), ids_of(prompt));
    }
    if (n_checked == 0) {
      result_.not_covered.emplace_back(
          "ids of the prompts: the reference has ids without their text");
    }
  }

  void compare(const PromptText& prompt, const Ids& expected, const Ids& found) {
    result_.tokens += static_cast<int64_t>(expected.size());
    if (expected == found) return;
    const auto at = std::ranges::mismatch(expected, found);
    const int64_t token = at.in1 - expected.begin();
    std::string message = fmt::format(
        "{} ids for {}; the first that differs is {} ({}) for {} ({})", found.size(),
        expected.size(), at.in2 == found.end() ? "none" : fmt::format("{}", *at.in2),
        at.in2 == found.end() ? "" : name_of(*at.in2),
        at.in1 == expected.end() ? "none" : fmt::format("{}", *at.in1),
        at.in1 == expected.end() ? "" : name_of(*at.in1));
    const std::span<const int32_t> rest(found);
    const bool one_more = found.size() == expected.size() + 1 &&
                          std::ranges::equal(rest.subspan(1), expected);
    const bool one_less = found.size() + 1 == expected.size() &&
                          std::ranges::equal(std::span(expected).subspan(1), found);
    if (one_more) {
      const bool twice = !expected.empty() && found[0] == expected[0];
      message = twice ? fmt::format("double BOS: {} stands there twice", name_of(found[0]))
                      : fmt::format("{} is put before the text, the reference has none",
                                    name_of(found[0]));
    } else if (one_less) {
      message = fmt::format("{} is missing before the text", name_of(expected[0]));
    }
    differs(prompt.is_chat ? "chat template" : "prompt text", prompt.prompt, token,
            std::move(message));
  }

  void check_template() {
    if (!template_) {
      result_.not_covered.emplace_back("chat: the folder has no template");
      return;
    }
    ++result_.probes;
    const PromptText message{-1, true, "Hello"};
    Ids ids;
    try {
      ids = ids_of(message);
    } catch (const Error& error) {
      differs("chat template", -1, -1, "the template cannot be rendered: " + error.message());
      return;
    }
    const Ids prefix = tokenizer_->prefix_ids();
    if (starts_with(ids, prefix) &&
        starts_with(std::span<const int32_t>(ids).subspan(prefix.size()), prefix)) {
      differs("chat template", -1, static_cast<int64_t>(prefix.size()),
              fmt::format("double BOS: a rendered message begins with {} twice",
                          name_of(prefix.front())));
    }
    if (!std::ranges::any_of(reference_.prompts, &PromptText::is_chat)) {
      result_.not_covered.emplace_back("chat: the reference recorded none (lockstep reference "
                                       "--chat records one)");
    }
  }

  const Subject& subject_;
  const Recording& reference_;
  std::optional<text::Tokenizer> tokenizer_;
  std::optional<ChatTemplate> template_;
  StageResult result_;
};

}  // namespace

StageResult tokenizer_stage(const Subject& subject, const Recording& reference) {
  return TokenizerStage(subject, reference).run();
}

}  // namespace lockstep::parity
