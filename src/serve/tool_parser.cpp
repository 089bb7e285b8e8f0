#include "serve/tool_parser.h"

#include <algorithm>

#include "serve/api_error.h"

namespace lockstep::serve {
namespace {

constexpr std::string_view kOpen = "<tool_call>", kClose = "</tool_call>";
constexpr std::string_view kSpaces = " \t\r\n";

// How many bytes at the end of `text` may begin `tag`.
size_t partial_tag(std::string_view text, std::string_view tag) {
  for (size_t n = std::min(text.size(), tag.size() - 1); n > 0; --n) {
    if (text.ends_with(tag.substr(0, n))) return n;
  }
  return 0;
}

std::string new_call_id() { return "call_" + random_id().substr(0, 24); }

bool is_blank(std::string_view text) { return text.find_first_not_of(kSpaces) == text.npos; }

}  // namespace

ToolStyle find_tool_style(std::string_view with_tools, std::string_view without_tools) {
  if (with_tools == without_tools) return ToolStyle::kNone;
  if (with_tools.find(kOpen) != with_tools.npos) return ToolStyle::kTagged;
  const bool names_parameters = with_tools.find("\"parameters\":") != with_tools.npos &&
                                with_tools.find("{\"name\": function name") != with_tools.npos;
  return names_parameters ? ToolStyle::kBare : ToolStyle::kNone;
}

bool ToolParser::take_call(std::string_view json, Delta& delta) {
  const Json call = Json::parse(json, nullptr, false);
  if (!call.is_object() || !call.contains("name") || !call["name"].is_string()) return false;
  const char* key = call.contains("arguments") ? "arguments" : "parameters";
  Json arguments = call.contains(key) ? call[key] : Json::object();
  ToolCall taken{new_call_id(), call["name"].get<std::string>(), ""};
  taken.arguments = arguments.is_string() ? arguments.get<std::string>() : dump_json(arguments);
  delta.calls.push_back(std::move(taken));
  ++n_calls_;
  return true;
}

void ToolParser::take_tagged(Delta& delta) {
  for (;;) {
    const size_t open = waiting_.find(kOpen);
    if (open == waiting_.npos) {
      // Between calls there is nothing but space, which is no text.
      if (n_calls_ > 0 && is_blank(waiting_)) return;
      const size_t held = partial_tag(waiting_, kOpen);
      const size_t settled = waiting_.size() - held;
      // The space before a call is not text either, once the call is there.
      const size_t end = std::string_view(waiting_).substr(0, settled).find_last_not_of(kSpaces);
      const size_t n = end == waiting_.npos ? 0 : end + 1;
      delta.text.append(waiting_, 0, n);
      waiting_.erase(0, n);
      return;
    }
    const size_t begin = open + kOpen.size();
    const size_t close = waiting_.find(kClose, begin);
    if (close == waiting_.npos) return;
    const size_t end = close + kClose.size();
    const std::string_view all = waiting_;
    if (take_call(all.substr(begin, close - begin), delta)) {
      delta.text += all.substr(0, all.substr(0, open).find_last_not_of(kSpaces) + 1);
    } else {
      delta.text += all.substr(0, end);
    }
    waiting_.erase(0, end);
  }
}

ToolParser::Delta ToolParser::push(std::string_view text) {
  Delta delta;
  waiting_ += text;
  if (style_ == ToolStyle::kTagged) {
    take_tagged(delta);
  } else if (style_ == ToolStyle::kNone) {
    delta.text = std::exchange(waiting_, {});
  } else if (style_ == ToolStyle::kBare) {
    // A call is the whole answer or none of it.
    const size_t first = waiting_.find_first_not_of(kSpaces);
    if (first != waiting_.npos && waiting_[first] != '{') {
      style_ = ToolStyle::kNone;
      delta.text = std::exchange(waiting_, {});
    }
  }
  return delta;
}

ToolParser::Delta ToolParser::finish() {
  Delta delta;
  bool is_call = style_ == ToolStyle::kBare && take_call(waiting_, delta);
  if (style_ == ToolStyle::kArguments) {
    delta.calls.push_back({new_call_id(), name_, waiting_});
    ++n_calls_;
    is_call = true;
  }
  if (!is_call && !(n_calls_ > 0 && is_blank(waiting_))) delta.text = waiting_;
  waiting_.clear();
  return delta;
}

}  // namespace lockstep::serve
