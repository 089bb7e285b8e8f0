#include "text/jinja_filters.h"

#include <fmt/format.h>

#include <unordered_map>

#include "text/jinja_ops.h"
#include "text/jinja_parser.h"
#include "text/jinja_unicode.h"

namespace lockstep::jinja {

const Filter* find_filter(std::string_view name) noexcept {
  static const std::unordered_map<std::string_view, const Filter*> kFilters = [] {
    std::unordered_map<std::string_view, const Filter*> all;
    for (const auto part :
         {text_filters(), number_filters(), sequence_filters(), select_filters()}) {
      for (const Filter& filter : part) all.emplace(filter.name, &filter);
    }
    return all;
  }();
  const auto found = kFilters.find(name);
  return found == kFilters.end() ? nullptr : found->second;
}

bool has_filter(std::string_view name) noexcept { return find_filter(name) != nullptr; }

Value Interpreter::call_filter(std::string_view name, const Value& value,
                               const Arguments& arguments) {
  const Filter* filter = find_filter(name);
  if (filter == nullptr) {
    fail("TemplateRuntimeError", fmt::format("No filter named {} found.", repr_string(name)));
  }
  return filter->function(*this, value, arguments);
}

Value lookup_path(const Value& item, const Value& path, const Value& otherwise) {
  if (path.is(Kind::kNone) || path.is(Kind::kMissing)) return item;
  const bool has_default = !otherwise.is(Kind::kNone) && !otherwise.is(Kind::kMissing);
  const auto step = [&](const Value& value, const Value& key) {
    Value out = get_item(value, key);
    return has_default && out.is(Kind::kUndefined) ? otherwise : out;
  };
  if (!path.is(Kind::kStr)) return step(item, path);
  Value value = item;
  for (std::string_view rest = path.text();;) {
    const size_t dot = rest.find('.');
    const std::string part(rest.substr(0, dot));
    const bool is_number = !part.empty() && part.size() < 18 &&
                           part.find_first_not_of("0123456789") == std::string::npos;
    value = step(value, is_number ? Value::integer(std::stoll(part)) : Value::string(part));
    if (dot == rest.npos) return value;
    rest.remove_prefix(dot + 1);
  }
}

Value ignore_case(const Value& value) {
  return value.is(Kind::kStr) ? Value::string(encode(to_lower(decode(value.text())))) : value;
}

}  // namespace lockstep::jinja
