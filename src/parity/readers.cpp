// Readers of folders that others wrote: golden recordings, npy folders, npz, safetensors.
#include "parity/readers.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "lockstep/error.h"
#include "parity/anatomy.h"
#include "parity/json_reader.h"
#include "parity/zip_file.h"
#include "tensor/npy.h"
#include "tensor/safetensors.h"
#include "tensor/tensor.h"

namespace lockstep::parity {
namespace fs = std::filesystem;

View without_batch(View view, int keep) {
  while (view.rank > keep && view.shape[0] == 1) {
    std::copy(view.shape.begin() + 1, view.shape.end(), view.shape.begin());
    std::copy(view.stride.begin() + 1, view.stride.end(), view.stride.begin());
    --view.rank;
  }
  return view;
}

View token_major(View view, int64_t n_tokens) {
  if (view.rank == 3 && view.shape[1] == n_tokens && view.shape[0] != n_tokens &&
      view.shape[2] != n_tokens) {
    std::swap(view.shape[0], view.shape[1]);
    std::swap(view.stride[0], view.stride[1]);
  }
  return view;
}

namespace {

void sort_by_guess(std::vector<Tap>& taps) {
  std::vector<std::pair<std::string, size_t>> keys;
  for (size_t i = 0; i < taps.size(); ++i) {
    keys.emplace_back(guessed_order(taps[i].info.path) + fmt::format("#{:04}", taps[i].info.call),
                      i);
  }
  std::sort(keys.begin(), keys.end());
  std::vector<Tap> sorted;
  for (const auto& key : keys) sorted.push_back(std::move(taps[key.second]));
  taps = std::move(sorted);
}

/// "model.rotary_emb#1" -> path and call.
TapInfo parse_tap_name(std::string_view name) {
  TapInfo info;
  const size_t hash = name.rfind('#');
  info.path = name.substr(0, hash);
  if (hash != name.npos) {
    int call = 0;
    for (const char c : name.substr(hash + 1)) {
      if (c < '0' || c > '9' || call > 100000) {
        info.path = name;
        return info;
      }
      call = call * 10 + (c - '0');
    }
    info.call = call;
  }
  return info;
}

Tap make_tap(std::string_view name, const View& view, bool mapped) {
  Tap tap;
  tap.info = parse_tap_name(name);
  tap.view = view;
  tap.mapped = mapped;
  return tap;
}

// ---- golden folders ----

class GoldenReader {
 public:
  GoldenReader(const fs::path& folder, const SafetensorsFile& tensors)
      : json_(folder / "expected.json"), tensors_(tensors) {
    attention_ = json_.text_or(json_.root(), "attention", "eager");
    const auto prompts =
        json_.array(json_.field(json_.root(), "prompt_ids", "golden"), "prompt_ids");
    for (const JsonElement ids : prompts) prompt_ids_.push_back(json_.integers(ids, "prompt_ids"));
    if (const auto texts = json_.optional_field(json_.root(), "prompts")) {
      for (const JsonElement text : json_.array(*texts, "prompts")) {
        std::string_view value;
        if (text.get(value) != simdjson::SUCCESS) json_.fail("prompts", "expected texts");
        texts_.push_back({static_cast<int>(texts_.size()), false, std::string(value)});
      }
    }
    if (const auto ids = json_.optional_field(json_.root(), "long_ids")) {
      long_ids_ = json_.integers(*ids, "long_ids");
    }
  }

  void read(Recording& out) {
    out.architecture = json_.text_or(json_.root(), "architecture", "");
    out.model = json_.text_or(json_.root(), "model_type", "");
    out.prompts = texts_;
    out.producer["name"] = "transformers";
    out.producer["version"] = json_.text_or(json_.root(), "transformers", "");
    simdjson::dom::object runs;
    if (json_.field(json_.root(), "runs", "golden").get(runs) != simdjson::SUCCESS) {
      json_.fail("runs", "expected an object");
    }
    for (const auto& [dtype, element] : runs) {
      if (!dtype_from_name(dtype)) json_.fail("runs", fmt::format("\"{}\" is not a dtype", dtype));
      read_dtype(std::string(dtype), element, out);
    }
  }

 private:
  RunInfo run_info(const std::string& dtype, int prompt, const char* suffix,
                   std::vector<int64_t> ids) const {
    RunInfo info;
    info.id = fmt::format("{}-{}-{}", dtype, attention_, suffix);
    info.dtype = dtype;
    info.attention = attention_;
    info.prompt = prompt;
    info.prompt_ids = std::move(ids);
    return info;
  }

  void add_outputs(const std::string& prefix, Run& run) const {
    const auto n_tokens = static_cast<int64_t>(run.info.prompt_ids.size());
    for (const TensorEntry& entry : tensors_.tensors()) {
      if (entry.name.rfind(prefix, 0) != 0) continue;
      View view = without_batch(tensors_.view(entry), 2);
      run.taps.push_back(make_tap(std::string_view(entry.name).substr(prefix.size()),
                                  token_major(view, n_tokens), true));
    }
    sort_by_guess(run.taps);
  }

  void set_logits(const std::string& name, Run& run) const {
    const TensorEntry* entry = tensors_.find(name);
    if (entry == nullptr) return;
    View view = without_batch(tensors_.view(*entry), 2);
    const auto n_tokens = static_cast<int64_t>(run.info.prompt_ids.size());
    if (view.rank != 2 || view.shape[0] > n_tokens) {
      json_.fail(name, fmt::format("logits {} for {} tokens", to_string(view), n_tokens));
    }
    run.first_logit_row = n_tokens - view.shape[0];
    run.logits = make_tap("logits", view, true);
  }

  void read_dtype(const std::string& dtype, JsonElement element, Recording& out) const {
    for (size_t i = 0; i < prompt_ids_.size(); ++i) {
      const int prompt = static_cast<int>(i);
      Run run;
      run.info = run_info(dtype, prompt, fmt::format("p{}-prefill", i).c_str(), prompt_ids_[i]);
      if (i == 0) add_outputs(dtype + ".out.", run);
      set_logits(fmt::format("{}.logits.{}", dtype, i), run);
      out.runs.push_back(std::move(run));
    }
    const int long_prompt = static_cast<int>(prompt_ids_.size());
    if (!long_ids_.empty()) {
      Run run;
      run.info = run_info(dtype, long_prompt, "long-prefill", long_ids_);
      set_logits(dtype + ".long_logits_last16", run);
      if (run.logits) out.runs.push_back(std::move(run));
      Run start;
      start.info = run_info(
          dtype, long_prompt + 1, "long64-prefill",
          {long_ids_.begin(), long_ids_.begin() + std::min<ptrdiff_t>(64, std::ssize(long_ids_))});
      add_outputs(dtype + ".out64.", start);
      if (!start.taps.empty()) out.runs.push_back(std::move(start));
    }
    add_greedy(dtype, element, out);
  }

  void add_greedy(const std::string& dtype, JsonElement element, Recording& out) const {
    const auto tokens = json_.optional_field(element, "greedy");
    if (!tokens) return;
    std::vector<std::vector<double>> margins;
    if (const auto list = json_.optional_field(element, "greedy_margin")) {
      for (const JsonElement m : json_.array(*list, "greedy_margin")) {
        margins.push_back(json_.numbers(m, "greedy_margin"));
      }
    }
    size_t prompt = 0;
    for (const JsonElement t : json_.array(*tokens, "greedy")) {
      GreedyInfo g{dtype, attention_, static_cast<int>(prompt), json_.integers(t, "greedy"), {}};
      if (prompt < margins.size()) g.margins = margins[prompt];
      out.greedy.push_back(std::move(g));
      ++prompt;
    }
  }

  JsonFile json_;
  const SafetensorsFile& tensors_;
  std::string attention_;
  std::vector<std::vector<int64_t>> prompt_ids_;
  std::vector<int64_t> long_ids_;
  std::vector<PromptText> texts_;
};

// ---- named tensors: npy folder, npz, plain safetensors ----

struct NamedTensors {
  Recording recording;
  Run run;
  std::string file;
  bool bfloat16 = false;

  NamedTensors(const fs::path& path, Layout layout) : file(path.string()) {
    recording.path = path;
    recording.layout = layout;
    recording.ordered = false;
    run.info.id = "only";
  }

  void add_ids(const View& view) {
    if (!run.info.prompt_ids.empty()) return;
    if (is_floating(view.dtype)) {
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("{}: prompt_tokens are {}, expected integers", file, to_string(view)));
    }
    const Tensor plain = Tensor::copy_of(view);
    for (int64_t i = 0; i < view.elements(); ++i) {
      run.info.prompt_ids.push_back(
          static_cast<int64_t>(load_element(plain.view().data, view.dtype, i)));
    }
  }

  void add(std::string_view name, const View& view, bool mapped) {
    if (name == "prompt_tokens" || name == "prompt_ids" || name == "input_ids") {
      add_ids(view);
      return;
    }
    bfloat16 = bfloat16 || view.dtype == DType::kBFloat16;
    if (name == "last_logits" || name == "logits") {
      Tap logits = make_tap("logits", without_batch(view, 2), mapped);
      if (logits.view.rank == 1) {  // [vocab]: one row
        logits.view.shape = {1, view.shape[0]};
        logits.view.stride = {view.shape[0] * view.stride[0], view.stride[0]};
        logits.view.rank = 2;
      }
      if (logits.view.rank != 2) {
        throw Error(ErrorCode::kInvalidArgument,
                    fmt::format("{}: {} are {}, expected [tokens, vocab] or [vocab]", file, name,
                                to_string(view)));
      }
      run.logits = std::move(logits);
      return;
    }
    TapInfo info;
    if (name.size() > 6 && name.substr(name.size() - 6) == ":input") {
      info.role = TapRole::kInput;
      name.remove_suffix(6);
    } else if (name.size() > 7 && name.substr(name.size() - 7) == ":output") {
      name.remove_suffix(7);
    }
    Tap tap = make_tap(name, without_batch(view, 2), mapped);
    tap.info.role = info.role;
    run.taps.push_back(std::move(tap));
  }

  Recording finish(std::shared_ptr<void> storage) {
    const auto n_tokens = static_cast<int64_t>(run.info.prompt_ids.size());
    for (Tap& tap : run.taps) tap.view = token_major(tap.view, n_tokens);
    sort_by_guess(run.taps);
    if (run.logits)
      run.first_logit_row = std::max<int64_t>(0, n_tokens - run.logits->view.shape[0]);
    // Whether float32 files hold float32 or widened bfloat16 shows only in the values.
    run.info.dtype = bfloat16 ? "bfloat16" : "";
    recording.notes.push_back(fmt::format("{}: {} files do not say dtype, device or order", file,
                                          layout_name(recording.layout)));
    recording.runs.push_back(std::move(run));
    recording.storage = std::move(storage);
    return std::move(recording);
  }
};

}  // namespace

Recording read_golden(const fs::path& folder) {
  Recording out;
  out.path = folder;
  out.layout = Layout::kGolden;
  out.ordered = false;
  auto tensors =
      std::make_shared<SafetensorsFile>(SafetensorsFile::open(folder / "golden.safetensors"));
  GoldenReader(folder, *tensors).read(out);
  std::error_code ec;
  const fs::path config = fs::absolute(folder, ec).parent_path() / "config.json";
  if (fs::exists(config, ec)) {
    const JsonFile json(config);
    out.n_layers = config_layers(json.root());
    out.has_experts = config_has_experts(json.root());
  }
  out.storage = std::move(tensors);
  return out;
}

Recording read_npy_folder(const fs::path& folder) {
  NamedTensors named(folder, Layout::kNpy);
  auto tensors = std::make_shared<std::vector<Tensor>>();
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".npy") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    tensors->push_back(read_npy(file));
    named.add(file.stem().string(), tensors->back().view(), false);
  }
  return named.finish(std::move(tensors));
}

Recording read_npz(const fs::path& file) {
  NamedTensors named(file, Layout::kNpz);
  auto tensors = std::make_shared<std::vector<Tensor>>();
  const MappedFile map = MappedFile::open(file);
  for (const ZipMember& member : read_zip_directory(map.bytes(), file.string())) {
    std::string name = member.name;
    if (name.size() < 4 || name.substr(name.size() - 4) != ".npy") continue;
    const std::string where = file.string() + "/" + name;
    if (member.deflated) {
      tensors->push_back(parse_npy(inflate_member(member, file.string()), where));
    } else {
      tensors->push_back(parse_npy(member.bytes, where));
    }
    name.resize(name.size() - 4);
    named.add(name, tensors->back().view(), false);
  }
  return named.finish(std::move(tensors));
}

Recording read_plain_safetensors(const fs::path& file) {
  NamedTensors named(file, Layout::kSafetensors);
  auto tensors = std::make_shared<SafetensorsFile>(SafetensorsFile::open(file));
  for (const TensorEntry& entry : tensors->tensors()) {
    named.add(entry.name, tensors->view(entry), true);
  }
  return named.finish(std::move(tensors));
}

}  // namespace lockstep::parity
