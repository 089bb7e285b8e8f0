#include "port/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <thread>
#include <utility>

#include "base/machine_memory.h"
#include "base/text.h"
#include "hub/hub_repository.h"
#include "lockstep/error.h"
#include "port/donor_trace.h"
#include "port/model_size.h"
#include "port/reference_structure.h"
#include "port/topics.h"

namespace lockstep::port {
namespace {

// Of a device's memory: the rest is for activations, buffers and what else runs there.
constexpr double kShare = 0.6;
// Whose references are compared: a table shows as many.
constexpr size_t kMostCompared = 5;

void check(const PlanRequest& request) {
  const auto refuse = [](const char* flag, const std::string& expected, int64_t found) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected {}, found {}", flag, expected, found));
  };
  if (request.tier < 0 || request.tier > 6) refuse("--tier", "1 to 6", request.tier);
  if (request.context < 1) refuse("--context", "1 token or more", request.context);
  if (request.batch < 1) refuse("--batch", "1 sequence or more", request.batch);
  if (request.devices < 0) refuse("--devices", "1 or more", request.devices);
}

// The type of most parameters.
DType stored_dtype(const TensorList& list) {
  std::map<DType, uint64_t> bytes;
  for (const TensorEntry& entry : list.tensors) bytes[entry.dtype] += entry.end - entry.begin;
  const auto most = std::ranges::max_element(
      bytes, {}, [](const auto& entry) { return entry.second / dtype_size(entry.first); });
  return most == bytes.end() ? DType::kBFloat16 : most->first;
}

DType asked_dtype(const PlanRequest& request, const TensorList& list) {
  if (request.dtype.empty()) return stored_dtype(list);
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat16}) {
    if (request.dtype == dtype_name(dtype)) return dtype;
  }
  throw Error(
      ErrorCode::kInvalidArgument,
      fmt::format("--dtype: expected float32, bfloat16 or float16, found {}", request.dtype));
}

// What a sequence of `context` tokens keeps in the caches that the donor declares.
uint64_t bytes_of_caches(const Graph& graph, int64_t context, size_t element) {
  double bytes = 0;
  for (const CacheInput& cache : graph.caches) {
    double elements = 1;
    for (const Dim& dim : graph.nodes[cache.node].outputs[0].shape.dims()) {
      if (dim.symbol == Symbol::kOne) elements *= static_cast<double>(dim.count);
    }
    const bool is_paged = cache.kind == LOCKSTEP_CACHE_PAGED;
    bytes += is_paged ? elements * static_cast<double>(context * static_cast<int64_t>(element))
                      : elements * 4;
  }
  return static_cast<uint64_t>(bytes);
}

// How far apart two words are: characters to add, to take away or to change.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t corner = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = corner + (a[i - 1] != b[j - 1]);
      corner = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, changed}));
    }
  }
  return row.back();
}

size_t find_donor(const std::vector<DonorReport>& donors, const std::string& slug) {
  const auto at = std::ranges::find(donors, slug, &DonorReport::slug);
  if (at != donors.end()) return static_cast<size_t>(at - donors.begin());
  std::string known;
  std::vector<std::string> slugs;
  for (const DonorReport& donor : donors) slugs.push_back(donor.slug);
  std::ranges::sort(slugs);
  const auto nearest = std::ranges::min_element(
      slugs, {}, [&](const std::string& name) { return distance(name, slug); });
  throw Error(ErrorCode::kNotFound,
              fmt::format("--start-from: expected the slug of a registered architecture, found {}; "
                          "there are {}",
                          quote_text(slug), fmt::join(slugs, ", ")),
              nearest == slugs.end() ? "" : fmt::format("perhaps {}", *nearest));
}

void look_for_siblings(Plan& plan) {
  const std::optional<HubId> id = HubId::parse(plan.model);
  if (!id || std::filesystem::exists(plan.model)) {
    plan.siblings_note = "a folder has no siblings on the Hub";
    return;
  }
  const HubSettings settings = HubSettings::for_model(plan.model);
  if (settings.offline) {
    plan.siblings_note = "offline: quantised siblings were not looked for";
    return;
  }
  const std::atomic<bool> never{false};
  HttpSession session(settings, never);
  const HubRepository repository(settings, *id);
  const std::optional<std::vector<HubHit>> hits = repository.search(session);
  if (!hits) {
    plan.siblings_note = "the Hub did not answer: quantised siblings were not looked for";
    return;
  }
  for (const HubHit& hit : *hits) {
    if (hit.is_private) continue;
    std::string lower = hit.id;
    std::ranges::transform(lower, lower.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    });
    const auto names = [&](const char* scheme) { return lower.find(scheme) != std::string::npos; };
    if (names("fp8") || names("gptq") || names("awq")) plan.siblings.push_back(hit.id);
  }
}

void measure(Plan& plan, const PlanRequest& request, const ModelFacts& facts) {
  const ModelSize size = size_of(facts, ConfigKeys(facts.config.text(), facts.config.file()));
  const DType dtype = asked_dtype(request, facts.tensors);
  plan.parameters = size.parameters;
  plan.dtype = dtype_name(dtype);
  plan.weight_bytes =
      static_cast<uint64_t>(size.parameters * static_cast<double>(dtype_size(dtype)));
  plan.memory = request.memory != 0 ? request.memory : total_memory();
  if (plan.memory == 0) {
    throw Error(ErrorCode::kNotFound, "this system does not say how much memory it has",
                "say it with --memory BYTES");
  }
  plan.context = request.context;
  plan.batch = request.batch;
  plan.has_experts = std::ranges::any_of(facts.tensors.tensors, [](const TensorEntry& entry) {
    return topic_of_tensor(entry.name) == Topic{"experts", "experts"};
  });
  plan.reference_fits =
      devices_for(static_cast<uint64_t>(size.parameters * 4), total_memory()) == 1;
  plan.tier = request.tier != 0 ? request.tier : plan.reference_fits ? 6 : 3;
  plan.hardware = fmt::format(
      "{} on this machine", counted(std::max(1u, std::thread::hardware_concurrency()), "CPU core"));
}

void distribute(Plan& plan, const PlanRequest& request, const ModelFacts& facts,
                const Registry& registry) {
  const LockstepArchitecture* donor = registry.find(plan.chosen().class_name);
  const DonorTrace traced = trace_donor(*donor, Candidate::of(facts));
  plan.knows_cache = traced.trace.has_value();
  if (plan.knows_cache) {
    const size_t element = plan.dtype == dtype_name(DType::kFloat32) ? 4 : 2;
    plan.cache_bytes = bytes_of_caches(traced.trace->graph, plan.context, element) *
                       static_cast<uint64_t>(plan.batch);
  }
  const int needed = devices_for(plan.weight_bytes + plan.cache_bytes, plan.memory);
  plan.devices = request.devices != 0 ? request.devices : needed;
  plan.devices_fit = plan.devices >= needed;
}

void compare_sources(Plan& plan, const PlanRequest& request, const ModelFacts& facts,
                     const std::function<void(const std::string&)>& progress) {
  plan.compared = "config.json and tensor headers alone";
  std::vector<std::string> classes;
  for (size_t i = 0; i < plan.donors.size(); ++i) {
    if (i < kMostCompared || plan.donors[i].slug == request.start_from) {
      classes.push_back(plan.donors[i].class_name);
    }
  }
  try {
    const ReferenceStructure structure =
        ReferenceStructure::compare(facts, classes, request.python, progress);
    plan.not_compared = structure.not_compared;
    for (DonorReport& donor : plan.donors) add_reference(donor, structure);
    if (structure.file.empty()) return;
    rank_again(plan.donors);
    plan.compared =
        fmt::format("config.json, tensor headers and the sources of {}", structure.library);
  } catch (const Error& error) {
    // A Python that was named must do; one that is merely not there is said.
    if (error.code() == ErrorCode::kCancelled || !request.python.empty()) throw;
    plan.not_compared.push_back("the reference's sources: " + error.message());
  }
}

}  // namespace

int devices_for(uint64_t bytes, uint64_t memory) {
  const double devices =
      std::ceil(static_cast<double>(bytes) / (static_cast<double>(memory) * kShare));
  return std::max(1, static_cast<int>(std::min(devices, 1e6)));
}

Plan make_plan(const PlanRequest& request, const Registry& registry,
               const std::function<void(const std::string&)>& progress) {
  check(request);
  ModelFacts facts = ModelFacts::survey(request.model);
  Plan plan;
  plan.model = request.model;
  plan.class_name = facts.class_name;
  if (facts.class_name.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: architectures: expected a list with a class name, found none",
                            facts.config.file()));
  }
  if (const LockstepArchitecture* own = registry.find(facts.class_name)) {
    plan.registered = own->slug;
    return plan;
  }
  progress("looking for walls");
  for (Wall& wall : find_walls(facts, registry)) {
    if (wall.level == Wall::Level::kBlock) plan.walls.push_back(std::move(wall));
  }
  if (plan.is_blocked()) return plan;
  if (facts.tensors.tensors.empty()) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{}: expected tensor headers to compare donors with, found none: {}",
                            request.model, facts.no_tensors),
                "name the folder or the Hub id that has the weights");
  }
  progress("tracing donors");
  plan.donors = rank_donors(facts, registry);
  if (!request.start_from.empty()) find_donor(plan.donors, request.start_from);
  compare_sources(plan, request, facts, progress);
  plan.donor = request.start_from.empty() ? 0 : find_donor(plan.donors, request.start_from);
  for (const std::string& reason : plan.chosen().not_compared) plan.not_compared.push_back(reason);
  measure(plan, request, facts);
  distribute(plan, request, facts, registry);
  look_for_siblings(plan);
  return plan;
}

}  // namespace lockstep::port
