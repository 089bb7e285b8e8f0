#include "runtime/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "lockstep/error.h"

namespace lockstep {

DType default_activation_dtype(const ModelFiles& files) {
  std::optional<DType> own;
  if (files.config.kind("dtype") == ConfigFile::Kind::kString) {
    own = dtype_from_name(files.config.get_string("dtype"));
  }
  if (!own) {
    std::map<DType, uint64_t> bytes;
    for (const TensorEntry& entry : files.checkpoint.tensors()) {
      bytes[entry.dtype] += entry.end - entry.begin;
    }
    for (const auto& [dtype, n] : bytes) {
      if (!own || n > bytes[*own]) own = dtype;
    }
  }
  return own == DType::kBFloat16 ? DType::kBFloat16 : DType::kFloat32;
}

DType parse_activation_dtype(const std::string& flag, const std::string& name) {
  const std::optional<DType> dtype = dtype_from_name(name);
  if (dtype != DType::kFloat32 && dtype != DType::kBFloat16) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected float32 or bfloat16, found {}", flag, name));
  }
  return *dtype;
}

Model Model::open(const std::string& name, const Registry& registry, std::optional<DType> dtype) {
  ModelFiles files = ModelFiles::open(name);
  const LockstepArchitecture& architecture = registry.resolve(files.config);
  Trace trace = lockstep::trace(architecture, files.config, files.checkpoint,
                                dtype.value_or(default_activation_dtype(files)));
  require(trace.audit, architecture.class_name);
  int64_t max_length = 0;
  for (const char* key : {"max_position_embeddings", "text_config.max_position_embeddings"}) {
    if (max_length == 0 && files.config.kind(key) == ConfigFile::Kind::kInt) {
      max_length = files.config.get_int(key);
    }
  }
  return {std::move(files), &architecture, std::move(trace), max_length};
}

std::vector<std::string> Model::notices() const {
  std::vector<std::string> lines;
  for (const Audit::Tie& tie : trace.audit.ties) {
    lines.push_back(fmt::format("{} is tied to {} (tensor {})", tie.path, tie.source, tie.stored));
  }
  const std::string& change = trace.audit.prefix_change;
  if (!change.empty()) {
    lines.push_back(fmt::format("stored names {} the base-model prefix {}",
                                change[0] == '-' ? "lack" : "carry", change.substr(1)));
  }
  for (const Audit::Shortened& part : trace.audit.shortened) {
    lines.push_back(fmt::format("{}: the first {} rows of {} stored are used (tensor {})",
                                part.path, part.n_rows, part.n_stored, part.stored));
  }
  std::map<std::string, size_t> dropped;
  for (const Audit::Dropped& drop : trace.audit.dropped) ++dropped[drop.reason];
  for (const auto& [reason, n] : dropped) {
    lines.push_back(fmt::format("{} stored tensor{} not used: {}", n, n == 1 ? "" : "s", reason));
  }
  const std::vector<std::string> unread = files.config.unread();
  if (!unread.empty()) {
    std::string keys;
    for (const std::string& key : unread) keys += (keys.empty() ? "" : ", ") + key;
    lines.push_back(fmt::format("{}: read by nobody: {}", files.config.file(), keys));
  }
  return lines;
}

namespace {

SymbolValues largest(const PipelineOptions& o) {
  SymbolValues most{};
  const int64_t pages = (o.max_context + o.page_size - 1) / o.page_size + o.max_sequences - 1;
  most[static_cast<size_t>(Symbol::kOne)] = 1;
  most[static_cast<size_t>(Symbol::kTokens)] = o.max_tokens;
  most[static_cast<size_t>(Symbol::kSequences)] = o.max_sequences;
  most[static_cast<size_t>(Symbol::kSequenceOffsets)] = o.max_sequences + 1;
  most[static_cast<size_t>(Symbol::kLogitRows)] = o.max_logit_rows;
  // Shared pages stand in several tables.
  most[static_cast<size_t>(Symbol::kStepPages)] = pages * o.max_sequences;
  most[static_cast<size_t>(Symbol::kCachePages)] = pages;
  most[static_cast<size_t>(Symbol::kPageSize)] = o.page_size;
  most[static_cast<size_t>(Symbol::kStateSlots)] =
      o.max_states > 0 ? o.max_states : o.max_sequences;
  return most;
}

View int_view(const std::vector<int32_t>& values) {
  // An empty vector has no address; kernels never read through it.
  static const int32_t none = 0;
  const int64_t shape[] = {static_cast<int64_t>(values.size())};
  return make_view(values.empty() ? &none : values.data(), DType::kInt32, shape);
}

}  // namespace

Pipeline::Pipeline(Model model, const PipelineOptions& options)
    : model_(std::move(model)), options_(options) {
  const SymbolValues most = largest(options_);
  ranks_ = std::make_unique<Ranks>(
      model_.trace, model_.files.checkpoint,
      Ranks::Options{options_.n_ranks, options_.threads, options_.kernels}, most);
  for (const CacheInput& cache : graph().caches) {
    is_paged_ = is_paged_ || cache.kind == LOCKSTEP_CACHE_PAGED;
    has_states_ = has_states_ || cache.kind == LOCKSTEP_CACHE_SLOT;
  }
  pages_ = CountedIds(most[static_cast<size_t>(Symbol::kCachePages)]);
  slots_ = CountedIds(most[static_cast<size_t>(Symbol::kStateSlots)]);
}

int64_t Pipeline::vocab_size() const {
  return graph().type(graph().outputs[0].value).shape[-1].count;
}

std::vector<std::string> Pipeline::notices() const {
  std::vector<std::string> notices = weights().notices();
  const std::vector<std::string>& undivided = ranks_->notices();
  notices.insert(notices.end(), undivided.begin(), undivided.end());
  return notices;
}

void Pipeline::observe(const std::vector<ValueId>& values, Observe observe) {
  ranks_->observe(values, std::move(observe));
}

int64_t Pipeline::pages_for(int64_t length) const {
  return is_paged_ ? (length + options_.page_size - 1) / options_.page_size : 0;
}

void Pipeline::check(std::span<const Segment> segments) const {
  int64_t n_tokens = 0, n_rows = 0, n_pages = 0, n_slots = 0;
  const int64_t vocab = vocab_size();
  for (const Segment& segment : segments) {
    const auto n = static_cast<int64_t>(segment.tokens.size());
    if (n == 0) throw Error(ErrorCode::kInvalidArgument, "prompt ids: expected at least one");
    for (int64_t i = 0; i < n; ++i) {
      if (segment.tokens[i] < 0 || segment.tokens[i] >= vocab) {
        throw Error(ErrorCode::kInvalidArgument,
                    fmt::format("prompt id {} at place {}: expected 0 to {} (vocab_size {})",
                                segment.tokens[i], i, vocab - 1, vocab));
      }
    }
    n_tokens += n;
    n_slots += segment.sequence->slot < 0;
    n_rows += segment.logits == LogitRows::kAll ? n : segment.logits == LogitRows::kLast ? 1 : 0;
    n_pages += std::max(int64_t{0}, pages_for(segment.sequence->length + n) -
                                        static_cast<int64_t>(segment.sequence->pages.size()));
  }
  if (n_tokens > options_.max_tokens || n_rows > options_.max_logit_rows ||
      static_cast<int64_t>(segments.size()) > options_.max_sequences) {
    throw Error(
        ErrorCode::kOutOfRange,
        fmt::format("a step of {} tokens, {} logit rows, {} sequences: the pipeline was made "
                    "for {}, {}, {}",
                    n_tokens, n_rows, segments.size(), options_.max_tokens, options_.max_logit_rows,
                    options_.max_sequences));
  }
  if (n_slots > slots_.n_free()) {
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("no room for {} more sequences: {} may live at once", n_slots,
                            options_.max_states > 0 ? options_.max_states : options_.max_sequences),
                "release a sequence first");
  }
  if (n_pages > pages_.n_free()) {
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("the caches are full: {} pages of {} tokens needed, {} free", n_pages,
                            options_.page_size, pages_.n_free()));
  }
}

void Pipeline::take_slot(Sequence& sequence) {
  sequence.slot = slots_.take();
  ranks_->clear_slot(sequence.slot);
}

void Pipeline::take_pages(std::span<const Segment> segments) {
  for (const Segment& segment : segments) {
    Sequence& sequence = *segment.sequence;
    if (sequence.slot < 0) take_slot(sequence);
    const int64_t n_pages =
        pages_for(sequence.length + static_cast<int64_t>(segment.tokens.size()));
    while (static_cast<int64_t>(sequence.pages.size()) < n_pages) {
      sequence.pages.push_back(pages_.take());
    }
  }
}

void Pipeline::fill_step_data(std::span<const Segment> segments) {
  for (auto* v : {&input_ids_, &positions_, &row_offsets_, &page_offsets_, &step_pages_,
                  &logit_rows_, &state_slots_}) {
    v->clear();
  }
  row_offsets_.push_back(0);
  page_offsets_.push_back(0);
  for (const Segment& segment : segments) {
    const auto first_row = static_cast<int32_t>(input_ids_.size());
    const auto n = static_cast<int32_t>(segment.tokens.size());
    input_ids_.insert(input_ids_.end(), segment.tokens.begin(), segment.tokens.end());
    for (int32_t i = 0; i < n; ++i) {
      positions_.push_back(static_cast<int32_t>(segment.sequence->length) + i);
    }
    const std::vector<int32_t>& pages = segment.sequence->pages;
    step_pages_.insert(step_pages_.end(), pages.begin(), pages.end());
    row_offsets_.push_back(first_row + n);
    page_offsets_.push_back(static_cast<int32_t>(step_pages_.size()));
    state_slots_.push_back(segment.sequence->slot);
    const int32_t skipped = segment.logits == LogitRows::kAll    ? 0
                            : segment.logits == LogitRows::kLast ? n - 1
                                                                 : n;
    for (int32_t i = skipped; i < n; ++i) logit_rows_.push_back(first_row + i);
  }
}

View Pipeline::step(std::span<const Segment> segments) {
  check(segments);
  take_pages(segments);
  fill_step_data(segments);
  SymbolValues now = largest(options_);
  now[static_cast<size_t>(Symbol::kTokens)] = static_cast<int64_t>(input_ids_.size());
  now[static_cast<size_t>(Symbol::kSequences)] = static_cast<int64_t>(segments.size());
  now[static_cast<size_t>(Symbol::kSequenceOffsets)] = static_cast<int64_t>(segments.size()) + 1;
  now[static_cast<size_t>(Symbol::kLogitRows)] = static_cast<int64_t>(logit_rows_.size());
  now[static_cast<size_t>(Symbol::kStepPages)] = static_cast<int64_t>(step_pages_.size());
  const std::pair<const char*, const std::vector<int32_t>*> inputs[] = {
      {"@input_ids", &input_ids_},     {"@positions", &positions_},
      {"@row_offsets", &row_offsets_}, {"@page_offsets", &page_offsets_},
      {"@pages", &step_pages_},        {"@logit_rows", &logit_rows_},
      {"@state_slots", &state_slots_}};
  for (const auto& [name, values] : inputs) {
    // A port that needs no positions, say, has no such input.
    if (ranks_->has_input(name)) ranks_->bind_input(name, int_view(*values));
  }
  ranks_->run(now);
  for (const Segment& segment : segments) {
    segment.sequence->length += static_cast<int64_t>(segment.tokens.size());
  }
  return ranks_->output(0);
}

View Pipeline::prefill(Sequence& sequence, std::span<const int32_t> tokens, int64_t chunk) {
  if (chunk <= 0) chunk = options_.max_tokens;
  const auto n = static_cast<int64_t>(tokens.size());
  View logits;
  for (int64_t begin = 0; begin == 0 || begin < n; begin += chunk) {
    const auto part = tokens.subspan(begin, std::min(chunk, n - begin));
    const Segment segment{&sequence, part,
                          begin + chunk >= n ? LogitRows::kLast : LogitRows::kNone};
    logits = step({&segment, 1});
  }
  return logits;
}

void Pipeline::release(Sequence& sequence) {
  for (auto page = sequence.pages.rbegin(); page != sequence.pages.rend(); ++page) {
    pages_.drop(*page);
  }
  if (sequence.slot >= 0) slots_.drop(sequence.slot);
  sequence = {};
}

std::optional<ValueId> Pipeline::hidden_states() const {
  const std::optional<ValueId> rows = graph().find_input("@logit_rows");
  if (!rows) return std::nullopt;
  for (const Node& node : graph().nodes) {
    if (node.kind == NodeKind::kOp && node.op->name == "gather_rows" && node.inputs[1] == *rows) {
      return node.inputs[0];
    }
  }
  return std::nullopt;
}

int32_t argmax(const View& logits, int64_t row) {
  const int64_t n = logits.dim(-1);
  int32_t best = 0;
  double best_value = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double value = load_element(logits.data, logits.dtype, row * n + i);
    if (i == 0 || value > best_value) {
      best = static_cast<int32_t>(i);
      best_value = value;
    }
  }
  return best;
}

}  // namespace lockstep
