// oneDNN's matrix product for bfloat16 with many rows, called on tiles of the output from
// Lockstep's own threads: each call runs on the thread that makes it, and weights are read as they
// lie. Its order of summation changes with the number of rows.
#include <dlfcn.h>
#include <dnnl.h>

#include <algorithm>
#include <array>
#include <list>

#include "kernels/cpu/parallel.h"
#include "kernels/element.h"
#include "ops/linear/linear.h"

namespace lockstep::ops {
namespace {

constexpr int64_t kFewestRows = 17;
constexpr int64_t kFewestColumns = 32;
constexpr int64_t kTileColumns = 256;
constexpr int64_t kTileRows = 512;

template <class T, dnnl_status_t (*kDestroy)(T)>
class Handle {
 public:
  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (value_ != nullptr) kDestroy(value_);
  }
  T get() const { return value_; }
  T* out() { return &value_; }

 private:
  T value_ = nullptr;
};

using Engine = Handle<dnnl_engine_t, dnnl_engine_destroy>;
using Stream = Handle<dnnl_stream_t, dnnl_stream_destroy>;
using Memory = Handle<dnnl_memory_t, dnnl_memory_destroy>;
using Primitive = Handle<dnnl_primitive_t, dnnl_primitive_destroy>;
using PrimitiveDesc = Handle<dnnl_primitive_desc_t, dnnl_primitive_desc_destroy>;
using PrimitiveAttr = Handle<dnnl_primitive_attr_t, dnnl_primitive_attr_destroy>;

bool ok(dnnl_status_t status) { return status == dnnl_success; }

dnnl_engine_t engine() {
  static const Engine* const engine = [] {
    auto* created = new Engine;  // never destroyed: threads may outlive static objects
    (void)dnnl_engine_create(created->out(), dnnl_cpu, 0);
    return created;
  }();
  return engine->get();
}

/// Keeps oneDNN to the calling thread while it lives. Debian's is built with OpenMP, whose number
/// of threads is the calling thread's own; looked up, so that another build needs none of it.
class OneThread {
 public:
  OneThread() {
    if (set() == nullptr || get() == nullptr) return;
    before_ = get()();
    set()(1);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;
  ~OneThread() {
    if (before_ > 0) set()(before_);
  }

 private:
  using Get = int (*)();
  using Set = void (*)(int);
  static Get get() {
    static const Get fn = reinterpret_cast<Get>(dlsym(RTLD_DEFAULT, "omp_get_max_threads"));
    return fn;
  }
  static Set set() {
    static const Set fn = reinterpret_cast<Set>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
    return fn;
  }
  int before_ = 0;
};

/// What a compiled product depends on.
struct Key {
  int64_t m, n, k, out_stride;
  DType bias_dtype, out_dtype;
  bool has_bias;
  friend bool operator==(const Key&, const Key&) = default;
};

/// x [m, k] times weight [n, k] transposed, plus bias [n], to out [m, n] with rows out_stride
/// apart.
class Product {
 public:
  Product(const Key& key, dnnl_engine_t engine) : key_(key) { is_valid_ = create(engine); }

  const Key& key() const { return key_; }
  bool is_valid() const { return is_valid_; }
  size_t scratch_bytes() const { return scratch_bytes_; }

  bool run(const void* x, const void* weight, const void* bias, void* out, void* scratch,
           dnnl_stream_t stream) const {
    const auto set = [](const Memory& memory, const void* data) {
      return ok(dnnl_memory_set_data_handle(memory.get(), const_cast<void*>(data)));
    };
    if (!set(x_, x) || !set(weight_, weight) || !set(out_, out)) return false;
    std::array<dnnl_exec_arg_t, 5> args{
        {{DNNL_ARG_SRC, x_.get()}, {DNNL_ARG_WEIGHTS, weight_.get()}, {DNNL_ARG_DST, out_.get()}}};
    int n_args = 3;
    if (scratch_bytes_ > 0) {
      if (!set(scratch_, scratch)) return false;
      args[n_args++] = {DNNL_ARG_SCRATCHPAD, scratch_.get()};
    }
    if (key_.has_bias) {
      if (!set(bias_, bias)) return false;
      args[n_args++] = {DNNL_ARG_BIAS, bias_.get()};
    }
    return ok(dnnl_primitive_execute(primitive_.get(), stream, n_args, args.data())) &&
           ok(dnnl_stream_wait(stream));
  }

 private:
  static bool describe(dnnl_memory_desc_t& desc, int64_t rows, int64_t columns, int64_t row_stride,
                       int64_t column_stride, dnnl_data_type_t type) {
    const dnnl_dims_t dims = {rows, columns}, strides = {row_stride, column_stride};
    return ok(dnnl_memory_desc_init_by_strides(&desc, 2, dims, type, strides));
  }

  bool create(dnnl_engine_t engine) {
    dnnl_memory_desc_t x, weight, bias, out;
    const auto type_of = [](DType dtype) {
      return dtype == DType::kBFloat16 ? dnnl_bf16 : dnnl_f32;
    };
    if (!describe(x, key_.m, key_.k, key_.k, 1, dnnl_bf16) ||
        !describe(weight, key_.k, key_.n, 1, key_.k, dnnl_bf16) ||
        !describe(out, key_.m, key_.n, key_.out_stride, 1, type_of(key_.out_dtype)) ||
        !describe(bias, 1, key_.n, key_.n, 1, type_of(key_.bias_dtype))) {
      return false;
    }
    dnnl_matmul_desc_t desc;
    PrimitiveAttr attr;
    PrimitiveDesc primitive_desc;
    if (!ok(dnnl_matmul_desc_init(&desc, &x, &weight, key_.has_bias ? &bias : nullptr, &out)) ||
        !ok(dnnl_primitive_attr_create(attr.out())) ||
        !ok(dnnl_primitive_attr_set_scratchpad_mode(attr.get(), dnnl_scratchpad_mode_user)) ||
        !ok(dnnl_primitive_desc_create(primitive_desc.out(), &desc, attr.get(), engine, nullptr)) ||
        !ok(dnnl_primitive_create(primitive_.out(), primitive_desc.get()))) {
      return false;
    }
    const dnnl_memory_desc_t* scratch =
        dnnl_primitive_desc_query_md(primitive_desc.get(), dnnl_query_scratchpad_md, 0);
    scratch_bytes_ = scratch == nullptr ? 0 : dnnl_memory_desc_get_size(scratch);
    const auto make = [&](Memory& memory, const dnnl_memory_desc_t& memory_desc) {
      return ok(dnnl_memory_create(memory.out(), &memory_desc, engine, DNNL_MEMORY_NONE));
    };
    return make(x_, x) && make(weight_, weight) && make(out_, out) &&
           (!key_.has_bias || make(bias_, bias)) &&
           (scratch_bytes_ == 0 || make(scratch_, *scratch));
  }

  Key key_;
  Primitive primitive_;
  Memory x_, weight_, bias_, out_, scratch_;
  size_t scratch_bytes_ = 0;
  bool is_valid_ = false;
};

/// The products that this thread has compiled, the last used first.
const Product& product_for(const Key& key) {
  constexpr size_t kKept = 64;
  thread_local std::list<Product> products;
  const auto it = std::find_if(products.begin(), products.end(),
                               [&](const Product& product) { return product.key() == key; });
  if (it != products.end()) {
    products.splice(products.begin(), products, it);
  } else {
    if (products.size() >= kKept) products.pop_back();
    products.emplace_front(key, engine());
  }
  return products.front();
}

dnnl_stream_t thread_stream() {
  thread_local Stream stream;
  if (stream.get() == nullptr) {
    (void)dnnl_stream_create(stream.out(), engine(), dnnl_stream_default_flags);
  }
  return stream.get();
}

bool run_tile(const LinearArgs& args, int64_t row, int64_t n_rows, int64_t column,
              int64_t n_columns, ThreadPool& pool, int worker) {
  const Product& product = product_for(
      {n_rows, n_columns, args.k, args.n, args.bias_dtype, args.out_dtype, args.bias != nullptr});
  if (!product.is_valid() || thread_stream() == nullptr) return false;
  const void* bias = args.bias == nullptr ? nullptr : element(args.bias, args.bias_dtype, column);
  return product.run(element(args.x, args.dtype, row * args.k),
                     element(args.weight, args.weight_dtype, column * args.k), bias,
                     element(args.out, args.out_dtype, row * args.n + column),
                     pool.scratch(worker, product.scratch_bytes()), thread_stream());
}

/// Whether this machine's oneDNN can do such products at all; asked once.
bool is_available() {
  static const bool available = [] {
    if (engine() == nullptr) return false;
    return Product({32, 32, 64, 32, DType::kFloat32, DType::kBFloat16, false}, engine()).is_valid();
  }();
  return available;
}

}  // namespace

const char* linear_onednn_refuse(const LinearArgs& args) {
  if (args.dtype != DType::kBFloat16) return "x is not bfloat16";
  if (args.weight_dtype != DType::kBFloat16) return "the weight is not bfloat16";
  if (args.bias != nullptr && args.bias_dtype == DType::kFloat16) return "the bias is float16";
  if (args.n_rows < kFewestRows) return "fewer than 17 rows";
  if (args.n < kFewestColumns || args.k < kFewestColumns) return "fewer than 32 columns";
  if (reinterpret_cast<uintptr_t>(args.weight) % sizeof(uint16_t) != 0) {
    return "the weight is not aligned";
  }
  if (!is_available()) return "oneDNN has no bfloat16 product for this CPU";
  return nullptr;
}

void linear_onednn(const LinearArgs& args, ThreadPool& pool) noexcept {
  // Tiles as large as leave every worker one: within them oneDNN reuses what it has packed.
  const int64_t n_tiles = std::min<int64_t>(pool.size(), args.n / kFewestColumns);
  int64_t columns = std::max((args.n + n_tiles - 1) / n_tiles, std::min(args.n, kTileColumns));
  columns = (columns + 31) / 32 * 32;
  const int64_t column_tiles = (args.n + columns - 1) / columns;
  const int64_t rows =
      column_tiles >= pool.size()
          ? kTileRows
          : std::max<int64_t>(64, (args.n_rows * column_tiles / pool.size() + 63) / 64 * 64);
  const int64_t row_tiles = (args.n_rows + rows - 1) / rows;
  std::atomic<bool> failed{false};
  parallel_tasks(pool, row_tiles * column_tiles, [&](int64_t task, int worker) {
    const OneThread one_thread;
    const int64_t row = task % row_tiles * rows;
    const int64_t column = task / row_tiles * columns;
    if (!run_tile(args, row, std::min(rows, args.n_rows - row), column,
                  std::min(columns, args.n - column), pool, worker)) {
      failed.store(true, std::memory_order_relaxed);
    }
  });
  if (failed.load()) linear_cpu(args, pool);
}

}  // namespace lockstep::ops
