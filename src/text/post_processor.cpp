#include "text/post_processor.h"

#include <fmt/format.h>

#include "base/text.h"
#include "lockstep/error.h"

namespace lockstep::text {
namespace {

constexpr int kMaxDepth = 32;

// ["</s>", 2]
int32_t id_of_pair(const JsonPart& part) {
  const std::vector<JsonPart> pair = part.elements();
  if (pair.size() != 2) part.fail("a token and its id", part.describe());
  static_cast<void>(pair[0].as_string());
  return static_cast<int32_t>(pair[1].as_id());
}

}  // namespace

PostProcessor::PostProcessor(const JsonPart& part) : PostProcessor() { read(part, 0); }

PostProcessor::PostProcessor(std::optional<int32_t> begin, std::optional<int32_t> end) {
  if (begin.has_value()) items_.push_back({*begin});
  items_.push_back({kText});
  if (end.has_value()) items_.push_back({*end});
}

bool PostProcessor::adds_nothing() const noexcept {
  return items_.size() == 1 && items_[0] == Item{kText};
}

void PostProcessor::read(const JsonPart& part, int depth) {
  const std::string type = part.string_or("type", "");
  if (depth > kMaxDepth) part.fail(fmt::format("at most {} nested parts", kMaxDepth), "more");
  if (type == "ByteLevel") return;  // only moves offsets
  if (type == "Sequence") {
    for (const JsonPart& step : part.member("processors").elements()) read(step, depth + 1);
    return;
  }
  const bool is_bert = type == "BertProcessing" || type == "RobertaProcessing";
  if (!is_bert && type != "TemplateProcessing") {
    part.fail_type("a post-processor", {"TemplateProcessing", "ByteLevel", "BertProcessing",
                                        "RobertaProcessing", "Sequence"});
  }
  if (!adds_nothing()) {
    throw Error(
        ErrorCode::kUnimplemented,
        fmt::format("{}: a second post-processor that adds tokens is not supported", part.place()));
  }
  if (is_bert) {
    items_ = {{id_of_pair(part.member("cls"))}, {kText}, {id_of_pair(part.member("sep"))}};
  } else {
    read_template(part);
  }
}

void PostProcessor::read_template(const JsonPart& part) {
  items_.clear();
  const JsonPart specials = part.member("special_tokens");
  for (const JsonPart& piece : part.member("single").elements()) {
    if (const std::optional<JsonPart> sequence = piece.optional("Sequence")) {
      if (sequence->member("id").as_string() != "A") {
        sequence->member("id").fail("A, the only text of a single one",
                                    sequence->member("id").describe());
      }
      items_.push_back({kText});
      continue;
    }
    const JsonPart special = piece.member("SpecialToken");
    items_.emplace_back();
    for (const JsonPart& id :
         specials.member(special.member("id").as_string()).member("ids").elements()) {
      items_.back().push_back(static_cast<int32_t>(id.as_id()));
    }
  }
}

std::vector<int32_t> PostProcessor::apply(std::vector<int32_t> ids, bool add_special_tokens) const {
  if (adds_nothing()) return ids;
  std::vector<int32_t> all;
  all.reserve(ids.size() + 8);
  for (const Item& item : items_) {
    if (item == Item{kText}) {
      all.insert(all.end(), ids.begin(), ids.end());
    } else if (add_special_tokens) {
      all.insert(all.end(), item.begin(), item.end());
    }
  }
  return all;
}

std::vector<int32_t> PostProcessor::prefix() const {
  std::vector<int32_t> ids;
  for (const Item& item : items_) {
    if (item == Item{kText}) break;
    ids.insert(ids.end(), item.begin(), item.end());
  }
  return ids;
}

}  // namespace lockstep::text
