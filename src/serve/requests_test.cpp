#include "serve/requests.h"

#include <gtest/gtest.h>

namespace lockstep::serve {
namespace {

const RequestLimits kLimits{.n_tokens = 957, .max_length = 1024};

template <class Request>
ApiError error_of(const Result<Request>& result) {
  const ApiError* error = std::get_if<ApiError>(&result);
  return error == nullptr ? ApiError{0, "no error", ""} : *error;
}

struct BadBody {
  const char* body;
  const char* param;
  const char* message;  // part of it
};

TEST(CompletionRequest, SaysWhatIsWrong) {
  const BadBody cases[] = {
      {"", "", "not JSON"},
      {"{", "", "not JSON"},
      {"[]", "", "expected an object, found a list"},
      {"{\"prompt\":\"\xff\"}", "", "not UTF-8: byte 11"},
      {R"({"prompt":"a\ud800"})", "", "not JSON"},
      {R"({})", "prompt", "found none"},
      {R"({"prompt":null})", "prompt", "found none"},
      {R"({"prompt":""})", "prompt", "found none"},
      {R"({"prompt":[]})", "prompt", "empty list"},
      {R"({"prompt":[[]]})", "prompt[0]", "empty list"},
      {R"({"prompt":["a",""]})", "prompt[1]", "found none"},
      {R"({"prompt":["a",3]})", "prompt[1]", "a string or a list"},
      {R"({"prompt":[1,"a"]})", "prompt", "token ids below 957"},
      {R"({"prompt":[957]})", "prompt", "found 957"},
      {R"({"prompt":[-1]})", "prompt", "found -1"},
      {R"({"prompt":{"a":1}})", "prompt", "found an object"},
      {R"({"prompt":"a","model":3})", "model", "expected a string, found 3"},
      {R"({"prompt":"a","max_tokens":-1})", "max_tokens", "found -1"},
      {R"({"prompt":"a","max_tokens":1.5})", "max_tokens", "an integer"},
      {R"({"prompt":"a","max_tokens":"5"})", "max_tokens", "an integer"},
      {R"({"prompt":"a","max_tokens":99999999999})", "max_tokens", "found 99999999999"},
      {R"({"prompt":"a","n":0})", "n", "1 to 128"},
      {R"({"prompt":"a","n":129})", "n", "1 to 128"},
      {R"({"prompt":"a","best_of":2})", "best_of", "not supported"},
      {R"({"prompt":"a","temperature":-0.1})", "temperature", "at least 0"},
      {R"({"prompt":"a","temperature":"hot"})", "temperature", "a number"},
      {R"({"prompt":"a","top_p":0})", "top_p", "more than 0"},
      {R"({"prompt":"a","top_p":1.1})", "top_p", "0 to 1"},
      {R"({"prompt":"a","min_p":2})", "min_p", "0 to 1"},
      {R"({"prompt":"a","top_k":-2})", "top_k", "found -2"},
      {R"({"prompt":"a","presence_penalty":2.5})", "presence_penalty", "-2 to 2"},
      {R"({"prompt":"a","frequency_penalty":-3})", "frequency_penalty", "-2 to 2"},
      {R"({"prompt":"a","repetition_penalty":0})", "repetition_penalty", "more than 0"},
      {R"({"prompt":"a","seed":1e30})", "seed", "an integer"},
      {R"({"prompt":"a","seed":18446744073709551615})", "seed", "an integer"},
      {R"({"prompt":"a","logprobs":-2})", "logprobs", "-1 to 20"},
      {R"({"prompt":"a","logprobs":21})", "logprobs", "-1 to 20"},
      {R"({"prompt":"a","logprobs":true})", "logprobs", "an integer"},
      {R"({"prompt":"a","prompt_logprobs":1,"stream":true})", "prompt_logprobs", "stream"},
      {R"({"prompt":"a","stream":1})", "stream", "true or false"},
      {R"({"prompt":"a","stream_options":{"include_usage":true}})", "stream_options", "stream"},
      {R"({"prompt":"a","stream":true,"stream_options":{"include_usage":2}})",
       "stream_options.include_usage", "true or false"},
      {R"({"prompt":"a","stop":""})", "stop", "empty"},
      {R"({"prompt":"a","stop":["x",1]})", "stop[1]", "a string"},
      {R"({"prompt":"a","stop_token_ids":[957]})", "stop_token_ids[0]", "below 957"},
      {R"({"prompt":"a","allowed_token_ids":[]})", "allowed_token_ids", "at least one"},
      {R"({"prompt":"a","logit_bias":{"x":1}})", "logit_bias", "found \"x\""},
      {R"({"prompt":"a","logit_bias":{"957":1}})", "logit_bias", "below 957"},
      {R"({"prompt":"a","logit_bias":{"1":"x"}})", "logit_bias.1", "a number"},
      {R"({"prompt":"a","suffix":"x"})", "suffix", "not supported"},
      {R"({"prompt":"a","use_beam_search":true})", "use_beam_search", "not supported"},
      {R"({"prompt":"a","min_tokens":17})", "min_tokens", "at most max_tokens, 16"},
      {R"({"prompt":"a","truncate_prompt_tokens":0})", "truncate_prompt_tokens", "found 0"},
      {R"({"prompt":"a","response_format":{"type":"xml"}})", "response_format.type", "\"xml\""},
      {R"({"prompt":"a","response_format":{"type":"json_schema"}})", "response_format.json_schema",
       "found none"},
      {R"({"prompt":"a","response_format":{"type":"json_schema","json_schema":{}}})",
       "response_format.json_schema.schema", "found none"},
      {R"({"prompt":"a","structured_outputs":{"regex":"a+"}})", "structured_outputs.regex",
       "not supported"},
  };
  for (const BadBody& bad : cases) {
    const ApiError error = error_of(parse_completion_request(bad.body, kLimits));
    EXPECT_EQ(error.status, 400) << bad.body;
    EXPECT_EQ(error.param, bad.param) << bad.body;
    EXPECT_NE(error.message.find(bad.message), std::string::npos) << bad.body << error.message;
  }
}

TEST(CompletionRequest, TakesEveryKindOfPrompt) {
  const auto prompts = [](const char* body) {
    return std::get<CompletionRequest>(parse_completion_request(body, kLimits)).prompts;
  };
  EXPECT_EQ(prompts(R"({"prompt":"a"})"), (std::vector<Prompt>{"a"}));
  EXPECT_EQ(prompts(R"({"prompt":["a","b"]})"), (std::vector<Prompt>{"a", "b"}));
  EXPECT_EQ(prompts(R"({"prompt":[1,2.0]})"), (std::vector<Prompt>{std::vector<int32_t>{1, 2}}));
  EXPECT_EQ(prompts(R"({"prompt":[[1],[2,3]]})"),
            (std::vector<Prompt>{std::vector<int32_t>{1}, std::vector<int32_t>{2, 3}}));
}

TEST(CompletionRequest, HasTheDefaultsOfVllm) {
  const auto request = std::get<CompletionRequest>(
      parse_completion_request(R"({"prompt":"a","max_tokens":null,"unknown":[1]})", kLimits));
  EXPECT_EQ(request.max_tokens, 16);
  EXPECT_EQ(request.n, 1);
  EXPECT_FALSE(request.streaming.stream);
  EXPECT_FALSE(request.logprobs.has_value());
  EXPECT_TRUE(request.add_special_tokens);
  EXPECT_TRUE(request.sampling.skip_special_tokens);
}

TEST(CompletionRequest, OfEqualNamesTheLastCounts) {
  const auto request = std::get<CompletionRequest>(
      parse_completion_request(R"({"n":2,"prompt":"a","n":3})", kLimits));
  EXPECT_EQ(request.n, 3);
}

TEST(ChatRequest, SaysWhatIsWrong) {
  const BadBody cases[] = {
      {R"({})", "messages", "found none"},
      {R"({"messages":[]})", "messages", "found none"},
      {R"({"messages":"hi"})", "messages", "a list"},
      {R"({"messages":[3]})", "messages[0]", "an object"},
      {R"({"messages":[{}]})", "messages[0].role", "found none"},
      {R"({"messages":[{"role":1,"content":"a"}]})", "messages[0].role", "a string"},
      {R"({"messages":[{"role":"user"}]})", "messages[0].content", "found none"},
      {R"({"messages":[{"role":"user","content":3}]})", "messages[0].content", "found 3"},
      {R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})",
       "messages[0].content[0].type", "only text"},
      {R"({"messages":[{"role":"assistant","tool_calls":[{}]}]})",
       "messages[0].tool_calls[0].function", "found none"},
      {R"({"messages":[{"role":"user","content":"a"}],"top_logprobs":2})", "top_logprobs",
       "logprobs must be true"},
      {R"({"messages":[{"role":"user","content":"a"}],"logprobs":1})", "logprobs", "true or false"},
      {R"({"messages":[{"role":"user","content":"a"}],"tool_choice":"required"})", "tool_choice",
       "tools must be given"},
      {R"({"messages":[{"role":"user","content":"a"}],"tools":[{"type":"function"}]})",
       "tools[0].function", "found none"},
      {R"({"messages":[{"role":"user","content":"a"}],"max_tokens":0})", "max_tokens",
       "at least 1"},
      {R"({"messages":[{"role":"user","content":"a"}],"max_completion_tokens":-4})",
       "max_completion_tokens", "found -4"},
      {R"({"messages":[{"role":"user","content":"a"}],"continue_final_message":true,
          "add_generation_prompt":true})",
       "continue_final_message", "add_generation_prompt"},
      {R"({"messages":[{"role":"user","content":"a"}],"chat_template":"{{x}}"})", "chat_template",
       "not run"},
  };
  for (const BadBody& bad : cases) {
    const ApiError error = error_of(parse_chat_request(bad.body, kLimits));
    EXPECT_EQ(error.status, 400) << bad.body;
    EXPECT_EQ(error.param, bad.param) << bad.body;
    EXPECT_NE(error.message.find(bad.message), std::string::npos) << bad.body << error.message;
  }
}

TEST(ChatRequest, MakesMessagesWhatTemplatesExpect) {
  const auto request = std::get<ChatCompletionRequest>(parse_chat_request(
      R"({"messages":[{"role":"user","content":[{"type":"text","text":"a"},"b"]},
          {"role":"assistant","content":null,"tool_calls":[{"id":"x","type":"function",
           "function":{"name":"f","arguments":"{\"q\": [1]}"}}]},
          {"role":"tool","tool_call_id":"x","content":"r"}],
          "tools":[{"type":"function","function":{"name":"f"}}],"max_tokens":3,
          "max_completion_tokens":9,"logprobs":true,"top_logprobs":2})",
      kLimits));
  EXPECT_EQ(request.messages[0]["content"], "a\nb");
  EXPECT_EQ(request.messages[1]["content"], "");
  EXPECT_EQ(request.messages[1]["tool_calls"][0]["function"]["arguments"]["q"][0], 1);
  EXPECT_EQ(request.messages[2]["tool_call_id"], "x");
  EXPECT_EQ(request.tool_choice.kind, ToolChoice::Kind::kAuto);
  EXPECT_EQ(request.max_tokens, 9);
  EXPECT_EQ(request.logprobs, 2);
}

TEST(OtherRequests, SayWhatIsWrong) {
  EXPECT_EQ(error_of(parse_embeddings_request(R"({})", kLimits)).param, "input");
  EXPECT_EQ(
      error_of(parse_embeddings_request(R"({"input":"a","encoding_format":"x"})", kLimits)).param,
      "encoding_format");
  EXPECT_EQ(error_of(parse_embeddings_request(R"({"input":"a","pooling":"x"})", kLimits)).param,
            "pooling");
  EXPECT_EQ(error_of(parse_tokenize_request(R"({})", kLimits)).param, "prompt");
  EXPECT_EQ(error_of(parse_tokenize_request(R"({"prompt":4})", kLimits)).param, "prompt");
  EXPECT_EQ(error_of(parse_detokenize_request(R"({})", kLimits)).param, "tokens");
  EXPECT_EQ(error_of(parse_detokenize_request(R"({"tokens":[0,957]})", kLimits)).param,
            "tokens[1]");
}

TEST(ApiError, IsOpenAIsObject) {
  EXPECT_EQ(dump_json(ApiError{400, "no", "n"}.json()),
            R"({"error":{"message":"no","type":"BadRequestError","param":"n","code":400}})");
  EXPECT_EQ(dump_json(ApiError{404, "\xff", ""}.json()),
            "{\"error\":{\"message\":\"\xef\xbf\xbd\",\"type\":\"NotFoundError\",\"param\":null,"
            "\"code\":404}}");
}

}  // namespace
}  // namespace lockstep::serve
