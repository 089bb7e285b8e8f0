#include "cli/model_options.h"

#include <fmt/format.h>

#include <charconv>
#include <map>

#include "base/log.h"
#include "base/text.h"
#include "lockstep/error.h"
#include "port/load_ports.h"
#include "port/port_state.h"
#include "port/run_record.h"

namespace lockstep::cli {
namespace {

constexpr int kMaxRanks = 64;

}  // namespace

void ModelOptions::add_to(CLI::App& command, const char* name) {
  command
      .add_option(name, model, "folder in Hugging Face layout, or a Hub id (org/name[@revision])")
      ->required();
  command.add_option("--dtype", dtype,
                     "float32 or bfloat16 between modules (default: the model's)");
  command.add_option("--devices", devices, "cpu, or cpu,cpu,... to share the work")
      ->capture_default_str();
  command.add_option("--threads", threads, "threads (default: one per core)")
      ->check(CLI::Range(0, 1024));
  command
      .add_option("--custom-architectures", custom_architectures,
                  "folder of a port, compiled where needed; may be given more than once")
      ->type_name("DIR");
}

Model ModelOptions::open() const {
  std::optional<DType> type;
  if (!dtype.empty()) type = parse_activation_dtype("--dtype", dtype);
  Registry registry;
  std::map<const LockstepArchitecture*, std::string> folders;
  for (const std::string& folder : custom_architectures) {
    port::load_port(registry, folder, [&](const std::string& notice) {
      if (!quiet) log_info(notice);
    });
    folders[registry.entries().front().architecture] = folder;
  }
  Model opened = Model::open(model, registry, type);
  if (const auto port = folders.find(opened.architecture); port != folders.end() && !quiet) {
    const std::string notice = port::gates_notice(port->second, model, opened.files.config,
                                                  opened.files.checkpoint.tensors());
    if (!notice.empty()) log_warn(notice);
  }
  for (const std::string& notice : opened.notices()) {
    if (!quiet) log_info(notice);
  }
  return opened;
}

void ModelOptions::record_run(const std::string& command, const std::string& verdict,
                              const std::string& figures) const {
  for (const std::string& folder : custom_architectures) {
    try {
      port::record_run(folder, {command, model, verdict, figures});
    } catch (const Error& error) {
      log_warn(fmt::format("{}: the run is not recorded: {}", folder, error.message()));
    }
  }
}

int ModelOptions::n_ranks() const {
  int n = 0;
  std::string_view rest = devices;
  for (bool more = true; more; ++n) {
    const size_t comma = rest.find(',');
    const std::string_view device = rest.substr(0, comma);
    if (device != "cpu") {
      throw Error(ErrorCode::kUnimplemented,
                  fmt::format("--devices: expected cpu, found {}", quote_text(device)),
                  "this build runs on CPUs: cpu, or cpu,cpu to share the work");
    }
    more = comma != std::string_view::npos;
    if (more) rest.remove_prefix(comma + 1);
  }
  if (n > kMaxRanks) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("--devices: expected at most {}, found {}", kMaxRanks, n));
  }
  return n;
}

std::unique_ptr<Pipeline> ModelOptions::start(Model opened, PipelineOptions sizes) const {
  sizes.n_ranks = n_ranks();
  sizes.threads = threads;
  sizes.kernels = KernelPolicy::from_environment();
  auto pipeline = std::make_unique<Pipeline>(std::move(opened), sizes);
  for (const std::string& notice : pipeline->notices()) {
    if (!quiet) log_info(notice);
  }
  return pipeline;
}

std::vector<int32_t> parse_ids(const std::string& flag, const std::string& text) {
  std::vector<int32_t> ids;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    std::string_view item(text.data() + begin, end - begin);
    while (item.starts_with(' ')) item.remove_prefix(1);
    while (item.ends_with(' ')) item.remove_suffix(1);
    int32_t id = 0;
    const auto [stop, error] = std::from_chars(item.data(), item.data() + item.size(), id);
    if (error != std::errc{} || stop != item.data() + item.size()) {
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("{}: expected whole numbers separated by commas, found {} at place {}", flag,
                      quote_text(item), ids.size()),
          "for example " + flag + " 591,283,298");
    }
    ids.push_back(id);
    begin = end + 1;
  }
  return ids;
}

}  // namespace lockstep::cli
