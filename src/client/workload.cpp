#include "client/workload.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <random>

#include "base/text.h"

namespace lockstep::client {
namespace {

constexpr std::array<const char*, 64> kWords = {
    "time",    "year",     "people", "way",     "day",    "man",      "thing",   "woman",
    "life",    "child",    "world",  "school",  "state",  "family",   "student", "group",
    "country", "problem",  "hand",   "part",    "place",  "case",     "week",    "company",
    "system",  "question", "work",   "night",   "point",  "home",     "water",   "room",
    "mother",  "area",     "money",  "story",   "fact",   "month",    "lot",     "right",
    "study",   "book",     "eye",    "job",     "word",   "business", "issue",   "side",
    "kind",    "head",     "house",  "service", "friend", "father",   "power",   "hour",
    "game",    "line",     "end",    "member",  "law",    "car",      "city",    "name"};

// Even, and the same everywhere: the library's distributions are not.
int64_t draw(std::mt19937_64& random, int64_t least, int64_t most) {
  const auto n = static_cast<uint64_t>(most - least + 1);
  return least + static_cast<int64_t>(random() % n);
}

int64_t parse_length(const std::string& flag, const std::string& whole, std::string_view text) {
  constexpr int64_t kMost = 10'000'000;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 1 || value > kMost) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: expected N or LEAST:MOST tokens, found {}", flag, quote_text(whole)));
  }
  return value;
}

}  // namespace

LengthRange LengthRange::parse(const std::string& flag, const std::string& text) {
  const size_t colon = text.find(':');
  const std::string_view all = text;
  LengthRange range{parse_length(flag, text, all.substr(0, colon)), 0};
  range.most = colon == text.npos ? range.least : parse_length(flag, text, all.substr(colon + 1));
  if (range.most < range.least) parse_length(flag, text, "");
  return range;
}

std::string LengthRange::text() const {
  return least == most ? fmt::format("{}", least) : fmt::format("{}:{}", least, most);
}

std::vector<LoadRequest> make_requests(const WorkloadOptions& options, size_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<LoadRequest> requests;
  for (size_t i = 0; i < n; ++i) {
    const int64_t length = draw(random, options.prompt_tokens.least, options.prompt_tokens.most);
    LoadRequest request;
    request.max_tokens = draw(random, options.output_tokens.least, options.output_tokens.most);
    if (options.vocabulary.empty()) {
      const auto words =
          std::max<int64_t>(1, std::llround(static_cast<double>(length) / options.tokens_a_word));
      std::string text;
      for (int64_t word = 0; word < words; ++word) {
        text += word == 0 ? "" : " ";
        text += kWords[static_cast<size_t>(draw(random, 0, kWords.size() - 1))];
      }
      request.prompt = std::move(text);
    } else {
      std::vector<int64_t> ids;
      const auto last = static_cast<int64_t>(options.vocabulary.size()) - 1;
      for (int64_t token = 0; token < length; ++token) {
        ids.push_back(options.vocabulary[static_cast<size_t>(draw(random, 0, last))]);
      }
      request.prompt = std::move(ids);
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

}  // namespace lockstep::client
