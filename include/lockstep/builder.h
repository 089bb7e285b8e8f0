// The C++ face of the builder table: errors as exceptions, values with operators, attributes by
// name. A Builder is alive only while a port is traced.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "lockstep/abi.h"
#include "lockstep/error.h"

namespace lockstep {

class Builder;

/// A piece of a stored tensor: rows of its first dimension (row_end 0: to the end), transposed in
/// its last two dimensions if asked.
struct Part {
  std::string stored;
  int64_t row_begin = 0, row_end = 0;
  enum class Order : bool { kAsStored, kTransposed } order = Order::kAsStored;
};

/// As LockstepWrapper: where the model stands inside another one.
struct Wrapper {
  std::string config, own_prefix, path;
  std::vector<const char*> outer_keys, stored_prefixes, padded;
};

/// A tensor of the graph being built. Copying copies the name, not data.
class Value {
 public:
  Value() = default;
  Value(Builder* builder, LockstepValue raw) : builder_(builder), raw_(raw) {}

  Builder& builder() const { return *builder_; }
  LockstepValue raw() const { return raw_; }
  int rank() const;
  /// Dimension `i` (negative counts from the end). Throws kFailedPrecondition when it is known
  /// only at run time: a port must not branch on it.
  int64_t size(int i) const;

 private:
  Builder* builder_ = nullptr;
  LockstepValue raw_{};
};

/// A named constant of an op.
class Attr {
 public:
  using Data =
      std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>>;
  Attr(const char* name, Data data) : name_(name), data_(std::move(data)) {}
  /// Points into this object.
  LockstepAttr raw() const;

 private:
  const char* name_;
  Data data_;
};

class Builder {
 public:
  Builder(const LockstepApi& api, LockstepBuilder* raw) : api_(api), raw_(raw) {}
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;

  const LockstepApi& api() const { return api_; }
  LockstepBuilder* raw() const { return raw_; }
  /// Throws the host's last error when `code` is not 0.
  void check(int code) const {
    if (code != 0) throw Error(ErrorCode{code}, api_.last_message(raw_), api_.last_hint(raw_));
  }

  Value parameter(const std::string& path, std::initializer_list<int64_t> shape) {
    LockstepValue value;
    check(api_.parameter(raw_, path.c_str(), shape.begin(), shape.size(), &value));
    return {this, value};
  }
  /// A weight that is stored otherwise than `path` and `shape` say: the elements of `parts`, one
  /// after the other. Rename, split, stack, concatenate and transpose are all of this kind.
  Value parameter_of(const std::string& path, std::initializer_list<int64_t> shape,
                     const std::vector<Part>& parts) {
    std::vector<LockstepPart> raw_parts;
    for (const Part& part : parts) {
      raw_parts.push_back({part.stored.c_str(), part.row_begin, part.row_end,
                           part.order == Part::Order::kTransposed});
    }
    LockstepValue value;
    check(api_.parameter_of(raw_, path.c_str(), shape.begin(), shape.size(), raw_parts.data(),
                            raw_parts.size(), &value));
    return {this, value};
  }
  bool parameter_exists(const std::string& path) {
    int exists = 0;
    check(api_.parameter_exists(raw_, path.c_str(), &exists));
    return exists != 0;
  }
  Value tie(const std::string& path, const Value& source) {
    LockstepValue value;
    check(api_.tie(raw_, path.c_str(), source.raw(), &value));
    return {this, value};
  }
  /// Declares stored tensors matching `pattern` ('*' matches anything) as unused, and why.
  void drop(const char* pattern, const char* reason) { check(api_.drop(raw_, pattern, reason)); }
  /// What follows is built in the names of a model that stands inside `wrapper`.
  void inside(const Wrapper& wrapper) {
    if (api_.size <= offsetof(LockstepApi, wrapper)) {
      throw Error(ErrorCode::kUnimplemented,
                  std::string("lockstep ") + api_.host_version + " knows no wrappers",
                  "use the program that this SDK was installed with");
    }
    const LockstepWrapper raw = {
        wrapper.config.c_str(),         wrapper.outer_keys.data(), wrapper.outer_keys.size(),
        wrapper.own_prefix.c_str(),     wrapper.path.c_str(),      wrapper.stored_prefixes.data(),
        wrapper.stored_prefixes.size(), wrapper.padded.data(),     wrapper.padded.size()};
    check(api_.wrapper(raw_, &raw));
  }

  Value input(const char* name) {
    LockstepValue value;
    check(api_.input(raw_, name, &value));
    return {this, value};
  }
  /// A cache with one entry of [heads, width] a token, kept across steps.
  Value paged_cache(const char* name, int64_t heads, int64_t width) {
    const int64_t shape[] = {heads, width};
    LockstepValue value;
    check(
        api_.cache(raw_, name, LOCKSTEP_CACHE_PAGED, LOCKSTEP_CACHE_ACTIVATION, shape, 2, &value));
    return {this, value};
  }
  /// A state of one entry a sequence, [slots, shape...], zero when the sequence begins.
  Value state(const char* name, std::initializer_list<int64_t> shape, LockstepCacheDType dtype) {
    LockstepValue value;
    check(api_.cache(raw_, name, LOCKSTEP_CACHE_SLOT, dtype, shape.begin(), shape.size(), &value));
    return {this, value};
  }
  void tap(const char* name, const Value& value) { check(api_.tap(raw_, name, value.raw())); }
  void output(const char* name, const Value& value) { check(api_.output(raw_, name, value.raw())); }
  /// torch.pow(base, exponents) in float32, to the bit.
  std::vector<float> powers(float base, const std::vector<float>& exponents) {
    std::vector<float> out(exponents.size());
    check(api_.powers(raw_, base, exponents.data(), exponents.size(), out.data()));
    return out;
  }

  /// An op with one output.
  Value op(const char* name, const std::vector<Value>& inputs,
           const std::vector<Attr>& attrs = {}) {
    return op_n<1>(name, inputs, attrs).front();
  }
  /// An op with N outputs.
  template <size_t N>
  std::vector<Value> op_n(const char* name, const std::vector<Value>& inputs,
                          const std::vector<Attr>& attrs = {}) {
    std::vector<LockstepValue> raw_inputs;
    for (const Value& input : inputs) raw_inputs.push_back(input.raw());
    std::vector<LockstepAttr> raw_attrs;
    for (const Attr& attr : attrs) raw_attrs.push_back(attr.raw());
    LockstepValue raw_outputs[N];
    check(api_.op(raw_, name, raw_inputs.data(), raw_inputs.size(), raw_attrs.data(),
                  raw_attrs.size(), raw_outputs, N));
    std::vector<Value> outputs;
    for (const LockstepValue& output : raw_outputs) outputs.emplace_back(this, output);
    return outputs;
  }

 private:
  const LockstepApi& api_;
  LockstepBuilder* raw_;
};

namespace internal {
inline std::vector<LockstepDim> dims_of(const Value& value) {
  std::vector<LockstepDim> dims(8);
  size_t rank = dims.size();
  Builder& builder = value.builder();
  builder.check(builder.api().shape(builder.raw(), value.raw(), dims.data(), &rank));
  dims.resize(rank);
  return dims;
}
}  // namespace internal

inline int Value::rank() const { return static_cast<int>(internal::dims_of(*this).size()); }

inline int64_t Value::size(int i) const {
  const std::vector<LockstepDim> dims = internal::dims_of(*this);
  const int n = static_cast<int>(dims.size());
  const int at = i < 0 ? i + n : i;
  if (at < 0 || at >= n) {
    throw Error(ErrorCode::kOutOfRange,
                "size(" + std::to_string(i) + ") of a value of rank " + std::to_string(n));
  }
  if (dims[at].symbol != LOCKSTEP_ONE) {
    throw Error(ErrorCode::kFailedPrecondition,
                "size(" + std::to_string(i) + ") is known only when a step runs",
                "one graph serves every number of tokens: do not branch on this size");
  }
  return dims[at].count;
}

inline LockstepAttr Attr::raw() const {
  LockstepAttr raw{};
  raw.name = name_;
  raw.kind = static_cast<uint32_t>(data_.index());
  if (const auto* i = std::get_if<int64_t>(&data_)) raw.integer = *i;
  if (const auto* d = std::get_if<double>(&data_)) raw.number = *d;
  if (const auto* s = std::get_if<std::string>(&data_)) raw.text = s->c_str();
  if (const auto* v = std::get_if<std::vector<int64_t>>(&data_)) {
    raw.integers = v->data();
    raw.length = v->size();
  }
  if (const auto* v = std::get_if<std::vector<double>>(&data_)) {
    raw.numbers = v->data();
    raw.length = v->size();
  }
  return raw;
}

}  // namespace lockstep
