// JSON schemas as grammars: type, properties, required, additionalProperties, items, prefixItems,
// minItems, maxItems, minLength, maxLength, enum, const, anyOf, oneOf of distinct types, allOf of
// one, $ref into the document. Annotations are passed over; any other keyword is refused by name,
// since an answer that ignores it would not be valid.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "serve/api_error.h"
#include "serve/grammar.h"

namespace lockstep::serve {

/// Errors have status 400, `param`, and the keyword with its place. Bounded: at most 256 KiB of
/// schema, 20,000 nodes, 64 levels.
///
/// Where a schema leaves `additionalProperties` open and declares properties, only those come; so
/// do xgrammar and OpenAI. Members come in the order of `properties`.
Result<Grammar> grammar_of_schema(const nlohmann::ordered_json& schema, const std::string& param);
/// Any JSON object.
Grammar grammar_of_any_object();
/// One of `texts` as they stand.
Result<Grammar> grammar_of_choices(const std::vector<std::string>& texts, const std::string& param);

}  // namespace lockstep::serve
