#include "ops/op_case.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

#include "kernels/element.h"

namespace lockstep {

namespace internal {
/// The text of an op's cases.txt; generated.
std::string_view embedded_cases(std::string_view op);
}  // namespace internal

namespace {

[[noreturn]] void bad(std::string_view what, std::string_view found) {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("expected {}, found \"{}\"", what, found));
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    const size_t at = text.find(separator);
    if (at != 0 && !text.empty()) parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

template <class T>
T parse_number(std::string_view text) {
  T value{};
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc{} || result.ptr != text.data() + text.size()) bad("a number", text);
  return value;
}

bool is_float_text(std::string_view text) {
  return text.find_first_of(".e") != std::string_view::npos;
}
bool is_number_text(std::string_view text) {
  const size_t first = text.find_first_not_of('-');
  return first != std::string_view::npos && text[first] >= '0' && text[first] <= '9';
}

/// 1 / theta^(2i / dim) in float32, as transformers computes them.
std::vector<double> rope_frequencies(double theta, int64_t dim) {
  std::vector<double> values;
  for (int64_t i = 0; i < dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(dim);
    values.push_back(1.0f / std::pow(static_cast<float>(theta), exponent));
  }
  return values;
}

Attrs::Value parse_attr(std::string_view text) {
  if (text.starts_with("rope:")) {
    const std::vector<std::string> parts = split(text, ':');
    if (parts.size() != 3) bad("rope:THETA:DIM", text);
    return rope_frequencies(parse_number<double>(parts[1]), parse_number<int64_t>(parts[2]));
  }
  if (text.starts_with('[') && text.ends_with(']')) {
    const std::vector<std::string> items = split(text.substr(1, text.size() - 2), ',');
    if (std::any_of(items.begin(), items.end(), is_float_text)) {
      std::vector<double> values;
      for (const std::string& item : items) values.push_back(parse_number<double>(item));
      return values;
    }
    std::vector<int64_t> values;
    for (const std::string& item : items) values.push_back(parse_number<int64_t>(item));
    return values;
  }
  if (!is_number_text(text)) return std::string(text);
  if (is_float_text(text)) return parse_number<double>(text);
  return parse_number<int64_t>(text);
}

using Sizes = std::map<std::string, int64_t, std::less<>>;

CaseInput parse_input(std::string_view text, const Sizes& sizes) {
  const size_t open = text.find('['), close = text.find("]~");
  if (open == std::string_view::npos || close == std::string_view::npos) {
    bad("type[dimensions]~generator", text);
  }
  CaseInput input;
  const std::optional<DType> dtype = dtype_from_name(text.substr(0, open));
  if (!dtype) bad("a type", text.substr(0, open));
  input.dtype = *dtype;
  for (const std::string& dim : split(text.substr(open + 1, close - open - 1), ',')) {
    if (is_number_text(dim)) {
      input.shape.push_back(parse_number<int64_t>(dim));
      continue;
    }
    const auto size = sizes.find(dim);
    if (size == sizes.end()) bad("a size or its symbol", dim);
    if (dim == "T" && input.shape.empty()) input.has_rows = true;
    input.shape.push_back(size->second);
  }
  input.generator = split(text.substr(close + 2), ':');
  if (input.generator.empty()) bad("a generator", text);
  return input;
}

int64_t pages_of(const OpCase& op_case, const CaseSequence& sequence) {
  return (sequence.n_cached + sequence.n_new + op_case.page_size - 1) / op_case.page_size;
}

Sizes sizes_of(const OpCase& op_case, int64_t rows) {
  if (op_case.sequences.empty()) return {{"T", rows}};
  const auto n = static_cast<int64_t>(op_case.sequences.size());
  Sizes sizes = {{"T", 0}, {"N", n}, {"S", n + 1}};
  sizes["L"] = n + 2;  // more than are used, so that a wrong slot shows
  for (const CaseSequence& sequence : op_case.sequences) sizes["T"] += sequence.n_new;
  if (op_case.page_size < 1) return sizes;
  int64_t pages = 0;
  for (const CaseSequence& sequence : op_case.sequences) pages += pages_of(op_case, sequence);
  sizes["P"] = pages;
  sizes["C"] = pages + 3;  // as L
  sizes["B"] = op_case.page_size;
  return sizes;
}

void parse_sequences(std::string_view text, OpCase& op_case) {
  for (const std::string& item : split(text, ',')) {
    const size_t plus = item.find('+');
    if (plus == std::string::npos) bad("cached+new", item);
    const std::string_view all = item;
    op_case.sequences.push_back(
        {parse_number<int64_t>(all.substr(0, plus)), parse_number<int64_t>(all.substr(plus + 1))});
  }
}

/// splitmix64: small, and the same everywhere, unlike the distributions of the C++ library.
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double uniform() { return (static_cast<double>(next() >> 11) + 0.5) * 0x1p-53; }
  double normal() {
    return std::sqrt(-2.0 * std::log(uniform())) * std::cos(2 * 3.14159265358979323846 * uniform());
  }
};

/// 0 to n - 1 in no order.
std::vector<int32_t> shuffled(int64_t n, Random random) {
  std::vector<int32_t> values(static_cast<size_t>(n));
  std::iota(values.begin(), values.end(), 0);
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.next() % i]);
  return values;
}

std::vector<int32_t> ragged_values(const OpCase& op_case, std::string_view kind, uint64_t seed) {
  const Sizes sizes = sizes_of(op_case, 0);
  if (kind == "slots" && sizes.contains("L")) return shuffled(sizes.at("L"), Random{seed});
  if (kind == "pages" && sizes.contains("C")) return shuffled(sizes.at("C"), Random{seed});
  std::vector<int32_t> values;
  if (kind != "positions") values.push_back(0);
  for (const CaseSequence& sequence : op_case.sequences) {
    if (kind == "positions") {
      for (int64_t i = 0; i < sequence.n_new; ++i) {
        values.push_back(static_cast<int32_t>(sequence.n_cached + i));
      }
    } else if (kind == "row_offsets") {
      values.push_back(values.back() + static_cast<int32_t>(sequence.n_new));
    } else if (kind == "page_offsets" && op_case.page_size > 0) {
      values.push_back(values.back() + static_cast<int32_t>(pages_of(op_case, sequence)));
    } else {
      bad("a generator", kind);
    }
  }
  return values;
}

void fill(const OpCase& op_case, const CaseInput& input, uint64_t seed, const View& out) {
  const std::string& kind = input.generator[0];
  const auto parameter = [&](size_t i, double fallback) {
    return i < input.generator.size() ? parse_number<double>(input.generator[i]) : fallback;
  };
  const int64_t n = out.elements();
  Random random{seed};
  if (input.dtype == DType::kInt32) {
    int32_t* ids = out.as<int32_t>();
    if (kind == "ids") {
      const uint64_t count = static_cast<uint64_t>(parameter(1, 1));
      for (int64_t i = 0; i < n; ++i) ids[i] = static_cast<int32_t>(random.next() % count);
      return;
    }
    const std::vector<int32_t> values = ragged_values(op_case, kind, seed);
    if (static_cast<int64_t>(values.size()) < n) bad("as many values as the input has", kind);
    std::copy_n(values.begin(), n, ids);
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    double value = 0;
    if (kind == "normal") {
      value = parameter(1, 0) + parameter(2, 1) * random.normal();
    } else if (kind == "uniform") {
      value = parameter(1, 0) + (parameter(2, 1) - parameter(1, 0)) * random.uniform();
    } else if (kind == "sweep") {
      const double part = n > 1 ? static_cast<double>(i) / static_cast<double>(n - 1) : 0;
      value = parameter(1, 0) + (parameter(2, 1) - parameter(1, 0)) * part;
    } else {
      bad("a generator", kind);
    }
    store_float(out.data, out.dtype, i, static_cast<float>(value));
  }
}

/// The distance from one value of `dtype` to the next at `value`.
double ulp_at(DType dtype, double value) {
  const int digits = dtype == DType::kBFloat16 ? 8 : dtype == DType::kFloat16 ? 11 : 24;
  const int lowest = dtype == DType::kFloat16 ? -13 : -125;
  int exponent = 0;
  std::frexp(value, &exponent);
  return std::ldexp(1.0, std::max(exponent, lowest) - digits);
}

}  // namespace

OpCase parse_case(std::string_view op, std::string_view line) {
  OpCase result;
  result.op = op;
  int64_t rows = 0;
  std::vector<std::string> inputs;
  for (const std::string& word : split(line, ' ')) {
    const std::string_view text = word;
    const auto value = [&](std::string_view key) { return text.substr(key.size()); };
    if (result.name.empty()) {
      result.name = word;
    } else if (text.starts_with('.')) {
      const size_t equals = text.find('=');
      if (equals == std::string_view::npos) bad(".name=value", text);
      result.attrs.set(std::string(text.substr(1, equals - 1)),
                       parse_attr(text.substr(equals + 1)));
    } else if (text.find('[') != std::string_view::npos) {
      inputs.push_back(word);  // after all sizes are known
    } else if (text.starts_with("rows:")) {
      rows = parse_number<int64_t>(value("rows:"));
    } else if (text.starts_with("ragged:")) {
      parse_sequences(value("ragged:"), result);
    } else if (text.starts_with("page:")) {
      result.page_size = parse_number<int64_t>(value("page:"));
    } else if (text.starts_with("dtype:")) {
      const std::optional<DType> dtype = dtype_from_name(value("dtype:"));
      if (!dtype) bad("a type", text);
      result.activation_dtype = *dtype;
    } else if (text.starts_with("tol:")) {
      result.tolerance = parse_number<double>(value("tol:"));
    } else if (text.starts_with("ulp:")) {
      result.ulps = parse_number<double>(value("ulp:"));
    } else if (text.starts_with("state_tol:")) {
      result.state_tolerance = parse_number<double>(value("state_tol:"));
    } else if (text.starts_with("tier:")) {
      result.tier = value("tier:");
    } else {
      bad("an input, an attribute or a setting", text);
    }
  }
  const Sizes sizes = sizes_of(result, rows);
  for (const std::string& input : inputs) result.inputs.push_back(parse_input(input, sizes));
  return result;
}

std::vector<OpCase> load_cases(std::string_view op) {
  std::vector<OpCase> cases;
  std::string_view text = internal::embedded_cases(op);
  for (int n = 1; !text.empty(); ++n) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line[0] == '#') continue;
    try {
      cases.push_back(parse_case(op, line));
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("{}/cases.txt:{}: {}", op, n, error.message()));
    }
  }
  return cases;
}

std::vector<Tensor> make_inputs(const OpCase& op_case, uint64_t seed) {
  std::vector<Tensor> tensors;
  for (const CaseInput& input : op_case.inputs) {
    Tensor& tensor = tensors.emplace_back(input.dtype, input.shape);
    fill(op_case, input, Random{seed + tensors.size()}.next(), tensor.view());
  }
  return tensors;
}

std::vector<Tensor> run_case(const OpCase& op_case, std::span<const View> inputs,
                             RunContext& context) {
  const OpDef* op = find_op(op_case.op);
  if (op == nullptr) bad("an op", op_case.op);
  std::vector<TensorType> types;
  for (const View& view : inputs) {
    const std::span<const int64_t> dims(view.shape.data(), static_cast<size_t>(view.rank));
    types.push_back({view.dtype, Shape(dims)});
  }
  const std::vector<TensorType> out_types =
      op->infer({types, op_case.attrs, op_case.activation_dtype});
  std::vector<Tensor> outputs;
  if (op->run == nullptr) return outputs;
  std::vector<View> views;
  for (const TensorType& type : out_types) {
    std::vector<int64_t> dims;
    for (const Dim& dim : type.shape.dims()) dims.push_back(dim.count);
    views.push_back(outputs.emplace_back(type.dtype, dims).view());
  }
  op->run({inputs, views, op_case.attrs, context});
  return outputs;
}

std::optional<std::string> compare_outputs(const OpCase& op_case, const View& expected,
                                           const View& found) {
  const int64_t n = expected.elements();
  if (found.elements() != n || found.dtype != expected.dtype) {
    return fmt::format("expected {}, found {}", to_string(expected), to_string(found));
  }
  if (op_case.tolerance == 0 && op_case.ulps == 0) {
    if (expected.bytes() == 0 || std::memcmp(expected.data, found.data, expected.bytes()) == 0) {
      return std::nullopt;
    }
  }
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double value = load_element(expected.data, expected.dtype, i);
    squares += value * value;
  }
  const double rms = std::sqrt(squares / static_cast<double>(std::max<int64_t>(n, 1)));
  for (int64_t i = 0; i < n; ++i) {
    const double a = load_element(expected.data, expected.dtype, i);
    const double b = load_element(found.data, found.dtype, i);
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    const double allowed =
        op_case.tolerance * (std::abs(a) + rms) + op_case.ulps * ulp_at(expected.dtype, a);
    if (std::abs(a - b) <= allowed) continue;
    return fmt::format("element {} of {}: expected {}, found {}, allowed {:.3g}, off by {:.3g}", i,
                       to_string(expected), a, b, allowed, std::abs(a - b));
  }
  if (op_case.tolerance == 0 && op_case.ulps == 0) return "equal values of unequal bits";
  return std::nullopt;
}

}  // namespace lockstep
