#include "port/scaffold.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <numeric>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "lockstep/error.h"
#include "port/port_cases.h"
#include "port/port_folder.h"
#include "port/port_sources.h"
#include "port/reference_structure.h"
#include "port/sdk.h"
#include "port/topics.h"
#include "port/weight_steps.h"
#include "tensor/dtype.h"

namespace lockstep::port {
namespace fs = std::filesystem;
namespace {

bool is_identifier(const std::string& text) {
  const auto is_word = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; };
  return !text.empty() && std::ranges::all_of(text, is_word) &&
         std::isdigit(static_cast<unsigned char>(text[0])) == 0;
}

std::string class_name_of(const ModelFacts& facts, const ScaffoldOptions& options) {
  const std::string name = options.arch_name.empty() ? facts.class_name : options.arch_name;
  if (name.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: architectures: expected a list with a class name, found none",
                            facts.config.file()),
                "name the reference's class with --arch-name");
  }
  if (!is_identifier(name)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("expected the name of a class, found {}", quote_text(name)),
                "name the reference's class with --arch-name");
  }
  return name;
}

std::string slug_of(const ModelFacts& facts, const ScaffoldOptions& options,
                    const std::string& class_name) {
  if (!options.slug.empty()) {
    if (is_identifier(options.slug)) return options.slug;
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("--slug: expected letters, digits and _, found {}", quote_text(options.slug)),
        "it names the folder and what is registered, as my_model");
  }
  std::string slug = facts.model_type.empty() ? stem_of(class_name) : facts.model_type;
  for (char& c : slug) {
    const auto byte = static_cast<unsigned char>(c);
    c = std::isalnum(byte) != 0 ? static_cast<char>(std::tolower(byte)) : '_';
  }
  return is_identifier(slug) ? slug : "port_" + slug;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = std::exchange(row[j + 1], std::min({changed, row[j] + 1, row[j + 1] + 1}));
    }
  }
  return row.back();
}

const LockstepArchitecture& donor_named(const std::string& slug, const Registry& registry) {
  const LockstepArchitecture* nearest = nullptr;
  size_t least = 0;
  for (const Registry::Entry& entry : registry.entries()) {
    if (slug == entry.architecture->slug) return *entry.architecture;
    const size_t distance = edit_distance(slug, entry.architecture->slug);
    if (nearest == nullptr || distance < least) {
      nearest = entry.architecture;
      least = distance;
    }
  }
  throw Error(ErrorCode::kNotFound,
              fmt::format("--start-from: {} is not registered", quote_text(slug)),
              nearest == nullptr
                  ? ""
                  : fmt::format("the nearest name is {}; lockstep list-archs has all, lockstep "
                                "plan MODEL ranks them",
                                nearest->slug));
}

DonorReport report_of(const ModelFacts& facts, const LockstepArchitecture& donor) {
  if (donor.class_name == facts.class_name) return {donor.slug, donor.class_name, {}};
  return compare_donor(facts, donor);
}

// Gives the deltas the reference's lines, where the user has it. Returns why not.
std::string add_places(const ModelFacts& facts, const ScaffoldOptions& options,
                       DonorReport& report) {
  if (report.deltas.empty()) return "";
  try {
    const ReferenceStructure structure =
        ReferenceStructure::compare(facts, {report.class_name}, options.python, options.progress);
    add_reference(report, structure);
    return structure.not_compared.empty() ? "" : structure.not_compared.front();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kCancelled) throw;
    return error.message();
  }
}

// The delta that names `wanted`; where none does, a new one, so that nothing is left unsaid.
int delta_with(DonorReport& report, std::vector<std::string> Delta::*names,
               const std::string& wanted, Delta otherwise) {
  for (const Delta& delta : report.deltas) {
    if (std::ranges::find(delta.*names, wanted) != (delta.*names).end()) return delta.number;
  }
  otherwise.number = report.deltas.empty() ? 1 : report.deltas.back().number + 1;
  otherwise.*names = {wanted};
  report.deltas.push_back(std::move(otherwise));
  return report.deltas.back().number;
}

Delta unforeseen(const char* part, std::string reference, std::string donor, std::string change) {
  Delta delta;
  delta.part = part;
  delta.reference = std::move(reference);
  delta.donor = std::move(donor);
  delta.change = std::move(change);
  return delta;
}

void note_unread_tensors(const Audit& audit, PortPlan& plan) {
  std::set<std::string> seen;
  for (WeightStep& step : plan.weight_steps) {
    step.delta = delta_with(plan.report, &Delta::tensors, step.pattern,
                            unforeseen("weights", "stores it otherwise", "reads " + step.pattern,
                                       "have the reference's parts"));
    for (const WeightStep::Rows& rows : step.parts) seen.insert(rows.stored);
  }
  for (const std::string& name : audit.surplus) {
    const std::string pattern = pattern_of(name);
    if (!seen.insert(pattern).second) continue;
    const int number = delta_with(plan.report, &Delta::tensors, pattern,
                                  unforeseen("weights", "stores " + pattern, "has none of these",
                                             "use them where the reference does"));
    plan.unread_tensors.emplace_back(pattern, number);
  }
}

void note_masks(PortPlan& plan) {
  for (ConfigMask& mask : plan.masks) {
    const std::string& key = mask.other.empty() ? mask.key : mask.other;
    const auto covers = [&](const std::string& other) {
      return other == key || other.starts_with(mask.key + ".");
    };
    const auto at = std::ranges::find_if(plan.report.deltas, [&](const Delta& delta) {
      return std::ranges::any_of(delta.keys, covers);
    });
    mask.delta =
        at != plan.report.deltas.end()
            ? at->number
            : delta_with(plan.report, &Delta::keys, key,
                         unforeseen("config", "has another " + key, "cannot be built with it",
                                    "read it as the reference does"));
  }
}

void note_wrapper(PortPlan& plan) {
  for (const Delta& delta : plan.report.deltas) {
    const bool names_it = std::ranges::find(delta.keys, plan.wrapper_key) != delta.keys.end();
    if (!plan.wrapper_key.empty() && delta.part == "weights" && names_it) {
      plan.unwraps = delta.number;
    }
  }
}

std::string encoding_of(const Checkpoint& headers) {
  std::map<DType, uint64_t> bytes;
  for (const TensorEntry& entry : headers.tensors()) bytes[entry.dtype] += entry.end - entry.begin;
  const auto most =
      std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
  return most == bytes.end() ? "" : std::string(dtype_name(most->first));
}

PortPlan plan_of(const ModelFacts& facts, DonorReport report, const ScaffoldOptions& options,
                 const LockstepArchitecture& donor) {
  const fs::path sdk = find_sdk();
  const Candidate candidate = Candidate::of(facts);
  MaskedTrace traced = trace_with_masks(donor, candidate);
  const std::string class_name = class_name_of(facts, options);
  PortPlan plan{
      .slug = slug_of(facts, options, class_name),
      .class_name = class_name,
      .donor = DonorSource::read(sdk, donor.slug, donor.class_name, donor.base_model_prefix),
      .sdk = sdk_chunks(sdk),
      .report = std::move(report),
      .masks = std::move(traced.masks),
      .unread_tensors = {},
      .weight_steps = {},
      .wrapper_key = candidate.wrapper_key,
      .encoding = encoding_of(candidate.headers)};
  note_masks(plan);
  if (traced.trace) {
    plan.weight_steps = find_weight_steps(traced.trace->audit, candidate.headers);
    note_unread_tensors(traced.trace->audit, plan);
  }
  note_wrapper(plan);
  return plan;
}

// A folder beside the port's, taken away unless the port was moved out of it.
class Workshop {
 public:
  explicit Workshop(const fs::path& output_dir)
      : made_(!fs::exists(output_dir)), parent_(output_dir) {
    fs::create_directories(output_dir);
    std::string pattern = (output_dir / ".scaffold-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) {
      throw Error(ErrorCode::kUnavailable,
                  fmt::format("{}: cannot be written to", output_dir.string()));
    }
    folder_ = pattern;
  }
  ~Workshop() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
    if (made_) fs::remove(parent_, ignored);  // only where it is empty
  }
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;
  const fs::path& folder() const { return folder_; }

 private:
  bool made_;
  fs::path parent_, folder_;
};

void write_file(const fs::path& path, const std::string& text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

// Builds it as it stands, and traces it against config.json and headers.
void try_out(const fs::path& folder, const ModelFacts& facts, Scaffolded& result) {
  BuiltPort built;
  try {
    built = build_port(PortFolder::open(folder));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound) throw;
    result.not_built = error.message();
    return;
  }
  result.seconds = built.seconds;
  Registry registry;
  registry.load_ports(built.library.parent_path());
  try {
    result.audit =
        trace(*registry.find(result.class_name), facts.config, facts.headers(), DType::kFloat32)
            .audit;
  } catch (const Error& error) {
    result.dry_build_fault = error.message();
  }
}

}  // namespace

Scaffolded scaffold(const ModelFacts& facts, const Registry& registry,
                    const ScaffoldOptions& options) {
  const LockstepArchitecture& donor = donor_named(options.start_from, registry);
  const std::string class_name = class_name_of(facts, options);
  const std::string slug = slug_of(facts, options, class_name);
  const fs::path folder = options.output_dir / slug;
  if (fs::exists(fs::symlink_status(folder))) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{}: expected nothing there, found a {}", folder.string(),
                            fs::is_directory(folder) ? "folder" : "file"),
                "name another one with --slug, or another --output-dir");
  }
  Scaffolded result;
  DonorReport report = report_of(facts, donor);
  result.reference_note = add_places(facts, options, report);
  const PortPlan plan = plan_of(facts, std::move(report), options, donor);
  const Sources sources = options.form == ScaffoldOptions::Form::kFullCopy ? copied_sources(plan)
                                                                           : skeleton_sources(plan);
  result.folder = folder;
  result.class_name = class_name;
  result.report = plan.report;
  const Workshop workshop(options.output_dir);
  const fs::path unfinished = workshop.folder() / slug;
  fs::create_directory(unfinished);
  for (const auto& [name, text] : sources) {
    write_file(unfinished / name, text);
    result.files.push_back(name);
  }
  write_deltas(unfinished / "deltas.json", plan.report);
  for (const ConfigMask& mask : plan.masks) result.masked.push_back(mask.key);
  options.progress("compiling");
  try_out(unfinished, facts, result);
  options.progress("making a test case");
  result.no_golden = make_case(unfinished / "tests" / "two_layers", facts.folder, options.python);
  fs::rename(unfinished, folder);
  return result;
}

}  // namespace lockstep::port
