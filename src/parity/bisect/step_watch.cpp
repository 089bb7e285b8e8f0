#include "parity/bisect/step_watch.h"

#include <algorithm>

#include "tensor/dtype.h"

namespace lockstep::parity {
namespace {

constexpr const char* kStepInputs[] = {"@input_ids",    "@positions", "@row_offsets",
                                       "@page_offsets", "@pages",     "@state_slots"};

std::span<const int32_t> ints(const Tensor* tensor) {
  if (tensor == nullptr) return {};
  const View view = tensor->view();
  return {static_cast<const int32_t*>(view.data), static_cast<size_t>(view.elements())};
}

bool rows_are(const Graph& graph, ValueId v, Symbol symbol) {
  const Shape& shape = graph.type(v).shape;
  return shape.rank() > 0 && shape[0] == Dim(symbol);
}

std::vector<float> row_of(const View& view, int64_t row) {
  const int64_t width = view.dim(0) == 0 ? 0 : view.elements() / view.dim(0);
  std::vector<float> out(static_cast<size_t>(width));
  for (int64_t i = 0; i < width; ++i) {
    out[static_cast<size_t>(i)] =
        static_cast<float>(load_element(view.data, view.dtype, row * width + i));
  }
  return out;
}

// The elements of a cache that belong to one place in its dimensions `at` (dimension, index): all
// others run.
void gather(const View& view, std::span<const std::pair<int, int64_t>> at, int dim, int64_t offset,
            std::vector<float>& out) {
  if (dim == view.rank) {
    out.push_back(static_cast<float>(load_element(view.data, view.dtype, offset)));
    return;
  }
  for (const auto& [fixed, index] : at) {
    if (fixed == dim) return gather(view, at, dim + 1, offset + index * view.stride[dim], out);
  }
  for (int64_t i = 0; i < view.shape[dim]; ++i) {
    gather(view, at, dim + 1, offset + i * view.stride[dim], out);
  }
}

int dim_of(const Shape& shape, Symbol symbol) {
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i].symbol == symbol) return i;
  }
  return -1;
}

std::string key_of(const lockstep::Tap& tap) {
  std::string key = tap.path;
  if (tap.call > 0) key += "#" + std::to_string(tap.call);
  if (tap.index > 0) key += "." + std::to_string(tap.index);
  return key;
}

}  // namespace

const TapRows* StepImage::tap(const std::string& path) const {
  const auto at = std::ranges::find(taps, path, &TapRows::path);
  return at == taps.end() ? nullptr : &*at;
}

StepWatch::StepWatch(Pipeline& pipeline, std::span<const int32_t> text, std::vector<int64_t> rows,
                     std::string pattern, Caches caches)
    : pipeline_(pipeline),
      graph_(pipeline.graph()),
      text_(text.begin(), text.end()),
      rows_(std::move(rows)),
      with_caches_(caches) {
  std::set<ValueId> values;
  for (lockstep::Tap& tap : list_taps(graph_, pattern, TapInputs::kNo)) {
    const bool is_row = rows_are(graph_, tap.value, Symbol::kTokens) ||
                        rows_are(graph_, tap.value, Symbol::kSequences);
    if (!is_row || graph_.node(tap.value).kind != NodeKind::kOp) continue;
    values.insert(tap.value);
    taps_.push_back(std::move(tap));
  }
  add_unrotated(values);
  for (const char* name : kStepInputs) {
    if (const auto input = graph_.find_input(name)) values.insert(*input);
  }
  if (with_caches_ == Caches::kYes) {
    for (const CacheInput& cache : graph_.caches) values.insert({cache.node, 0});
  }
  values.insert(graph_.outputs[0].value);
  pipeline_.observe({values.begin(), values.end()},
                    [this](ValueId value, const View& view) { see(value, view); });
}

// What a rotation was given, under the name that a recording has for it.
void StepWatch::add_unrotated(std::set<ValueId>& values) {
  std::vector<lockstep::Tap> with_plain;
  for (lockstep::Tap& tap : taps_) {
    const Node& node = graph_.node(tap.value);
    const std::string plain = tap.path.substr(0, tap.path.size() - std::min<size_t>(4, tap.path.size()));
    const bool is_rotation = tap.path.ends_with("_rot") && node.op != nullptr &&
                             node.op->name == "rope" &&
                             std::ranges::find(taps_, plain, &lockstep::Tap::path) == taps_.end();
    if (is_rotation) {
      lockstep::Tap before = tap;
      before.path = plain;
      before.value = node.inputs[0];
      values.insert(before.value);
      with_plain.push_back(std::move(before));
    }
    with_plain.push_back(std::move(tap));
  }
  taps_ = std::move(with_plain);
}

void StepWatch::expect(size_t segment, int64_t begin) { expected_ = Place{segment, begin}; }

void StepWatch::see(ValueId value, const View& view) {
  const bool is_cache = std::ranges::any_of(graph_.caches, [&](const CacheInput& cache) {
    return ValueId{cache.node, 0} == value;
  });
  // Caches are read when the step has written them.
  if (is_cache) {
    cache_views_[value] = view;
  } else if (value == graph_.outputs[0].value) {
    finish();
    values_.clear();
    expected_.reset();
  } else {
    values_[value] = Tensor::copy_of(view);
  }
}

const Tensor* StepWatch::seen(std::string_view input) const {
  const auto id = graph_.find_input(input);
  if (!id) return nullptr;
  const auto at = values_.find(*id);
  return at == values_.end() ? nullptr : &at->second;
}

// The segment that agrees with the text in most tokens, and in more than half of its own.
std::optional<StepWatch::Place> StepWatch::find_text(std::span<const int32_t> ids,
                                                     std::span<const int32_t> offsets) const {
  const std::span<const int32_t> positions = ints(seen("@positions"));
  std::optional<Place> found;
  int64_t most = 0;
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    const auto first = static_cast<size_t>(offsets[s]), last = static_cast<size_t>(offsets[s + 1]);
    if (first == last) continue;
    // Without positions a segment goes on where the last one ended, or is a beginning.
    const int64_t begin = !positions.empty() ? positions[first]
                          : last - first > 1 || steps_.empty() ? 0
                                                               : steps_.back().end;
    int64_t n = 0;
    for (size_t i = first; i < last; ++i) {
      const auto at = static_cast<size_t>(begin) + (i - first);
      n += at < text_.size() && ids[i] == text_[at];
    }
    if (n <= most || 2 * n <= static_cast<int64_t>(last - first)) continue;
    most = n;
    found = Place{s, begin};
  }
  return found;
}

void StepWatch::keep_taps(StepImage& step, int64_t first_row, size_t segment) const {
  for (const lockstep::Tap& tap : taps_) {
    const auto at = values_.find(tap.value);
    if (at == values_.end()) continue;
    const View view = at->second.view();
    TapRows& kept = step.taps.emplace_back();
    kept.path = key_of(tap);
    kept.is_state = rows_are(graph_, tap.value, Symbol::kSequences);
    if (kept.is_state) {
      kept.rows[step.end - 1] = row_of(view, static_cast<int64_t>(segment));
      continue;
    }
    for (int64_t p = step.begin; p < step.end; ++p) {
      if (!rows_.empty() && std::ranges::find(rows_, p) == rows_.end()) continue;
      kept.rows[p] = row_of(view, first_row + p - step.begin);
    }
  }
}

void StepWatch::keep_caches(StepImage& step, size_t segment) const {
  const auto offsets = ints(seen("@page_offsets")), pages = ints(seen("@pages")),
             slots = ints(seen("@state_slots"));
  for (const CacheInput& cache : graph_.caches) {
    const ValueId value{cache.node, 0};
    const auto at = cache_views_.find(value);
    if (at == cache_views_.end()) continue;
    const View& view = at->second;
    const Shape& shape = graph_.type(value).shape;
    CacheImage& image = step.caches.emplace_back();
    image.name = cache.name.starts_with('@') ? cache.name.substr(1) : cache.name;
    image.is_state = cache.kind == LOCKSTEP_CACHE_SLOT;
    if (image.is_state) {
      const std::pair<int, int64_t> place[] = {{dim_of(shape, Symbol::kStateSlots),
                                                segment < slots.size() ? slots[segment] : 0}};
      gather(view, place, 0, 0, image.rows.emplace_back());
      continue;
    }
    const int page_dim = dim_of(shape, Symbol::kCachePages);
    const int slot_dim = dim_of(shape, Symbol::kPageSize);
    if (page_dim < 0 || slot_dim < 0 || segment + 1 >= offsets.size()) continue;
    const int64_t page_size = view.dim(slot_dim);
    for (int64_t p = 0; p < step.end; ++p) {
      const auto entry = static_cast<size_t>(offsets[segment] + p / page_size);
      if (entry >= pages.size()) break;
      const std::pair<int, int64_t> place[] = {{page_dim, pages[entry]}, {slot_dim, p % page_size}};
      gather(view, place, 0, 0, image.rows.emplace_back());
    }
  }
}

void StepWatch::finish() {
  const std::span<const int32_t> ids = ints(seen("@input_ids"));
  const std::span<const int32_t> positions = ints(seen("@positions"));
  const std::span<const int32_t> known_offsets = ints(seen("@row_offsets"));
  const int32_t whole[] = {0, static_cast<int32_t>(ids.size())};
  const std::span<const int32_t> offsets =
      known_offsets.empty() ? std::span<const int32_t>(whole) : known_offsets;
  const std::optional<Place> place = expected_ ? expected_ : find_text(ids, offsets);
  if (!place || place->segment + 1 >= offsets.size()) return;
  const auto first = static_cast<size_t>(offsets[place->segment]);
  const size_t n = static_cast<size_t>(offsets[place->segment + 1]) - first;
  StepImage& step = steps_.emplace_back();
  step.begin = place->begin;
  step.end = step.begin + static_cast<int64_t>(n);
  step.ids.assign(ids.begin() + static_cast<ptrdiff_t>(first),
                  ids.begin() + static_cast<ptrdiff_t>(first + n));
  if (!positions.empty()) {
    step.positions.assign(positions.begin() + static_cast<ptrdiff_t>(first),
                          positions.begin() + static_cast<ptrdiff_t>(first + n));
  }
  keep_taps(step, static_cast<int64_t>(first), place->segment);
  if (with_caches_ == Caches::kYes) keep_caches(step, place->segment);
}

const StepImage* StepWatch::step_of(int64_t position) const {
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
    if (step->begin <= position && position < step->end) return &*step;
  }
  return nullptr;
}

const StepImage* StepWatch::before(const StepImage* step) const {
  return step == nullptr || step == steps_.data() ? nullptr : step - 1;
}

}  // namespace lockstep::parity
