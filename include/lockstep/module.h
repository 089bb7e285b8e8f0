// Modules: C++ objects that carry the reference's module path. Calling one runs its forward()
// inside its scope and records the call: path, class, inputs, outputs. That record is the tap,
// and the sub-graph for isolated replay.
#pragma once

#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "lockstep/builder.h"

namespace lockstep {

/// A module path under construction: `scope / "layers" / 3 / "mlp"`. Where a checkpoint stores a
/// module under another name, `s.at("mlp", "block_sparse_moe")` has the path of the first and reads
/// weights under either.
class Scope {
 public:
  Scope(Builder& builder, std::string path)
      : builder_(&builder), path_(path), stored_(std::move(path)) {}

  Scope operator/(const std::string& name) const { return at(name, name); }
  Scope operator/(int64_t index) const { return *this / std::to_string(index); }
  Scope at(const std::string& name, const std::string& stored) const {
    return {*builder_, join(path_, name), join(stored_, stored)};
  }

  Builder& builder() const { return *builder_; }
  const std::string& path() const { return path_; }
  /// The path weights have in a checkpoint that names this module otherwise.
  const std::string& stored() const { return stored_; }
  bool has(const char* name) const { return builder_->parameter_exists(join(path_, name)); }
  Value parameter(const char* name, std::initializer_list<int64_t> shape) const {
    if (stored_ == path_ || has(name)) return builder_->parameter(join(path_, name), shape);
    return builder_->parameter_of(join(path_, name), shape, {{join(stored_, name)}});
  }

 private:
  Scope(Builder& builder, std::string path, std::string stored)
      : builder_(&builder), path_(std::move(path)), stored_(std::move(stored)) {}
  static std::string join(const std::string& path, const std::string& name) {
    return path.empty() ? name : path + "." + name;
  }

  Builder* builder_;
  std::string path_, stored_;
};

namespace internal {
// The tensors among the arguments and results of a call. A struct of tensors joins in by a member
// `std::vector<Value> values() const`.
inline void collect(std::vector<Value>& into, const Value& value) { into.push_back(value); }
template <class T>
void collect(std::vector<Value>& into, const T& value) {
  if constexpr (requires { value.values(); }) {
    for (const Value& v : value.values()) into.push_back(v);
  }
}

// Runs a module's forward() in its scope, under its class's name.
template <class M, class... Args>
auto call(const M& module, const Args&... args) {
  const Scope& scope = module.scope();
  Builder& builder = scope.builder();
  std::vector<Value> inputs;
  (collect(inputs, args), ...);
  std::vector<LockstepArgument> arguments;
  for (const Value& value : inputs) arguments.push_back({nullptr, value.raw()});
  builder.check(builder.api().enter(builder.raw(), scope.path().c_str(), M::kClass,
                                    arguments.data(), arguments.size()));
  auto result = module.forward(args...);
  std::vector<Value> outputs;
  collect(outputs, result);
  std::vector<LockstepValue> raw;
  for (const Value& value : outputs) raw.push_back(value.raw());
  builder.check(builder.api().leave(builder.raw(), raw.data(), raw.size()));
  return result;
}
}  // namespace internal

/// Base of every module: `struct Attention : Module<Attention>` with a
/// `static constexpr const char* kClass`, the reference's class name, and a
/// `forward(...) const`.
template <class Derived>
class Module {
 public:
  explicit Module(Scope scope) : scope_(std::move(scope)) {}

  template <class... Args>
  auto operator()(const Args&... args) const {
    return internal::call(static_cast<const Derived&>(*this), args...);
  }

  const Scope& scope() const { return scope_; }

 private:
  Scope scope_;
};

/// Another module with a class name of its own and, where it says so, a forward() of its own:
///   struct Attention : ModuleFrom<Attention, lockstep::llama::Attention> {
///     static constexpr const char* kClass = "SmolLM3Attention";
///     using ModuleFrom::ModuleFrom;
///   };
template <class Derived, class Base>
struct ModuleFrom : Base {
  using Base::Base;

  template <class... Args>
  auto operator()(const Args&... args) const {
    // A choice between modules is none itself: it has no path and no forward().
    if constexpr (requires { static_cast<const Derived*>(this)->forward(args...); }) {
      return internal::call(static_cast<const Derived&>(*this), args...);
    } else {
      return Base::operator()(args...);
    }
  }
};

/// A ModuleList: `Layers<DecoderLayer> layers(n, [&](int64_t i) { return DecoderLayer(...); })`.
template <class Layer>
class Layers {
 public:
  template <class Make>
  Layers(int64_t n, Make&& make) {
    layers_.reserve(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) layers_.push_back(make(i));
  }
  auto begin() const { return layers_.begin(); }
  auto end() const { return layers_.end(); }

 private:
  std::vector<Layer> layers_;
};

}  // namespace lockstep
