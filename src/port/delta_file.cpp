// deltas.json of a port's folder.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "lockstep/error.h"
#include "port/delta.h"

namespace lockstep::port {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr const char* kFormat = "lockstep-deltas";

// Reads the members of one object, naming file and place in every complaint.
class Reader {
 public:
  Reader(const ordered_json& object, std::string file, std::string place)
      : object_(object), file_(std::move(file)), place_(std::move(place)) {
    if (!object.is_object()) fail("", "an object", object.type_name());
  }

  std::string text(const char* key) const {
    const ordered_json& value = get(key);
    if (!value.is_string()) fail(key, "a string", value.type_name());
    return value;
  }
  int number(const char* key) const {
    const ordered_json& value = get(key);
    if (!value.is_number_integer()) fail(key, "a number", value.type_name());
    return value;
  }
  const ordered_json& list(const char* key) const {
    const ordered_json& value = get(key);
    if (!value.is_array()) fail(key, "a list", value.type_name());
    return value;
  }
  std::vector<std::string> texts(const char* key) const {
    std::vector<std::string> values;
    for (const ordered_json& value : list(key)) {
      if (!value.is_string()) fail(key, "strings", value.type_name());
      values.push_back(value);
    }
    return values;
  }
  [[noreturn]] void fail(const std::string& key, const std::string& expected,
                         const std::string& found) const {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: {}{}: expected {}, found {}", file_, place_, key, expected, found),
                "it is written by lockstep scaffold; scaffold the port anew elsewhere and copy it");
  }

 private:
  const ordered_json& get(const char* key) const {
    const auto at = object_.find(key);
    if (at == object_.end()) fail(key, "a value", "no such key");
    return *at;
  }

  const ordered_json& object_;
  std::string file_, place_;
};

Delta read_delta(const Reader& reader) {
  const std::string kind = reader.text("kind");
  if (kind != "structural" && kind != "cosmetic") {
    reader.fail("kind", "structural or cosmetic", kind);
  }
  return {.number = reader.number("number"),
          .kind = kind == "structural" ? Delta::Kind::kStructural : Delta::Kind::kCosmetic,
          .part = reader.text("part"),
          .reference = reader.text("reference"),
          .donor = reader.text("donor"),
          .change = reader.text("change"),
          .where = reader.text("where"),
          .keys = reader.texts("keys"),
          .tensors = reader.texts("tensors")};
}

}  // namespace

std::string_view delta_kind_name(Delta::Kind kind) {
  return kind == Delta::Kind::kStructural ? "structural" : "cosmetic";
}

ordered_json deltas_json(const std::vector<Delta>& all) {
  ordered_json deltas = ordered_json::array();
  for (const Delta& d : all) {
    deltas.push_back({{"number", d.number},
                      {"kind", delta_kind_name(d.kind)},
                      {"part", d.part},
                      {"reference", d.reference},
                      {"donor", d.donor},
                      {"change", d.change},
                      {"where", d.where},
                      {"keys", d.keys},
                      {"tensors", d.tensors}});
  }
  return deltas;
}

void write_deltas(const fs::path& file, const DonorReport& report) {
  const ordered_json document = {{"format", kFormat},
                                 {"version", 1},
                                 {"slug", report.slug},
                                 {"class_name", report.class_name},
                                 {"deltas", deltas_json(report.deltas)}};
  AtomicFile out(file);
  out.write(document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
  out.commit();
}

DonorReport read_deltas(const fs::path& file) {
  const ordered_json document =
      ordered_json::parse(read_text_file(file), nullptr, /*allow_exceptions=*/false);
  const Reader reader(document, file.string(), "");
  if (reader.text("format") != kFormat) reader.fail("format", kFormat, reader.text("format"));
  if (reader.number("version") != 1) {
    reader.fail("version", "1", std::to_string(reader.number("version")));
  }
  DonorReport report{reader.text("slug"), reader.text("class_name"), {}};
  const ordered_json& deltas = reader.list("deltas");
  for (size_t i = 0; i < deltas.size(); ++i) {
    report.deltas.push_back(
        read_delta(Reader(deltas[i], file.string(), fmt::format("deltas.{}.", i))));
  }
  return report;
}

}  // namespace lockstep::port
