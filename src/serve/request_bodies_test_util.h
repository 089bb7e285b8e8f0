// Bodies of requests that work, with most of the fields there are: for tests and fuzz targets.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>

namespace lockstep::serve::test {

/// Choices from a fuzzer's bytes, and from numbers seeded by them once they are used up; from such
/// numbers alone where the bytes are but a `seed`.
class Choices {
 public:
  Choices(const uint8_t* data, size_t size, bool seed) : data_(data), left_(seed ? 0 : size) {
    for (size_t i = 0; i < size; ++i) state_ = (state_ ^ data[i]) * 0x100000001b3u;
  }
  /// Below `n`, which is at most 65536.
  size_t pick(size_t n) {
    if (n < 2) return 0;
    uint64_t value = take();
    if (n > 256) value = value << 8 | take();
    return static_cast<size_t>(value % n);
  }
  bool chance(size_t n) { return pick(n) == 0; }
  template <class T = std::string>
  T one_of(std::initializer_list<T> all) {
    return *(all.begin() + pick(all.size()));
  }

 private:
  uint8_t take() {
    if (left_ > 0) {
      --left_;
      return *data_++;
    }
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint8_t>(state_ >> 56);
  }
  const uint8_t* data_;
  size_t left_;
  uint64_t state_ = 0xcbf29ce484222325u;
};

/// Routes 0 and 1 are completions, 2 and 3 chats, then embeddings, /tokenize and /detokenize.
class RequestBodies {
 public:
  using Json = nlohmann::ordered_json;

  explicit RequestBodies(Choices& choices) : choices_(choices) {}

  Json valid(size_t route) {
    Json body;
    switch (route) {
      case 0:
      case 1:
        body = {{"model", "m"}, {"prompt", choices_.one_of({"Once upon", "a", "é 😀", "The end."})}};
        if (choices_.chance(4)) body["prompt"] = {1, 5, 9};
        if (choices_.chance(6)) body["prompt"] = {"one", "two"};
        if (choices_.chance(6)) body["prompt"] = {{1, 2}, {3, 4}};
        if (choices_.chance(4)) body["echo"] = true;
        if (choices_.chance(4)) body["logprobs"] = choices_.pick(4);
        break;
      case 2:
      case 3:
        body = {{"messages", {{{"role", "user"}, {"content", "Hello"}}}}};
        if (choices_.chance(4)) {
          body["messages"].push_back({{"role", "assistant"}, {"content", "Hi"}});
          body["messages"].push_back(
              {{"role", "user"}, {"content", {{{"type", "text"}, {"text", "again"}}}}});
        }
        if (choices_.chance(4)) body["logprobs"] = true, body["top_logprobs"] = choices_.pick(3);
        if (choices_.chance(4)) add_tools(body);
        break;
      case 4:
        body = {{"input", choices_.one_of({"words", "a b c"})}};
        if (choices_.chance(3)) body["encoding_format"] = choices_.one_of({"float", "base64"});
        if (choices_.chance(4)) body["dimensions"] = 8;
        return body;
      case 5:
        return choices_.chance(2) ? Json{{"prompt", "some text"}, {"return_token_strs", true}}
                                  : Json{{"messages", {{{"role", "user"}, {"content", "x"}}}}};
      default:
        return {{"tokens", {1, 20, 300}}};
    }
    add_generation(body);
    return body;
  }

 private:
  void add_generation(Json& body) {
    body["max_tokens"] = 1 + choices_.pick(3);
    if (choices_.chance(3)) body["temperature"] = 0;
    if (choices_.chance(3)) body["stream"] = true;
    if (choices_.chance(6) && body.contains("stream")) {
      body["stream_options"] = {{"include_usage", true}, {"continuous_usage_stats", true}};
    }
    if (choices_.chance(8)) body["n"] = 2;
    if (choices_.chance(8)) body["seed"] = choices_.pick(9);
    if (choices_.chance(8)) body["stop"] = {"a", "e"};
    if (choices_.chance(8)) body["top_p"] = 0.5, body["top_k"] = 3, body["min_p"] = 0.1;
    if (choices_.chance(8)) body["logit_bias"] = {{"5", 3}, {"7", -100}};
    if (choices_.chance(8)) body["bad_words"] = {"the"};
    if (choices_.chance(8)) body["allowed_token_ids"] = {5, 6, 7};
    if (choices_.chance(8)) body["prompt_logprobs"] = 1;
    if (choices_.chance(8)) body["return_token_ids"] = true;
    if (choices_.chance(3)) add_format(body);
  }

  void add_format(Json& body) {
    Json schema = schema_part(0);
    if (choices_.chance(3)) {
      schema = {{"type", "object"}, {"properties", {{"a", schema}, {"b", schema_part(0)}}}};
    }
    switch (choices_.pick(5)) {
      case 0:
        body["response_format"] = {{"type", "json_object"}};
        break;
      case 1:
        body["structured_outputs"] = {{"choice", {"yes", "no"}}};
        break;
      case 2:
        body["structured_outputs"] = {{"json", schema}};
        break;
      default:
        body["response_format"] = {{"type", "json_schema"},
                                   {"json_schema", {{"name", "n"}, {"schema", schema}}}};
    }
  }

  Json schema_part(int depth) {
    switch (choices_.pick(depth < 3 ? 10 : 6)) {
      case 0:
        return {
            {"type", "string"},
            {"pattern", choices_.one_of({"^[a-z]+$", "a|b", "(a*)*", "^(ab){1,3}c?$", "(", "é{2}",
                                         "(a{99}){99}", "\\d+(\\.\\d+)?", "[^\\w]", "a(?=b)"})}};
      case 1:
        return {{"format", choices_.one_of({"date", "email", "ipv6", "uuid", "uri", "nothing"})}};
      case 2:
        return {{"type", choices_.one_of({"integer", "number"})},
                {"minimum", static_cast<int>(choices_.pick(200)) - 100},
                {"exclusiveMaximum", choices_.pick(300)}};
      case 3:
        return {{"type", "integer"}, {"multipleOf", 1 + choices_.pick(20000)}};
      case 4:
        return {{"enum", {"x", 1, nullptr}}};
      case 5:
        return {{"type", choices_.one_of({"boolean", "null", "string", "number"})}};
      case 6:
        return {{"type", "array"}, {"items", schema_part(depth + 1)}, {"maxItems", 3}};
      case 7:
        return {{"anyOf", {schema_part(depth + 1), schema_part(depth + 1)}}};
      case 8:
        return {{"$ref", choices_.one_of({"#", "#/properties/a", "#/$defs/x", "http://x"})}};
      default:
        return {{"type", "object"},
                {"properties", {{"k", schema_part(depth + 1)}}},
                {"minProperties", 1},
                {"additionalProperties", choices_.chance(2)}};
    }
  }

  void add_tools(Json& body) {
    const Json function = {{"name", "f"}, {"parameters", schema_part(0)}};
    body["tools"] = Json::array({{{"type", "function"}, {"function", function}}});
    if (choices_.chance(2)) {
      body["tool_choice"] = {{"type", "function"}, {"function", {{"name", "f"}}}};
    } else {
      body["tool_choice"] = choices_.one_of({"auto", "none", "required"});
    }
  }

  Choices& choices_;
};

}  // namespace lockstep::serve::test
