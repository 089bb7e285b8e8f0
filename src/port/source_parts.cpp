#include "port/source_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <regex>
#include <set>

namespace lockstep::port {
namespace {

using Why = Substitution::Why;

constexpr size_t kColumns = 100;

bool is_open(const PortPlan& plan, const Delta& delta, const PartNames& parts) {
  return delta.number != plan.unwraps && std::ranges::find(parts, delta.part) != parts.end();
}

// A stranger's text in a comment: on its line, and without the backslash that would join the next.
std::string plain(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
    if (c == '\\') c = '/';
  }
  return text;
}

// "// first: text", continued below the text.
std::string wrapped(const std::string& indent, const std::string& label, const std::string& text) {
  const std::string continued =
      indent + "//" + std::string(label.empty() ? 0 : label.size() + 1, ' ');
  std::string out = indent + (label.empty() ? "//" : "// " + label), line_words;
  size_t column = out.size();
  const std::string said = plain(text);
  for (size_t begin = 0; begin < said.size();) {
    const size_t end = std::min(said.find(' ', begin), said.size());
    const std::string word = said.substr(begin, end - begin);
    begin = end + 1;
    if (word.empty()) continue;
    if (column + 1 + word.size() > kColumns && !line_words.empty()) {
      out += line_words + "\n" + continued;
      column = continued.size();
      line_words.clear();
    }
    line_words += " " + word;
    column += 1 + word.size();
  }
  return out + line_words + "\n";
}

std::string reason_of(const ConfigMask& mask) {
  switch (mask.why) {
    case Why::kRefused:
      return "the donor refuses the value, and takes its own default";
    case Why::kRequired:
      return "the donor requires the key, which config.json lacks";
    case Why::kAlias:
      return fmt::format("config.json calls it {}", mask.other);
    case Why::kDefault:
      return "config.json lacks the key, and the donor's default does not fit the tensors";
    case Why::kAssumed:
      return "config.json lacks the key, whose default in the donor does something unasked";
  }
  return "";
}

// The value that stands in for a key, as an argument.
std::string value_of(const ConfigMask& mask) {
  if (!mask.json) return "";
  const bool is_count = mask.json->find_first_not_of("-0123456789") == std::string::npos;
  if (mask.other.empty() || !is_count) return ", " + cpp_literal(*mask.json);
  return fmt::format(", std::to_string(c.integer({})).c_str()", cpp_literal(mask.other));
}

// drop("pattern", "reason") of a source.
std::set<std::pair<std::string, std::string>> drops_of(const std::string& text) {
  static const std::regex kDrop(R"re(drop\(\s*("[^"]+"),\s*("[^"]+")\))re");
  std::set<std::pair<std::string, std::string>> drops;
  for (std::sregex_iterator at(text.begin(), text.end(), kDrop), none; at != none; ++at) {
    drops.emplace((*at)[1], (*at)[2]);
  }
  return drops;
}

std::set<std::pair<std::string, std::string>> donor_drops(const PortPlan& plan) {
  auto drops = drops_of(plan.donor.model().text);
  for (const Chunk& chunk : plan.donor.family.empty() ? plan.donor.chunks : plan.sdk) {
    const bool is_stack = !plan.donor.family.empty() &&
                          plan.donor.model().text.find(chunk.name + "<") != std::string::npos;
    if (is_stack || plan.donor.family.empty()) drops.merge(drops_of(chunk.text));
  }
  return drops;
}

// What a wrapper's skeleton does itself.
std::string unwrapping_note(const PortPlan& plan) {
  for (const Delta& delta : plan.report.deltas) {
    if (delta.number != plan.unwraps) continue;
    const std::string place =
        delta.where.empty() ? "config.json: " + plan.wrapper_key : delta.where;
    return wrapped("", fmt::format("Delta {} ({}):", delta.number, place),
                   "reads the text part alone, and drops the tensors of the others");
  }
  return "";
}

// A pattern as an expression: "a.*.b" -> "a." + std::to_string(i) + ".b".
std::string expression_of(const std::string& pattern) {
  const size_t at = pattern.find('*');
  if (at == std::string::npos) return cpp_literal(pattern);
  return fmt::format("{} + std::to_string(i) + {}", cpp_literal(pattern.substr(0, at)),
                     cpp_literal(pattern.substr(at + 1)));
}

// The donor's weight made of what is stored, in every layer.
std::string step_code(const WeightStep& step) {
  const bool is_layered = step.pattern.find('*') != std::string::npos;
  std::string out = wrapped("  ", fmt::format("TODO(delta {}):", step.delta),
                            "the donor reads as one what is stored otherwise, or parts of it");
  std::string indent = "  ";
  if (is_layered) {
    out += "  for (int64_t i = 0; i < c.layers(\"num_hidden_layers\", 1); ++i) {\n";
    indent += "  ";
  }
  out += fmt::format("{}b.parameter_of({}, {{{}}},\n{}    {{", indent, expression_of(step.pattern),
                     fmt::join(step.shape, ", "), indent);
  for (const WeightStep::Rows& rows : step.parts) {
    const bool is_first = &rows == &step.parts.front();
    out += fmt::format("{}{{{}", is_first ? "" : fmt::format(",\n{}     ", indent),
                       expression_of(rows.stored));
    if (rows.end != 0) out += fmt::format(", {}, {}", rows.begin, rows.end);
    out += "}";
  }
  return out + "});\n" + (is_layered ? "  }\n" : "");
}

}  // namespace

std::string cpp_literal(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte >= 0x7f || c == '?') {
      out += fmt::format("\\{:03o}", byte);
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string todo_comment(const Delta& delta, const std::string& indent) {
  const std::string place = delta.where.empty() ? "" : fmt::format(" ({})", delta.where);
  return wrapped(indent, fmt::format("TODO(delta {}):", delta.number),
                 fmt::format("{}: {}", delta.part, delta.change)) +
         wrapped(indent, "  reference:", delta.reference + place) +
         wrapped(indent, "  donor:", delta.donor);
}

std::string opening(const PortPlan& plan, const std::string& what, int implemented) {
  const size_t n = plan.report.deltas.size();
  return wrapped("", "", what) + "//\n" +
         fmt::format("// Derived from {} (lockstep/archs/{}.h).\n//\n", plan.donor.class_name,
                     plan.donor.slug) +
         (n == 0             ? std::string("// Deltas: none were found.\n")
          : implemented != 0 ? fmt::format("// Deltas implemented: {}.\n", implemented)
                             : std::string("// Deltas implemented: none yet.\n"));
}

std::string todos(const PortPlan& plan, const PartNames& parts, const std::string& indent) {
  std::string out;
  for (const Delta& delta : plan.report.deltas) {
    if (is_open(plan, delta, parts)) out += todo_comment(delta, indent) + "\n";
  }
  return out;
}

bool has_delta(const PortPlan& plan, const PartNames& parts) {
  return std::ranges::any_of(plan.report.deltas,
                             [&](const Delta& delta) { return is_open(plan, delta, parts); });
}

std::string renamed(const PortPlan& plan, std::string text) {
  std::set<std::string> kept;
  for (const Chunk& chunk : plan.sdk) kept.insert(chunk.name);
  text = with_word(text, plan.donor.class_name, plan.class_name);
  text = with_word(text, plan.donor.slug + "::", plan.space() + "::");
  return with_stem(text, stem_of(plan.donor.class_name), plan.stem(), kept);
}

std::string readable_function(const PortPlan& plan) {
  std::string body;
  for (const ConfigMask& mask : plan.masks) {
    body += wrapped("  ", fmt::format("TODO(delta {}):", mask.delta), reason_of(mask));
    body += fmt::format("  c.replace({}{});\n", cpp_literal(mask.key), value_of(mask));
  }
  return fmt::format(
      "/// config.json as the donor's configuration can read it.\n"
      "inline const Config& readable(const Config& c) {{\n{}  return c;\n}}\n",
      body);
}

std::string weight_adapters(const PortPlan& plan) {
  std::string out = opening(
      plan, fmt::format("How the checkpoint of {} stores what the port reads.", plan.class_name));
  out += fmt::format(
      "#pragma once\n\n#include \"lockstep/lockstep.h\"\n\nnamespace lockstep::{} {{\n\n",
      plan.space());
  out += todos(plan, {"weights"}, "");
  out +=
      "/// Names the stored tensors that are not read, and why. Weights that are stored otherwise "
      "than\n"
      "/// their module says are parameters of parts where they are used (Builder::parameter_of).\n"
      "inline const Scope& weight_steps(const Scope& s, const Config&" +
      std::string(plan.weight_steps.empty() ? "" : " c") + ") {\n  Builder& b = s.builder();\n";
  const auto drops = donor_drops(plan);
  if (!drops.empty()) out += "  // The donor's.\n";
  for (const auto& [pattern, reason] : drops) {
    out += fmt::format("  b.drop({}, {});\n", pattern, reason);
  }
  for (const auto& [pattern, number] : plan.unread_tensors) {
    out += fmt::format(
        "  b.drop({},\n         \"TODO(delta {}): stored, and read by no part of this port\");\n",
        cpp_literal(pattern), number);
  }
  for (const WeightStep& step : plan.weight_steps) out += step_code(step);
  return out + fmt::format("  return s;\n}}\n\n}}  // namespace lockstep::{}\n", plan.space());
}

std::string arch_source(const PortPlan& plan) {
  const bool is_wrapper = !plan.wrapper_key.empty();
  std::string out = opening(plan, fmt::format("{}, registered.", plan.class_name), plan.unwraps);
  for (const char* file : {"model.h", "model_config.h", "weight_adapters.h"}) {
    out += fmt::format("#include \"{}\"\n", file);
  }
  out += fmt::format("\nnamespace lockstep::{} {{\n\n", plan.space());
  if (!plan.encoding.empty()) {
    out += fmt::format("// The checkpoint's weights are {}.\n", plan.encoding);
  }
  out += fmt::format(
      "struct Port : {0} {{\n"
      "  Port(const Scope& s, const Config& c) : {0}(weight_steps(s, c), readable(c)) "
      "{{}}\n}};\n\n",
      plan.class_name);
  std::string model = fmt::format("lockstep::{}::Port", plan.space());
  if (is_wrapper) {
    out += "// Where the text model stands in the checkpoint and in config.json.\n";
    out += unwrapping_note(plan);
    out += "struct Layout : WrapperLayout {\n";
    out += fmt::format("  static constexpr const char* kConfig = {};\n",
                       cpp_literal(plan.wrapper_key));
    out += fmt::format("  static constexpr const char* kTextPrefix = {};\n}};\n",
                       cpp_literal(plan.donor.base_model_prefix));
    out += fmt::format("using Registered = TextBackbone<Port, Layout>;\n\n");
    model = fmt::format("lockstep::{}::Registered", plan.space());
  }
  out += fmt::format("}}  // namespace lockstep::{}\n\n", plan.space());
  return out +
         fmt::format(
             "LOCKSTEP_ARCHITECTURE({}, {}, {},\n                      {})\nLOCKSTEP_PORT({})\n",
             plan.slug, cpp_literal(plan.class_name), cpp_literal(plan.donor.base_model_prefix),
             model, plan.slug);
}

}  // namespace lockstep::port
