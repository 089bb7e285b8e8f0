// Walls of a repository's files: weights, code, tokenizer, size.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/file.h"
#include "base/machine_memory.h"
#include "base/text.h"
#include "lockstep/error.h"
#include "port/model_size.h"
#include "port/wall_check.h"
#include "text/tokenizer.h"

namespace lockstep::port {
namespace {

using Kind = ConfigFile::Kind;
using Level = Wall::Level;

constexpr size_t kMaxCodeBytes = 4u << 20;

bool is_blank(char c) { return c == ' ' || c == '\t'; }

// One import of a kernel package in a Python file.
struct KernelImport {
  std::string file, package;
  size_t line = 0;
  bool is_guarded = false;  // indented: within try, if or a function
};

// The package that a line of Python imports, if it does.
std::string imported_package(std::string_view line) {
  while (!line.empty() && is_blank(line.front())) line.remove_prefix(1);
  for (const std::string_view word : {"import ", "from "}) {
    if (!line.starts_with(word)) continue;
    line.remove_prefix(word.size());
    while (!line.empty() && is_blank(line.front())) line.remove_prefix(1);
    return std::string(line.substr(0, line.find_first_of(" .,;\t\r#")));
  }
  return "";
}

bool is_kernel_package(const std::string& package) {
  constexpr std::array kPackages = {"flash_attn",
                                    "flash_attn_interface",
                                    "mamba_ssm",
                                    "causal_conv1d",
                                    "triton",
                                    "deep_gemm",
                                    "xformers",
                                    "flash_mla",
                                    "fla",
                                    "tilelang",
                                    "apex",
                                    "flashinfer",
                                    "vllm",
                                    "transformer_engine",
                                    "bitsandbytes",
                                    "kernels",
                                    "liger_kernel",
                                    "megablocks",
                                    "grouped_gemm",
                                    "selective_scan_cuda",
                                    "causal_conv1d_cuda",
                                    "fast_hadamard_transform",
                                    "deep_ep",
                                    "cutlass",
                                    "cuda",
                                    "pycuda",
                                    "cupy"};
  return std::ranges::find(kPackages, package) != kPackages.end();
}

std::vector<KernelImport> kernel_imports(const WallContext& context) {
  std::vector<KernelImport> found;
  for (const std::string& name : context.files_ending({".py"})) {
    if (name.find('/') != std::string::npos) continue;
    std::string code;
    try {
      code = read_text_file(context.facts.folder / name, kMaxCodeBytes);
    } catch (const Error&) {
      continue;  // Not fetched, or no text: check_custom_code names it.
    }
    size_t line_number = 0;
    for (size_t begin = 0; begin < code.size();) {
      const size_t end = std::min(code.find('\n', begin), code.size());
      const std::string_view line(code.data() + begin, end - begin);
      ++line_number;
      begin = end + 1;
      const std::string package = imported_package(line);
      if (is_kernel_package(package)) {
        found.push_back({name, package, line_number, is_blank(line.front())});
      }
    }
  }
  return found;
}

// "AutoModelForCausalLM: modeling_x.XForCausalLM", what auto_map or tokenizer_config.json names.
std::string shown_members(const JsonNode& node) {
  std::vector<std::string> parts;
  for (const JsonMember& member : node.members) {
    parts.push_back(member.first + ": " + shown_value(*member.second));
  }
  return listed(parts, 2);
}

bool names_code(const ConfigKey* key) {
  return key != nullptr && key->node->kind != Kind::kNull &&
         (key->is_set() || key->node->kind == Kind::kBool);
}

std::optional<ConfigKeys> tokenizer_settings(const WallContext& context) {
  if (!context.has_file("tokenizer_config.json")) return std::nullopt;
  try {
    const std::string path = (context.facts.folder / "tokenizer_config.json").string();
    return ConfigKeys(read_text_file(path), path);
  } catch (const Error&) {
    return std::nullopt;  // Tokenizer::open says why.
  }
}

// Classes of transformers whose tokenizer.json says all that they do.
bool is_known_tokenizer(std::string name) {
  constexpr std::array kClasses = {"PreTrainedTokenizer",
                                   "Llama",
                                   "CodeLlama",
                                   "GPT2",
                                   "Qwen2",
                                   "Gemma",
                                   "Cohere",
                                   "Cohere2",
                                   "Bloom",
                                   "GPTNeoX",
                                   "T5",
                                   "XLMRoberta",
                                   "Bert",
                                   "Roberta",
                                   "Whisper",
                                   "CodeGen",
                                   "OPT",
                                   "Albert",
                                   "Bart",
                                   "MBart",
                                   "BigBird",
                                   "Camembert",
                                   "DeBerta",
                                   "DebertaV2",
                                   "DistilBert",
                                   "Electra",
                                   "FNet",
                                   "Funnel",
                                   "LED",
                                   "Longformer",
                                   "MPNet",
                                   "NllB",
                                   "Nllb",
                                   "Pegasus",
                                   "Reformer",
                                   "RemBert",
                                   "Seamless",
                                   "Splinter",
                                   "XGLM",
                                   "XLNet",
                                   "Mistral",
                                   "MistralCommon",
                                   "Tokenizers",
                                   "Olmo",
                                   "GPTNeoXJapanese",
                                   "Barthez",
                                   "CLIP",
                                   "LayoutLM"};
  for (const std::string_view end : {"TokenizerFast", "Tokenizer", "Backend"}) {
    if (name.ends_with(end) && name.size() > end.size()) {
      name.erase(name.size() - end.size());
      break;
    }
  }
  return name == "PreTrained" || std::ranges::find(kClasses, name) != kClasses.end();
}

const char* kTokenizerWayOut =
    "write a tokenizer.json: AutoTokenizer.from_pretrained(MODEL).save_pretrained(folder); until "
    "then give token ids (--prompt-ids)";

}  // namespace

void check_weights_format(const WallContext& context, Walls& walls) {
  const std::string& reason = context.facts.no_tensors;
  if (reason.empty() || context.has_file("model_index.json")) return;
  const std::vector<std::string> others =
      context.files_ending({".bin", ".pt", ".pth", ".ckpt", ".gguf", ".ggml", ".h5", ".msgpack",
                            ".onnx", ".npz", ".nemo", ".tar"});
  const std::vector<std::string> safetensors = context.files_ending({".safetensors"});
  if (!safetensors.empty() || context.has_file("model.safetensors.index.json")) {
    walls.push_back({Level::kBlock, "weights_format",
                     "there are safetensors, but not as transformers loads them",
                     safetensors.empty() ? "file model.safetensors.index.json: " + reason : reason,
                     "give the files the names of model.safetensors.index.json, all of them; or "
                     "save the model again with transformers"});
  } else if (!others.empty()) {
    walls.push_back({Level::kBlock, "weights_format",
                     "the weights are in a format that is not read: safetensors alone are",
                     "file " + listed(others),
                     "convert them with transformers: from_pretrained(MODEL), then "
                     "save_pretrained(folder)"});
  } else {
    walls.push_back({Level::kWarn, "weights_format",
                     "there are no weights here: config.json alone was looked at", reason,
                     "name the folder, or the repository, that has them"});
  }
}

void check_custom_code(const WallContext& context, Walls& walls) {
  const ConfigKey* key = context.keys.at("auto_map");
  std::vector<std::string> code;
  for (const std::string& name : context.files_ending({".py"})) {
    if (name.starts_with("modeling_") || name.starts_with("model") ||
        name.starts_with("configuration_")) {
      code.push_back(name);
    }
  }
  if (!names_code(key) && code.empty()) return;
  std::string evidence;
  if (names_code(key)) {
    evidence = "auto_map = " + (key->node->kind == Kind::kObject ? shown_members(*key->node)
                                                                 : shown_value(*key->node));
  }
  if (!code.empty()) evidence += (evidence.empty() ? "file " : "; file ") + listed(code);
  walls.push_back(
      {Level::kWarn, "custom_code",
       context.architecture != nullptr
           ? "the repository brings its own code; the registered architecture is that of "
             "transformers' own class"
           : "the reference is the repository's own code, which changes without a version",
       evidence,
       context.architecture != nullptr
           ? "record the reference both with and without --trust-remote-code: they may differ"
           : "read that code, pin the revision (org/name@commit), record the reference with "
             "--trust-remote-code"});
}

void check_kernel_imports(const WallContext& context, Walls& walls) {
  const std::vector<KernelImport> imports = kernel_imports(context);
  if (imports.empty()) return;
  const auto unguarded = std::ranges::find(imports, false, &KernelImport::is_guarded);
  const bool is_needed = unguarded != imports.end() && context.architecture == nullptr;
  const KernelImport& shown = unguarded != imports.end() ? *unguarded : imports.front();
  walls.push_back(
      {is_needed ? Level::kBlock : Level::kWarn, "custom_kernel_import",
       is_needed ? fmt::format("the code needs {}: without it the reference does not run",
                               quote_text(shown.package))
                 : fmt::format("the code can use {}: the reference may compute otherwise with it",
                               quote_text(shown.package)),
       fmt::format("{}:{} imports {}", shown.file, shown.line, shown.package),
       is_needed ? "record the reference where that package runs, and find the formula that the "
                   "kernel computes; or a class of transformers that computes the same"
                 : "record the reference with eager attention and without the package"});
}

void check_tokenizer(const WallContext& context, Walls& walls) {
  const std::optional<ConfigKeys> settings = tokenizer_settings(context);
  const ConfigKey* class_key = settings ? settings->at("tokenizer_class") : nullptr;
  if (class_key == nullptr || !class_key->is_set()) class_key = context.keys.at("tokenizer_class");
  std::string class_name =
      class_key != nullptr && class_key->node->kind == Kind::kString ? class_key->node->text : "";
  const ConfigKey* code = settings ? settings->at("auto_map.AutoTokenizer") : nullptr;
  if (code == nullptr) code = context.keys.at("auto_map.AutoTokenizer");
  const std::string evidence = names_code(code) ? code->shown()
                               : class_name.empty()
                                   ? ""
                                   : fmt::format("tokenizer_class = {}", quote_text(class_name));
  const std::vector<std::string> files =
      context.files_ending({"tokenizer.json", ".model", ".tiktoken", "vocab.json", "merges.txt",
                            "vocab.txt", "tokenizer_config.json", ".spm", "tekken.json"});
  const bool is_odd = names_code(code) || (!class_name.empty() && !is_known_tokenizer(class_name));
  try {
    (void)text::Tokenizer::open(context.facts.folder);
  } catch (const Error& error) {
    const bool has_files = !files.empty() || is_odd;
    walls.push_back({has_files ? Level::kBlock : Level::kWarn, "tokenizer_class",
                     has_files ? "its tokenizer cannot be loaded"
                               : "there is no tokenizer here: it runs on token ids alone",
                     evidence.empty() ? error.message() : evidence + "; " + error.message(),
                     kTokenizerWayOut});
    return;
  }
  if (!is_odd) return;
  walls.push_back({Level::kWarn, "tokenizer_class",
                   "the tokenizer is of a class of its own; what is read here is its file alone",
                   evidence, "compare ids: `lockstep tokenize MODEL` against AutoTokenizer"});
}

void check_size(const WallContext& context, Walls& walls) {
  const ModelSize size = size_of(context.facts, context.keys);
  const uint64_t memory = total_memory();
  // As much as a plan leaves to weights (plan): the rest is for caches and activations.
  const double room = 0.6 * static_cast<double>(memory);
  if (memory == 0 || static_cast<double>(size.bytes) <= room) return;
  const double gb = 1e9;
  walls.push_back(
      {Level::kWarn, "very_large",
       fmt::format("its weights take {:.1f} GB, this machine has {:.1f} GB of memory",
                   static_cast<double>(size.bytes) / gb, static_cast<double>(memory) / gb),
       size.evidence,
       "port and verify with a few layers (`lockstep reference --layers 0:2`); "
       "`lockstep plan MODEL --memory BYTES` says what all of it needs"});
}

}  // namespace lockstep::port
