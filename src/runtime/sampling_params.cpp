#include "runtime/sampling_params.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "lockstep/error.h"

namespace lockstep {
namespace {

using Problem = std::optional<InvalidParameter>;

Problem expect(bool holds, const char* parameter, std::string_view expected, const auto& found) {
  if (holds) return std::nullopt;
  return InvalidParameter{parameter, fmt::format("expected {}, found {}", expected, found)};
}

Problem check_ids(const char* parameter, std::span<const int32_t> ids, int64_t vocab_size) {
  for (const int32_t id : ids) {
    Problem problem = expect(id >= 0 && id < vocab_size, parameter,
                             fmt::format("ids from 0 to {}", vocab_size - 1), id);
    if (problem) return problem;
  }
  return std::nullopt;
}

Problem check_numbers(const SamplingParams& p) {
  const auto within = [](double x, double least, double most) { return x >= least && x <= most; };
  const Problem problems[] = {
      expect(p.temperature >= 0 && std::isfinite(p.temperature), "temperature",
             "a number of at least 0", p.temperature),
      expect(p.top_p > 0 && p.top_p <= 1, "top_p", "above 0 and at most 1", p.top_p),
      expect(p.top_k >= -1, "top_k", "-1, 0 or more", p.top_k),
      expect(within(p.min_p, 0, 1), "min_p", "0 to 1", p.min_p),
      expect(p.repetition_penalty > 0 && std::isfinite(p.repetition_penalty), "repetition_penalty",
             "above 0", p.repetition_penalty),
      expect(within(p.presence_penalty, -2, 2), "presence_penalty", "-2 to 2", p.presence_penalty),
      expect(within(p.frequency_penalty, -2, 2), "frequency_penalty", "-2 to 2",
             p.frequency_penalty),
      expect(p.max_tokens >= 0, "max_tokens", "0 or more", p.max_tokens),
      expect(p.min_tokens >= 0, "min_tokens", "0 or more", p.min_tokens),
      expect(p.min_tokens <= p.max_tokens, "min_tokens",
             fmt::format("at most max_tokens ({})", p.max_tokens), p.min_tokens)};
  const auto first = std::ranges::find_if(problems, &Problem::has_value);
  return first == std::end(problems) ? std::nullopt : *first;
}

Problem check_count(const char* parameter, std::optional<int64_t> n, int64_t vocab_size,
                    int64_t most) {
  if (!n) return std::nullopt;
  Problem problem = expect(*n >= -1, parameter, "-1, 0 or more", *n);
  if (problem || most < 0) return problem;
  const int64_t wanted = *n < 0 ? vocab_size : *n;
  return expect(wanted <= most, parameter, fmt::format("at most {}", most), *n);
}

Problem check_lists(const SamplingParams& p, int64_t vocab_size) {
  for (const auto& [id, bias] : p.logit_bias) {
    if (Problem problem = check_ids("logit_bias", {&id, 1}, vocab_size)) return problem;
    Problem problem = expect(bias >= -100 && bias <= 100, "logit_bias", "-100 to 100", bias);
    if (problem) return problem;
  }
  for (const std::vector<int32_t>& word : p.bad_words) {
    if (Problem problem = expect(!word.empty(), "bad_words", "at least one token each", "none")) {
      return problem;
    }
    if (Problem problem = check_ids("bad_words", word, vocab_size)) return problem;
  }
  if (p.allowed_token_ids) {
    if (Problem problem =
            expect(!p.allowed_token_ids->empty(), "allowed_token_ids", "at least one id", "none")) {
      return problem;
    }
    if (Problem problem = check_ids("allowed_token_ids", *p.allowed_token_ids, vocab_size)) {
      return problem;
    }
  }
  return check_ids("stop_token_ids", p.stop_token_ids, vocab_size);
}

// Absent or null: `otherwise`.
double number_or(const ConfigFile& config, const char* key, double otherwise) {
  const ConfigFile::Kind kind = config.kind(key);
  if (kind == ConfigFile::Kind::kAbsent || kind == ConfigFile::Kind::kNull) return otherwise;
  return config.get_number(key);
}

std::vector<int32_t> end_tokens(const ConfigFile& config) {
  const auto narrow = [&](const std::string& key) {
    const int64_t id = config.get_int(key);
    if (id < 0 || id > INT32_MAX) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("{}: {}: expected a token id, found {}", config.file(), key, id));
    }
    return static_cast<int32_t>(id);
  };
  const ConfigFile::Kind kind = config.kind("eos_token_id");
  std::vector<int32_t> ids;
  if (kind == ConfigFile::Kind::kArray) {
    for (size_t i = 0; i < config.length("eos_token_id"); ++i) {
      ids.push_back(narrow(fmt::format("eos_token_id.{}", i)));
    }
  } else if (kind != ConfigFile::Kind::kAbsent && kind != ConfigFile::Kind::kNull) {
    ids.push_back(narrow("eos_token_id"));
  }
  return ids;
}

void read_params(const ConfigFile& config, GenerationDefaults& defaults) {
  SamplingParams& p = defaults.params;
  const auto read = [&](const char* key, double& value) {
    const double found = number_or(config, key, value);
    if (found != value) {
      defaults.notices.push_back(fmt::format("{} {} (generation_config.json)", key, found));
    }
    value = found;
  };
  double top_k = 0;
  read("temperature", p.temperature);
  read("top_p", p.top_p);
  read("top_k", top_k);
  read("min_p", p.min_p);
  read("repetition_penalty", p.repetition_penalty);
  if (top_k >= -1 && top_k <= INT32_MAX) p.top_k = static_cast<int64_t>(top_k);
  const Problem problem =
      top_k == static_cast<double>(p.top_k)
          ? check_numbers(p)
          : InvalidParameter{"top_k", fmt::format("expected -1, 0 or more, found {}", top_k)};
  if (problem) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: {}: {}", config.file(), problem->parameter, problem->message));
  }
  const double max_new_tokens = number_or(config, "max_new_tokens", 0);
  if (max_new_tokens >= 1) {
    defaults.max_new_tokens = config.get_int("max_new_tokens");
    defaults.notices.push_back(
        fmt::format("max_new_tokens {} (generation_config.json)", *defaults.max_new_tokens));
  }
}

}  // namespace

std::optional<InvalidParameter> check(const SamplingParams& params, int64_t vocab_size,
                                      int64_t max_logprobs) {
  Problem problem = check_numbers(params);
  if (!problem) problem = check_count("logprobs", params.logprobs, vocab_size, max_logprobs);
  if (!problem) {
    problem = check_count("prompt_logprobs", params.prompt_logprobs, vocab_size, max_logprobs);
  }
  if (!problem) problem = check_lists(params, vocab_size);
  return problem;
}

GenerationDefaults read_generation_defaults(const std::filesystem::path& folder,
                                            const ConfigFile& config) {
  GenerationDefaults defaults;
  const std::filesystem::path path = folder / "generation_config.json";
  if (std::filesystem::exists(path)) {
    const ConfigFile file = ConfigFile::load(path);
    read_params(file, defaults);
    defaults.eos_token_ids = end_tokens(file);
  }
  if (defaults.eos_token_ids.empty()) defaults.eos_token_ids = end_tokens(config);
  return defaults;
}

}  // namespace lockstep
