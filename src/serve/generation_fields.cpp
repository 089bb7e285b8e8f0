#include "serve/generation_fields.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "base/text.h"

namespace lockstep::serve {
namespace {

constexpr size_t kMaxStops = 64;

// Fields that change what is computed and that this server does not have: ignoring them would
// answer another question.
void refuse_unsupported(Fields& fields) {
  for (const std::string_view key : {"use_beam_search", "prompt_embeds", "logits_processors",
                                     "suffix", "kv_transfer_params", "vllm_xargs"}) {
    const simdjson::dom::element* value = fields.find(key);
    if (value == nullptr) continue;
    const bool is_off = (value->is_bool() && !value->get_bool().value_unsafe()) ||
                        (value->is_string() && value->get_string().value_unsafe().empty()) ||
                        (value->is_array() && array_of(*value).size() == 0) ||
                        (value->is_object() && object_of(*value).size() == 0);
    if (!is_off) fields.fail(key, "not supported by this server");
  }
}

void read_logit_bias(Fields& fields, const RequestLimits& limits, Sampling& sampling) {
  std::optional<Fields> biases = fields.object("logit_bias");
  if (!biases.has_value()) return;
  for (const auto& [key, value] : biases->members()) {
    int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc{} || end != key.data() + key.size() || id < 0 ||
        id >= static_cast<int64_t>(limits.n_tokens)) {
      fields.fail("logit_bias", fmt::format("expected token ids below {} as keys, found {}",
                                            limits.n_tokens, quote_text(key)));
      return;
    }
    const std::optional<double> bias = biases->number(key, -INFINITY, INFINITY);
    // vLLM and OpenAI cut to this range.
    if (bias.has_value()) {
      sampling.logit_bias.emplace_back(static_cast<int32_t>(id),
                                       static_cast<float>(std::clamp(*bias, -100.0, 100.0)));
    }
  }
}

void read_stops(Fields& fields, const RequestLimits& limits, Sampling& sampling) {
  sampling.stop = fields.strings("stop");
  if (sampling.stop.size() > kMaxStops) {
    fields.fail("stop", fmt::format("expected at most {} strings, found {}", kMaxStops,
                                    sampling.stop.size()));
  }
  for (const std::string& stop : sampling.stop) {
    if (stop.empty()) fields.fail("stop", "a stop string cannot be empty");
  }
  sampling.stop_token_ids = fields.token_ids("stop_token_ids", limits.n_tokens);
  sampling.include_stop_str_in_output = fields.boolean_or("include_stop_str_in_output", false);
  sampling.bad_words = fields.strings("bad_words");
  for (const std::string& word : sampling.bad_words) {
    if (word.empty()) fields.fail("bad_words", "a word cannot be empty");
  }
}

void read_sampling(Fields& fields, const RequestLimits& limits, Sampling& sampling) {
  sampling.temperature = fields.number("temperature", 0, INFINITY);
  sampling.top_p = fields.number("top_p", 0, 1);
  if (sampling.top_p == 0.0) fields.fail("top_p", "expected more than 0, up to 1, found 0");
  sampling.min_p = fields.number("min_p", 0, 1);
  sampling.top_k = fields.integer("top_k", -1, INT32_MAX);
  sampling.repetition_penalty = fields.number("repetition_penalty", 0, INFINITY);
  if (sampling.repetition_penalty == 0.0) {
    fields.fail("repetition_penalty", "expected more than 0, found 0");
  }
  sampling.presence_penalty = fields.number("presence_penalty", -2, 2).value_or(0);
  sampling.frequency_penalty = fields.number("frequency_penalty", -2, 2).value_or(0);
  sampling.seed = fields.integer("seed", INT64_MIN, INT64_MAX);
  sampling.min_tokens = fields.integer("min_tokens", 0, INT32_MAX).value_or(0);
  sampling.ignore_eos = fields.boolean_or("ignore_eos", false);
  sampling.skip_special_tokens = fields.boolean_or("skip_special_tokens", true);
  if (fields.has("allowed_token_ids")) {
    sampling.allowed_token_ids = fields.token_ids("allowed_token_ids", limits.n_tokens);
    if (sampling.allowed_token_ids->empty()) {
      fields.fail("allowed_token_ids", "expected at least one token id");
    }
  }
  read_logit_bias(fields, limits, sampling);
  read_stops(fields, limits, sampling);
}

void read_json_schema(Fields& fields, std::string_view key, OutputFormat& format) {
  const simdjson::dom::element* schema = fields.find(key);
  format.kind = OutputFormat::Kind::kJsonSchema;
  format.param = fields.path_of(key);
  if (schema == nullptr) {
    fields.fail(key, "expected a JSON schema, found none");
  } else if (schema->is_object() || schema->is_bool()) {
    format.schema = to_ordered_json(*schema);
  } else {
    fields.fail_type(key, "a JSON schema", *schema);
  }
}

void read_response_format(Fields& fields, OutputFormat& format) {
  std::optional<Fields> response = fields.object("response_format");
  if (!response.has_value()) return;
  const std::string type = response->string("type").value_or("");
  format.param = "response_format";
  if (type == "text") return;
  if (type == "json_object") {
    format.kind = OutputFormat::Kind::kJsonObject;
  } else if (type == "json_schema") {
    std::optional<Fields> described = response->object("json_schema");
    if (!described.has_value()) {
      response->fail("json_schema", "expected an object with a schema, found none");
      return;
    }
    described->string("name");
    read_json_schema(*described, "schema", format);
  } else {
    response->fail("type", fmt::format("expected text, json_object or json_schema, found {}",
                                       quote_text(type)));
  }
}

void read_structured_outputs(Fields& fields, OutputFormat& format) {
  std::optional<Fields> structured = fields.object("structured_outputs");
  if (!structured.has_value()) return;
  if (format.kind != OutputFormat::Kind::kText) {
    fields.fail("structured_outputs", "response_format says already what the answer looks like");
    return;
  }
  for (const std::string_view key : {"regex", "grammar", "structural_tag"}) {
    if (structured->has(key)) structured->fail(key, "not supported; json and choice are");
  }
  if (structured->has("json")) {
    read_json_schema(*structured, "json", format);
  } else if (structured->boolean_or("json_object", false)) {
    format.kind = OutputFormat::Kind::kJsonObject;
    format.param = structured->path_of("json_object");
  } else if (structured->has("choice")) {
    format.kind = OutputFormat::Kind::kChoice;
    format.param = structured->path_of("choice");
    format.choices = structured->strings("choice");
    if (format.choices.empty()) structured->fail("choice", "expected at least one string");
  } else {
    fields.fail("structured_outputs", "expected one of json, json_object and choice");
  }
}

void read_streaming(Fields& fields, StreamOptions& streaming) {
  streaming.stream = fields.boolean_or("stream", false);
  std::optional<Fields> options = fields.object("stream_options");
  if (!options.has_value()) return;
  if (!streaming.stream) {
    fields.fail("stream_options", "stream options can only be given when stream is true");
  }
  streaming.include_usage = options->boolean_or("include_usage", false);
  streaming.continuous_usage_stats = options->boolean_or("continuous_usage_stats", false);
}

// One list of a list of ids, or one prompt of several.
std::optional<Prompt> read_prompt(Fields& fields, const std::string& key,
                                  const simdjson::dom::element& value,
                                  const RequestLimits& limits) {
  if (value.is_string()) {
    const std::string_view text = value.get_string().value_unsafe();
    if (text.empty()) fields.fail(key, "expected some text, found none");
    return Prompt(std::string(text));
  }
  if (!value.is_array()) {
    fields.fail_type(key, "a string or a list of token ids", value);
    return std::nullopt;
  }
  std::vector<int32_t> ids;
  for (const simdjson::dom::element item : array_of(value)) {
    const std::optional<int64_t> id = as_integer(item);
    if (!id.has_value() || *id < 0 || *id >= static_cast<int64_t>(limits.n_tokens)) {
      fields.fail_type(key, fmt::format("token ids below {}", limits.n_tokens), item);
      return std::nullopt;
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  if (ids.empty()) fields.fail(key, "expected token ids, found an empty list");
  return Prompt(std::move(ids));
}

}  // namespace

std::vector<Prompt> read_prompts(Fields& fields, std::string_view key,
                                 const RequestLimits& limits) {
  const std::string name(key);
  const simdjson::dom::element* value = fields.find(key);
  std::vector<Prompt> prompts;
  if (value == nullptr) {
    fields.fail(key, "expected a string, token ids, or a list of them, found none");
    return prompts;
  }
  const auto add = [&](const std::string& place, const simdjson::dom::element& item) {
    std::optional<Prompt> prompt = read_prompt(fields, place, item, limits);
    if (prompt.has_value()) prompts.push_back(std::move(*prompt));
    return !fields.failed();
  };
  const bool is_list = value->is_array();
  const simdjson::dom::array list = is_list ? array_of(*value) : simdjson::dom::array();
  if (!is_list || list.size() == 0 || (*list.begin()).is_number()) {
    add(name, *value);
    return prompts;
  }
  if (list.size() > limits.max_prompts) {
    fields.fail(
        key, fmt::format("expected at most {} prompts, found {}", limits.max_prompts, list.size()));
    return prompts;
  }
  for (const simdjson::dom::element item : list) {
    if (!add(fmt::format("{}[{}]", name, prompts.size()), item)) break;
  }
  return prompts;
}

std::optional<int64_t> read_truncation(Fields& fields, const RequestLimits& limits) {
  const auto length = fields.integer("truncate_prompt_tokens", -1, limits.max_length);
  if (length == 0) fields.fail("truncate_prompt_tokens", "expected -1 or at least 1, found 0");
  return length;
}

void read_generation_fields(Fields& fields, const RequestLimits& limits,
                            GenerationRequest& request) {
  if (fields.failed()) return;
  request.model = fields.string("model").value_or("");
  refuse_unsupported(fields);
  read_sampling(fields, limits, request.sampling);
  read_streaming(fields, request.streaming);
  read_response_format(fields, request.format);
  read_structured_outputs(fields, request.format);
  request.max_tokens = fields.integer("max_tokens", 0, INT32_MAX);
  request.n = fields.integer("n", 1, limits.max_choices).value_or(1);
  if (const auto best_of = fields.integer("best_of", 1, limits.max_choices);
      best_of.has_value() && *best_of != request.n) {
    fields.fail("best_of", "not supported; n answers are made and all are returned");
  }
  request.prompt_logprobs = fields.integer("prompt_logprobs", -1, limits.max_logprobs);
  if (request.prompt_logprobs.has_value() && request.streaming.stream) {
    fields.fail("prompt_logprobs", "not available when stream is true");
  }
  request.echo = fields.boolean_or("echo", false);
  request.return_token_ids = fields.boolean_or("return_token_ids", false);
  request.return_tokens_as_token_ids = fields.boolean_or("return_tokens_as_token_ids", false);
  request.truncate_prompt_tokens = read_truncation(fields, limits);
  request.request_id = fields.string("request_id").value_or("");
  request.priority = fields.integer("priority", INT32_MIN, INT32_MAX).value_or(0);
}

}  // namespace lockstep::serve
