// The stage over HTTP: what a server answers to ids, text, chat, echo and stop strings.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "client/completion.h"
#include "lockstep/error.h"
#include "parity/bisect/stages.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace lockstep::parity {
namespace {

using client::Completion;
using client::Json;
constexpr std::string_view kCompletions = "/v1/completions";
constexpr std::string_view kChat = "/v1/chat/completions";
constexpr int kTop = 5;

// A piece of ASCII text inside `text`, so that no character is cut; empty where there is none.
std::string piece_of(const std::string& text, size_t size) {
  for (size_t begin = text.size() / 3; begin + size < text.size(); ++begin) {
    const std::string piece = text.substr(begin, size);
    const bool is_plain =
        std::ranges::all_of(piece, [](char c) { return c > 0x20 && c < 0x7f; });
    if (is_plain) return piece;
  }
  return {};
}

class ServedStage {
 public:
  ServedStage(const DtypeCase& the_case, const std::filesystem::path& folder,
              const client::Target& target, Server whose)
      : case_(the_case), api_(target), is_own_(whose == Server::kOwn) {
    result_.stage = Stage::kServed;
    result_.outcome = StageResult::Outcome::kSame;
    open_text(folder);
  }

  StageResult run() {
    model_ = api_.model_name("");
    for (size_t i = 0; i < case_.texts.size(); ++i) {
      const Completion by_ids = ask_ids(i);
      if (result_.outcome == StageResult::Outcome::kDiffers) break;
      if (!by_ids.problem.empty()) continue;
      ask_echo(i);
      ask_text(i, by_ids);
      ask_stop(i, by_ids);
      ask_chat(i);
      if (result_.outcome == StageResult::Outcome::kDiffers) break;
    }
    return std::move(result_);
  }

 private:
  void open_text(const std::filesystem::path& folder) {
    try {
      tokenizer_.emplace(text::Tokenizer::open(folder));
      template_.emplace(ChatTemplate::open(folder));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kNotFound) throw;
    }
  }

  const ReferenceText& text_of(size_t i) const { return case_.texts[i]; }

  void not_covered(size_t i, const char* probe, const std::string& why) {
    result_.not_covered.push_back(
        fmt::format("{}, prompt {}: {}", probe, text_of(i).prompt, why));
  }

  void differs(size_t i, const char* probe, int64_t token, std::string message) {
    StageFinding finding;
    finding.probe = probe;
    finding.dtype = case_.name;
    finding.prompt = text_of(i).prompt;
    finding.token = token;
    finding.step = token < 0 ? -1 : token + 1 - text_of(i).n_prompt;
    finding.against = "the same prompt by ids";
    finding.message = std::move(message);
    result_.outcome = StageResult::Outcome::kDiffers;
    result_.findings.push_back(std::move(finding));
  }

  // Only its own server is asked to go on behind end tokens: llama-server, for one, then forbids
  // them, which is another text.
  Json body(int64_t max_tokens) const {
    Json body = {{"model", model_}, {"max_tokens", max_tokens}, {"temperature", 0},
                 {"stream", false}};
    if (is_own_) body["ignore_eos"] = true;
    return body;
  }

  // Strict servers refuse fields that OpenAI does not have.
  Completion post(std::string_view path, Json body) {
    client::Answer answer = api_.try_post(path, body);
    if (answer.refused()) {
      body.erase("return_tokens_as_token_ids");
      client::Answer plain = api_.try_post(path, body);
      if (plain.problem.empty()) answer = std::move(plain);
    }
    if (answer.problem.empty()) {
      if (path == kChat) flatten_chat(answer.json);
      return client::read_completion(answer.json);
    }
    if (!answer.refused()) throw client::to_error(answer.http);
    Completion none;
    none.problem = answer.problem;
    return none;
  }

  // A chat's answer as a completion's.
  static void flatten_chat(Json& json) {
    if (!json.contains("choices") || !json["choices"].is_array() || json["choices"].empty()) return;
    Json& choice = json["choices"][0];
    if (choice.is_object() && choice.contains("message") && choice["message"].is_object() &&
        choice["message"].contains("content")) {
      choice["text"] = choice["message"]["content"];
    }
  }

  // Positions as an engine gives them; nothing where the server does not name tokens by id.
  static std::optional<EngineAnswer> answer_of(std::span<const client::TokenPosition> positions) {
    EngineAnswer answer;
    for (const client::TokenPosition& position : positions) {
      if (!position.token.id) return std::nullopt;
      PositionLogprobs at;
      const auto add = [&](const client::ServerToken& token) {
        if (!token.id || !token.logprob) return;
        at.top.push_back(
            {static_cast<int32_t>(*token.id), static_cast<float>(*token.logprob)});
      };
      add(position.token);
      for (const client::ServerToken& token : position.top) add(token);
      answer.tokens.push_back(static_cast<int32_t>(*position.token.id));
      answer.logprobs.push_back(std::move(at));
    }
    return answer;
  }

  Completion ask_ids(size_t i) {
    const ReferenceText& text = text_of(i);
    Json asked = body(static_cast<int64_t>(text.generated().size()));
    asked["prompt"] = text.prompt_ids();
    asked["logprobs"] = kTop;
    asked["return_tokens_as_token_ids"] = true;
    Completion completion = post(kCompletions, asked);
    if (!completion.problem.empty()) {
      not_covered(i, "ids", completion.problem);
      return completion;
    }
    if (counts_other(i, "ids", completion, text.n_prompt)) return completion;
    const std::optional<EngineAnswer> answer = answer_of(completion.positions);
    if (!answer || answer->tokens.empty()) {
      compare_generated_text(i, completion);
      return completion;
    }
    EngineAnswer judged = *answer;
    if (!is_own_) {
      note_precision(i, judged);
      judged.logprobs.clear();
    }
    Probe probe{"ids", {}, {}};
    if (case_.has_experts && case_.dtype != DType::kFloat32) {
      probe.is_rerouted = [](int64_t) { return true; };  // not told from a fault here
    }
    const bool same = judge_answer(result_, case_, i, text.n_prompt, judged, probe);
    if (same) check_end(i, judged, completion.finish_reason);
    return completion;
  }

  // A text that is shorter than asked for ends at an end token.
  void check_end(size_t i, const EngineAnswer& answer, const std::string& reason) {
    const std::span<const int32_t> expected = text_of(i).generated();
    const size_t n = answer.tokens.size();
    if (n >= expected.size() || !tokenizer_) return;
    if (!std::ranges::equal(answer.tokens, expected.first(n))) return;  // a tie: another text
    const bool ends = tokenizer_->is_special(expected[n]) ||
                      (n > 0 && tokenizer_->is_special(expected[n - 1]));
    if (ends) {
      not_covered(i, "ids", fmt::format("the server ends the text after {} of {} tokens, at an end "
                                        "token",
                                        n, expected.size()));
      return;
    }
    differs(i, "ids", text_of(i).n_prompt - 1 + static_cast<int64_t>(n),
            fmt::format("the text ends after {} of {} tokens ({}), the reference goes on with {}", n,
                        expected.size(), reason, expected[n]));
  }

  // Another precision is no fault of serving, but nothing that a pass may hide.
  void note_precision(size_t i, const EngineAnswer& answer) {
    double most = 0;
    for (size_t k = 0; k < answer.tokens.size(); ++k) {
      const size_t t = static_cast<size_t>(text_of(i).n_prompt) - 1 + k;
      if (t >= case_.at_once[i].size() || answer.tokens[k] != text_of(i).ids[t + 1]) break;
      for (const TokenLogprob& top : answer.logprobs[k].top) {
        most = std::max(most, std::abs(logprob_of(case_.at_once[i][t], top.id) - top.logprob));
      }
    }
    not_covered(i, "ids", fmt::format("log probabilities are up to {:.2g} from this port's in {}: "
                                      "its precision is not known, so they are not judged",
                                      most, case_.name));
  }

  // Where ids are not told: the text that the reference's ids are.
  void compare_generated_text(size_t i, const Completion& completion) {
    if (!tokenizer_) return not_covered(i, "ids", "the server names no ids, and there is no text");
    ++result_.probes;
    const std::string expected =
        tokenizer_->decode(text_of(i).generated(), {.skip_special_tokens = true});
    const size_t n = std::min(expected.size(), completion.text.size());
    const auto at = std::mismatch(expected.begin(), expected.begin() + static_cast<ptrdiff_t>(n),
                                  completion.text.begin());
    if (at.first == expected.begin() + static_cast<ptrdiff_t>(n) && n > 0) {
      not_covered(i, "ids", "the server names no ids: texts were compared, not logits");
      return;
    }
    differs(i, "ids", text_of(i).n_prompt - 1,
            fmt::format("text {} for {}", quote_text(completion.text), quote_text(expected)));
  }

  // Prompt tokens as the server counted them: one more is a BOS too many.
  bool counts_other(size_t i, const char* probe, const Completion& completion, int64_t expected) {
    if (!completion.prompt_tokens || *completion.prompt_tokens == expected) return false;
    const int64_t n = *completion.prompt_tokens;
    std::string what;
    if (n == expected + 1) {
      what = ": one too many, as a BOS that is added to a text which has one";
    } else if (n + 1 == expected) {
      what = ": one is missing, as a BOS that nobody added";
    }
    differs(i, probe, 0, fmt::format("the server counts {} prompt tokens, expected {}{}", n,
                                     expected, what));
    return true;
  }

  void ask_echo(size_t i) {
    const ReferenceText& text = text_of(i);
    Json asked = body(0);
    asked["prompt"] = text.ids;
    asked["logprobs"] = kTop;
    asked["echo"] = true;
    asked["return_tokens_as_token_ids"] = true;
    const Completion completion = post(kCompletions, asked);
    if (!completion.problem.empty()) return not_covered(i, "echo", completion.problem);
    const auto n = static_cast<size_t>(text.n_tokens());
    if (completion.positions.size() < n) {
      return not_covered(i, "echo", "the server does not echo the prompt");
    }
    const auto answer = answer_of(std::span(completion.positions).first(n));
    if (!answer) return not_covered(i, "echo", "the server names no ids");
    ++result_.probes;
    for (size_t t = 1; t < n; ++t) {
      ++result_.tokens;
      if (answer->tokens[t] != text.ids[t]) {
        return differs(i, "echo", static_cast<int64_t>(t),
                       fmt::format("token {} is echoed as {}, {} was sent", t, answer->tokens[t],
                                   text.ids[t]));
      }
      if (!echo_agrees(i, t, answer->logprobs[t])) return;
    }
  }

  bool echo_agrees(size_t i, size_t t, const PositionLogprobs& found) {
    const std::vector<float>& row = case_.at_once[i][t - 1];
    const double noise = case_.noise.logit(rms_of(row));
    for (const TokenLogprob& top : found.top) {
      const double expected = logprob_of(row, top.id);
      if (!is_own_ || std::abs(expected - top.logprob) <= noise) continue;
      if (case_.has_experts && case_.dtype != DType::kFloat32) {
        not_covered(i, "echo", "near ties send tokens to other experts");
        return false;
      }
      differs(i, "echo", static_cast<int64_t>(t),
              fmt::format("log probability {:.5f} of token {} at {}, expected {:.5f} (noise {:.2g})",
                          top.logprob, top.id, t, expected, noise));
      return false;
    }
    return true;
  }

  void ask_text(size_t i, const Completion& by_ids) {
    const ReferenceText& text = text_of(i);
    if (text.prompt_text.empty() || text.is_chat) {
      return not_covered(i, "text", "the reference has ids without their text");
    }
    Json asked = body(static_cast<int64_t>(text.generated().size()));
    asked["prompt"] = text.prompt_text;
    compare_texts(i, "text", post(kCompletions, asked), by_ids, text.n_prompt);
  }

  void compare_texts(size_t i, const char* probe, const Completion& found,
                     const Completion& expected, int64_t n_prompt) {
    if (!found.problem.empty()) return not_covered(i, probe, found.problem);
    ++result_.probes;
    if (counts_other(i, probe, found, n_prompt) || found.text == expected.text) return;
    const auto at = std::ranges::mismatch(found.text, expected.text);
    differs(i, probe, n_prompt - 1,
            fmt::format("other text from byte {} on: {} for {}", at.in1 - found.text.begin(),
                        quote_text(std::string(at.in1, found.text.end())),
                        quote_text(std::string(at.in2, expected.text.end()))));
  }

  void ask_stop(size_t i, const Completion& by_ids) {
    const std::string piece = piece_of(by_ids.text, 3);
    if (piece.empty()) return not_covered(i, "stop", "no plain text to stop at");
    Json asked = body(static_cast<int64_t>(text_of(i).generated().size()));
    asked["prompt"] = text_of(i).prompt_ids();
    asked["stop"] = {piece};
    const std::string expected = by_ids.text.substr(0, by_ids.text.find(piece));
    compare_stop(i, post(kCompletions, asked), piece, expected, "stop");
    // A stop string that begins at the end and does not come takes nothing away.
    const std::string never = by_ids.text.substr(by_ids.text.size() - 1) + "\x01never";
    if (static_cast<unsigned char>(never[0]) >= 0x80) return;
    asked["stop"] = {never};
    compare_stop(i, post(kCompletions, asked), never, by_ids.text, by_ids.finish_reason);
  }

  void compare_stop(size_t i, const Completion& found, const std::string& stop,
                    const std::string& expected, const std::string& reason) {
    if (!found.problem.empty()) return not_covered(i, "stop", found.problem);
    ++result_.probes;
    if (found.text == expected && found.finish_reason == reason) return;
    const std::string tail = expected.substr(expected.size() - std::min<size_t>(24, expected.size()));
    const std::string end =
        found.text.substr(found.text.size() - std::min<size_t>(24, found.text.size()));
    differs(i, "stop", -1,
            fmt::format("with stop {} the text ends {} ({}, {} bytes), expected {} ({}, {} bytes)",
                        quote_text(stop), quote_text(end), found.finish_reason, found.text.size(),
                        quote_text(tail), reason, expected.size()));
  }

  void ask_chat(size_t i) {
    const ReferenceText& text = text_of(i);
    if (!tokenizer_ || !template_) return not_covered(i, "chat", "the folder has no template");
    const std::string message = text.prompt_text.empty() ? "Hello" : text.prompt_text;
    ChatRequest request;
    request.messages = {{{"role", "user"}, {"content", message}}};
    request.add_generation_prompt = true;
    const std::vector<int32_t> ids =
        tokenizer_->encode(template_->render(request).text, {.add_special_tokens = false});
    const auto n = static_cast<int64_t>(text.generated().size());
    Json asked = body(n);
    asked["prompt"] = ids;
    const Completion by_ids = post(kCompletions, asked);
    if (!by_ids.problem.empty()) return not_covered(i, "chat", by_ids.problem);
    Json chat = body(n);
    chat["messages"] = Json::array({{{"role", "user"}, {"content", message}}});
    compare_texts(i, "chat", post(kChat, chat), by_ids, static_cast<int64_t>(ids.size()));
  }

  const DtypeCase& case_;
  client::ApiClient api_;
  bool is_own_;
  std::string model_;
  std::optional<text::Tokenizer> tokenizer_;
  std::optional<ChatTemplate> template_;
  StageResult result_;
};

}  // namespace

StageResult served_stage(const DtypeCase& the_case, const std::filesystem::path& folder,
                         const client::Target& target, Server whose) {
  return ServedStage(the_case, folder, target, whose).run();
}

}  // namespace lockstep::parity
