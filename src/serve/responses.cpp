#include "serve/responses.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <random>

#include "serve/api_error.h"
#include "text/utf8.h"

namespace lockstep::serve {
namespace {

// JSON has no infinity; vLLM writes this.
constexpr double kLeastLogprob = -9999.0;

double written(float logprob) {
  return std::isfinite(logprob) ? std::max(static_cast<double>(logprob), kLeastLogprob)
                                : kLeastLogprob;
}

std::string token_name(const ServedModel& model, int32_t id, const LogprobStyle& style) {
  return style.as_token_ids ? fmt::format("token_id:{}", id) : model.token_text(id);
}

// The chosen token first, then the likeliest that are not it: n_top + 1 at most.
template <class Visit>
void for_each_top(const PositionLogprobs& position, int64_t n_top, Visit&& visit) {
  visit(position.chosen);
  int64_t n = 0;
  for (const TokenLogprob& top : position.top) {
    if (n_top >= 0 && n++ >= n_top) break;
    if (top.id != position.chosen.id) visit(top);
  }
}

Json chat_token(const ServedModel& model, int32_t id, float logprob, const LogprobStyle& style) {
  const std::string bytes = model.token_bytes_of(id);
  Json list = Json::array();
  for (const char byte : bytes) list.push_back(static_cast<unsigned char>(byte));
  return {{"token", token_name(model, id, style)},
          {"logprob", written(logprob)},
          {"bytes", std::move(list)}};
}

LogprobStyle style_of(const GenerationRequest& request) {
  return {request.logprobs.value_or(0), request.return_tokens_as_token_ids};
}

Json nothing_or_text(const std::string& text) { return text.empty() ? Json() : Json(text); }

Json head_json(const AnswerHead& head, const char* object) {
  return {{"id", head.id}, {"object", object}, {"created", head.created}, {"model", head.model}};
}

void add_finish(const GenerationRequest& request, const Choice& choice, Json& out) {
  out["finish_reason"] = nothing_or_text(choice.finish_reason);
  out["stop_reason"] = choice.stop_reason;
  if (request.return_token_ids) out["token_ids"] = choice.token_ids;
}

void add_stream_usage(const GenerationRequest& request, const Choice& choice, Json& out) {
  if (choice.usage.has_value()) {
    out["usage"] = choice.usage->json(false);
  } else if (request.streaming.include_usage) {
    out["usage"] = nullptr;
  }
}

}  // namespace

Json Usage::json(bool with_details) const {
  Json out = {{"prompt_tokens", prompt_tokens},
              {"total_tokens", prompt_tokens + completion_tokens},
              {"completion_tokens", completion_tokens}};
  out["prompt_tokens_details"] = with_details ? Json{{"cached_tokens", cached_tokens}} : Json();
  return out;
}

Json legacy_logprobs(const ServedModel& model, const std::vector<TokenRecord>& records,
                     const LogprobStyle& style) {
  Json tokens = Json::array(), logprobs = Json::array(), tops = Json::array(),
       offsets = Json::array();
  for (const TokenRecord& record : records) {
    const std::string name = style.as_token_ids ? token_name(model, record.id, style) : record.text;
    tokens.push_back(name);
    offsets.push_back(record.text_offset);
    if (!record.logprobs.has_value()) {
      logprobs.push_back(nullptr);
      tops.push_back(nullptr);
      continue;
    }
    logprobs.push_back(written(record.logprobs->chosen.logprob));
    Json top = Json::object();
    for_each_top(*record.logprobs, style.n_top, [&](const TokenLogprob& token) {
      const bool is_chosen = token.id == record.id;
      const std::string key = is_chosen ? name : token_name(model, token.id, style);
      // Of tokens with one text the likeliest stays, the chosen one before all.
      if (!top.contains(key)) top[key] = written(token.logprob);
    });
    tops.push_back(std::move(top));
  }
  return {{"text_offset", std::move(offsets)},
          {"token_logprobs", std::move(logprobs)},
          {"tokens", std::move(tokens)},
          {"top_logprobs", std::move(tops)}};
}

Json chat_logprobs(const ServedModel& model, const std::vector<TokenRecord>& records,
                   const LogprobStyle& style) {
  Json content = Json::array();
  for (const TokenRecord& record : records) {
    if (!record.logprobs.has_value()) continue;
    const PositionLogprobs& position = *record.logprobs;
    Json token = chat_token(model, position.chosen.id, position.chosen.logprob, style);
    Json& tops = token["top_logprobs"] = Json::array();
    for (const TokenLogprob& top : position.top) {
      if (style.n_top >= 0 && static_cast<int64_t>(tops.size()) >= style.n_top) break;
      tops.push_back(chat_token(model, top.id, top.logprob, style));
    }
    content.push_back(std::move(token));
  }
  return {{"content", std::move(content)}};
}

Json prompt_logprobs_json(const ServedModel& model, const std::vector<PositionLogprobs>& logprobs) {
  Json list = Json::array({nullptr});
  for (const PositionLogprobs& position : logprobs) {
    Json entry = Json::object();
    const auto add = [&](const TokenLogprob& token, int64_t rank) {
      entry[std::to_string(token.id)] = {{"logprob", written(token.logprob)},
                                         {"rank", rank},
                                         {"decoded_token", model.token_text(token.id)}};
    };
    add(position.chosen, position.rank);
    for (size_t i = 0; i < position.top.size(); ++i) {
      if (position.top[i].id != position.chosen.id) {
        add(position.top[i], static_cast<int64_t>(i) + 1);
      }
    }
    list.push_back(std::move(entry));
  }
  return list;
}

Json completion_choice(const ServedModel& model, const GenerationRequest& request,
                       const Choice& choice) {
  Json out = {{"index", choice.index}, {"text", choice.text}};
  out["logprobs"] = request.logprobs.has_value()
                        ? legacy_logprobs(model, choice.records, style_of(request))
                        : Json();
  add_finish(request, choice, out);
  if (request.prompt_logprobs.has_value()) out["prompt_logprobs"] = choice.prompt_logprobs;
  if (request.return_token_ids) out["prompt_token_ids"] = choice.prompt_token_ids;
  return out;
}

Json completion_answer(const AnswerHead& head, std::vector<Json> choices, const Usage& usage,
                       bool with_details) {
  Json out = head_json(head, "text_completion");
  out["choices"] = std::move(choices);
  out["usage"] = usage.json(with_details);
  return out;
}

Json completion_chunk(const AnswerHead& head, const ServedModel& model,
                      const GenerationRequest& request, const Choice& choice) {
  Json out = head_json(head, "text_completion");
  Json part = {{"index", choice.index}, {"text", choice.text}};
  part["logprobs"] = request.logprobs.has_value() && !choice.records.empty()
                         ? legacy_logprobs(model, choice.records, style_of(request))
                         : Json();
  add_finish(request, choice, part);
  if (request.return_token_ids && !choice.prompt_token_ids.empty()) {
    part["prompt_token_ids"] = choice.prompt_token_ids;
  }
  out["choices"] = Json::array({std::move(part)});
  add_stream_usage(request, choice, out);
  return out;
}

Json chat_choice(const ServedModel& model, const GenerationRequest& request, const Choice& choice) {
  Json message = {{"role", "assistant"}};
  // As OpenAI's: no text beside calls is null, not empty.
  message["content"] =
      choice.text.empty() && !choice.tool_calls.empty() ? Json() : Json(choice.text);
  message["refusal"] = nullptr;
  if (!choice.tool_calls.empty()) {
    Json& calls = message["tool_calls"] = Json::array();
    for (const ToolCall& call : choice.tool_calls) {
      calls.push_back({{"id", call.id},
                       {"type", "function"},
                       {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
    }
  }
  Json out = {{"index", choice.index}, {"message", std::move(message)}};
  out["logprobs"] = request.logprobs.has_value()
                        ? chat_logprobs(model, choice.records, style_of(request))
                        : Json();
  add_finish(request, choice, out);
  return out;
}

Json chat_answer(const AnswerHead& head, std::vector<Json> choices, const Usage& usage,
                 bool with_details) {
  Json out = head_json(head, "chat.completion");
  out["choices"] = std::move(choices);
  out["usage"] = usage.json(with_details);
  return out;
}

Json chat_chunk(const AnswerHead& head, const ServedModel& model, const GenerationRequest& request,
                const Choice& choice, Json delta) {
  Json out = head_json(head, "chat.completion.chunk");
  Json part = {{"index", choice.index}, {"delta", std::move(delta)}};
  part["logprobs"] = request.logprobs.has_value() && !choice.records.empty()
                         ? chat_logprobs(model, choice.records, style_of(request))
                         : Json();
  add_finish(request, choice, part);
  out["choices"] = Json::array({std::move(part)});
  add_stream_usage(request, choice, out);
  return out;
}

Json usage_chunk(const AnswerHead& head, const char* object, const Usage& usage,
                 bool with_details) {
  Json out = head_json(head, object);
  out["choices"] = Json::array();
  out["usage"] = usage.json(with_details);
  return out;
}

std::string sse(const Json& json) { return "data: " + dump_json(json) + "\n\n"; }

std::string random_id() {
  static std::mutex mutex;
  static std::mt19937_64 random{std::random_device{}()};
  const std::lock_guard lock(mutex);
  const uint64_t high = random();
  return fmt::format("{:016x}{:016x}", high, random());
}

}  // namespace lockstep::serve
