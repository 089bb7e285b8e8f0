// Requests that are nearly right, drawn from bytes: for tests and fuzz targets.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

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

/// A request as it goes over the wire.
struct WireRequest {
  std::string bytes;
  /// Whole by HTTP's rules: an answer must come.
  bool is_framed = true;
  bool is_to_head = false;  // the answer has no body
};

class RequestMutator {
 public:
  using Json = nlohmann::ordered_json;

  explicit RequestMutator(Choices& choices) : choices_(choices) {}

  WireRequest next() {
    const size_t route = choices_.pick(10);
    if (route < 7) return post(route);
    if (choices_.chance(8)) return garbage();
    const std::string path = choices_.one_of(
        {"/v1/models", "/v1/models/m", "/v1/models/%2e%2e/x", "/health", "/metrics", "/version",
         "/", "/v1/health", "/nothing", "/v1//models", "/v1/models?a=b#c", "/%00", "/v1/models/"});
    WireRequest out;
    const std::string method = choices_.one_of(
        {"GET", "GET", "GET", "HEAD", "OPTIONS", "DELETE", "POST", "PUT", "PATCH", "TRACE", "X-Y"});
    out.is_to_head = method == "HEAD";
    out.bytes = method + " " + path + " HTTP/1.1\r\nHost: h\r\n" + odd_header(out);
    if (method == "POST" || method == "PUT") out.bytes += "Content-Length: 0\r\n";
    out.bytes += "\r\n";
    return out;
  }

 private:
  // Bodies that work, with most of the fields there are.
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

  Json odd_value() {
    switch (choices_.pick(18)) {
      case 0:
        return nullptr;
      case 1:
        return true;
      case 2:
        return -1;
      case 3:
        return 0;
      case 4:
        return 1.5;
      case 5:
        return 1e308;
      case 6:
        return INT64_MAX;
      case 7:
        return UINT64_MAX;
      case 8:
        return "";
      case 9:
        return "text";
      case 10:
        return std::string(3000, 'y');
      case 11:
        return Json::array();
      case 12:
        return Json::object();
      case 13:
        return {1, "two", nullptr, {{"k", 3}}};
      case 14:
        return "\xff\xfe raw";
      case 15:
        return std::string("nul\0 and \x01", 10);
      case 16: {
        Json deep = 1;
        for (size_t i = choices_.pick(300); i > 0; --i) deep = Json::array({deep});
        return deep;
      }
      default:
        return Json(std::vector<int>(choices_.pick(2000), 5));
    }
  }

  // Changes one place of `json`, at any depth.
  void mutate(Json& json) {
    if (json.is_structured() && !json.empty() && !choices_.chance(4)) {
      auto at = json.begin();
      std::advance(at, static_cast<std::ptrdiff_t>(choices_.pick(json.size())));
      if (choices_.chance(2)) return mutate(*at);
      switch (choices_.pick(json.is_object() ? 5 : 3)) {
        case 0:
          *at = odd_value();
          return;
        case 1:
          json.erase(at);
          return;
        case 2:
          *at = Json::array({*at});
          return;
        case 3:
          json[choices_.one_of({"x", "", "stream", "n", "echo", "model", "max_tokens", "\xc3",
                                "stop", "$ref", "type"})] = odd_value();
          return;
        default: {
          const Json value = *at;
          const std::string key = at.key() + choices_.one_of({"_", "s", " "});
          json.erase(at);
          json[key] = value;
          return;
        }
      }
    }
    json = odd_value();
  }

  static std::string dump(const Json& json) {
    // Broken UTF-8 must reach the server as it is.
    const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
    std::string out;
    for (size_t at = 0; at < text.size(); ++at) {
      const bool is_replaced = text.compare(at, 3, "\xef\xbf\xbd") == 0;
      out.push_back(is_replaced ? '\xff' : text[at]);
      if (is_replaced) at += 2;
    }
    return out;
  }

  void mutate_text(std::string& text) {
    const size_t at = choices_.pick(text.size() + 1);
    switch (choices_.pick(8)) {
      case 0:
        text.resize(at);
        break;
      case 1:
        if (at < text.size()) text[at] = static_cast<char>(choices_.pick(256));
        break;
      case 2:
        text.insert(at,
                    choices_.one_of({"\\ud800", "\x00", "NaN", ",,", "}", "\xef\xbb\xbf", "/**/"}));
        break;
      case 3:
        text.insert(at, std::string(choices_.pick(3000), '['));
        break;
      case 4:
        text = "\xef\xbb\xbf" + text;
        break;
      case 5:
        text += text;
        break;
      case 6: {
        std::string wide;
        for (const char c : text) wide += {c, '\0'};
        text = wide;
        break;
      }
      default:
        text.insert(0, choices_.pick(200), ' ');
    }
  }

  WireRequest post(size_t route) {
    constexpr const char* kPaths[] = {
        "/v1/completions", "/v1/completions", "/v1/chat/completions", "/v1/chat/completions",
        "/v1/embeddings",  "/tokenize",       "/detokenize"};
    Json json = valid(route);
    for (size_t n = choices_.pick(4); n > 0; --n) mutate(json);
    cut_length(json);
    std::string body = dump(json);
    if (choices_.chance(5)) mutate_text(body);
    WireRequest out;
    const std::string version = choices_.chance(12) ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n";
    out.bytes = std::string("POST ") + kPaths[choices_.chance(16) ? choices_.pick(7) : route] +
                version + "Host: h\r\n";
    if (!choices_.chance(6)) out.bytes += "Content-Type: application/json\r\n";
    if (choices_.chance(4)) out.bytes += odd_header(out);
    add_body(out, body, version == " HTTP/1.0\r\n");
    return out;
  }

  // What would take long, and is no fault: thousands of tokens.
  static void cut_length(Json& json) {
    for (const char* key : {"max_tokens", "max_completion_tokens", "n", "best_of"}) {
      if (!json.is_object() || !json.contains(key) || !json[key].is_number_integer()) continue;
      if (json[key] > 4 && json[key] < 1000) json[key] = 4;
    }
  }

  void add_body(WireRequest& out, const std::string& body, bool is_old) {
    const size_t kind = choices_.pick(24);
    if (kind == 0 && !is_old) {
      out.bytes += "Transfer-Encoding: chunked\r\n\r\n";
      for (size_t at = 0; at < body.size(); at += 50) {
        const std::string part = body.substr(at, 50);
        char size[16];
        std::snprintf(size, sizeof(size), "%zx\r\n", part.size());
        out.bytes += size + part + "\r\n";
      }
      out.bytes += "0\r\n\r\n";
      return;
    }
    size_t length = body.size();
    if (kind == 1) length += 1 + choices_.pick(100);
    if (kind == 2) length = choices_.pick(length + 1);
    out.is_framed &= kind > 3;
    out.bytes += "Content-Length: " + std::to_string(length) + "\r\n";
    if (kind == 3) {
      out.bytes += choices_.one_of({"Content-Length: 7\r\n", "Transfer-Encoding: chunked\r\n",
                                    "Content-Length: -1\r\n", "Transfer-Encoding: gzip\r\n"});
    }
    out.bytes += "\r\n" + body;
  }

  std::string odd_header(WireRequest& out) {
    switch (choices_.pick(14)) {
      case 0:
        return "Content-Type: text/plain\r\n";
      case 1:
        return "content-type: application/json; charset=utf-8\r\n";
      case 2:
        return "Origin: http://x\r\nAccess-Control-Request-Headers: a, b\r\n";
      case 3:
        return "Authorization: Bearer abc\r\n";
      case 4:
        return "X-Request-Id: " + std::string(choices_.pick(300), 'r') + "\r\n";
      case 5:
        return "Expect: 100-continue\r\n";
      case 6:
        return "Connection: close\r\n";
      case 7:
        return "Connection: upgrade\r\nUpgrade: h2c\r\n";
      case 8:
        out.is_framed = false;
        return "X-Long: " + std::string(40'000, 'x') + "\r\n";
      case 9:
        out.is_framed = false;
        return "X-\xff: \xfe\r\n";
      case 10:
        out.is_framed = false;
        return choices_.one_of({"no colon\r\n", ": no name\r\n", "A: \x01\r\n", " folded: x\r\n"});
      case 11:
        return "Accept: text/event-stream\r\n";
      default:
        return "";
    }
  }

  WireRequest garbage() {
    WireRequest out;
    out.is_framed = false;
    out.bytes =
        choices_.one_of({"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x02", "GET\r\n\r\n",
                         "GET / HTTP/9.9\r\n\r\n", "\r\n\r\n\r\n", "POST /v1/completions"});
    for (size_t n = choices_.pick(64); n > 0; --n)
      out.bytes += static_cast<char>(choices_.pick(256));
    return out;
  }

  Choices& choices_;
};

}  // namespace lockstep::serve::test
