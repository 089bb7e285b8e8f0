#include "eval/answers_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "lockstep/error.h"

namespace lockstep::eval {
namespace {

using Json = nlohmann::ordered_json;
constexpr const char* kFormat = "lockstep-answers";
constexpr size_t kMostBytes = size_t{4} << 30;

Json header(const Task& task, const Scorer& scorer) {
  return {{"format", kFormat},
          {"version", 1},
          {"task", task.name},
          {"fingerprint", task.fingerprint},
          {"model", scorer.model()},
          {"shots", task.shots},
          {"computed_by", scorer.version()}};
}

Result result_of(const Json& line) {
  Result result;
  if (line.contains("text")) {
    result.generated = {line.at("text"), line.at("finished"), line.at("cut")};
    return result;
  }
  const Json& logprobs = line.at("logprobs");
  for (size_t i = 0; i < logprobs.size(); ++i) {
    result.choices.push_back(
        {logprobs[i], line.at("greedy").at(i), line.at("tokens").at(i), line.at("cut")});
  }
  return result;
}

}  // namespace

AnswersFile::AnswersFile(std::filesystem::path path, const Task& task, const Scorer& scorer)
    : path_(std::move(path)), kept_(task.items.size()) {
  const bool is_there = std::filesystem::exists(path_);
  if (is_there) {
    read_all(task, scorer);
    std::filesystem::resize_file(path_, n_whole_bytes_);
  }
  out_.open(path_, std::ios::app | std::ios::binary);
  if (!out_) {
    throw Error(ErrorCode::kUnavailable, fmt::format("{}: cannot be written", path_.string()));
  }
  if (n_whole_bytes_ == 0) out_ << header(task, scorer).dump() << '\n' << std::flush;
}

void AnswersFile::read_all(const Task& task, const Scorer& scorer) {
  const std::string text = read_text_file(path_, kMostBytes);
  const Json wanted = header(task, scorer);
  for (size_t begin = 0, line_number = 1;; ++line_number) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;
    const Json line = Json::parse(text.substr(begin, end - begin), nullptr, false);
    const std::string place = fmt::format("{}:{}", path_.string(), line_number);
    if (line_number == 1) {
      if (!line.is_object() || line.value("format", Json()) != kFormat) {
        throw Error(ErrorCode::kInvalidArgument, place + ": expected answers of lockstep eval",
                    "name a new file with --output");
      }
      for (const char* key : {"version", "task", "fingerprint", "model", "shots"}) {
        if (line.value(key, Json()) == wanted[key]) continue;
        throw Error(ErrorCode::kFailedPrecondition,
                    fmt::format("{}: {}: expected {}, found {}", place, key, wanted[key].dump(),
                                line.value(key, Json()).dump()),
                    "these are answers to other questions: name a new file with --output");
      }
    } else {
      try {
        kept_.at(line.at("item").get<size_t>()) = result_of(line);
      } catch (const std::exception&) {
        throw Error(ErrorCode::kInvalidArgument, place + ": expected an answer of lockstep eval",
                    "name a new file with --output");
      }
    }
    begin = n_whole_bytes_ = end + 1;
  }
}

void AnswersFile::add(size_t item, const std::string& id, const Result& result) {
  Json line = {{"item", item}, {"id", id}};
  if (result.choices.empty()) {
    line["text"] = result.generated.text;
    line["finished"] = result.generated.is_finished;
    line["cut"] = result.generated.is_cut;
  } else {
    Json logprobs = Json::array(), greedy = Json::array(), tokens = Json::array();
    bool is_cut = false;
    for (const Loglikelihood& choice : result.choices) {
      logprobs.push_back(choice.logprob);
      greedy.push_back(choice.is_greedy);
      tokens.push_back(choice.n_tokens);
      is_cut = is_cut || choice.is_cut;
    }
    line["logprobs"] = std::move(logprobs);
    line["greedy"] = std::move(greedy);
    line["tokens"] = std::move(tokens);
    line["cut"] = is_cut;
  }
  out_ << line.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n' << std::flush;
  if (!out_) {
    throw Error(ErrorCode::kUnavailable, fmt::format("{}: cannot be written", path_.string()),
                "is the disk full?");
  }
}

}  // namespace lockstep::eval
