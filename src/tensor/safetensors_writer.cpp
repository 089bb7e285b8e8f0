// Writing safetensors: declared first, filled in any order, visible when whole.
#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/text.h"
#include "lockstep/error.h"
#include "tensor/safetensors.h"

namespace lockstep {
namespace {

// Which bytes of one tensor have been written, as disjoint intervals begin -> end.
class Coverage {
 public:
  void add(uint64_t begin, uint64_t end) {
    if (begin == end) return;
    auto next = intervals_.upper_bound(begin);
    if (next != intervals_.begin() && std::prev(next)->second >= begin) {
      --next;
      begin = next->first;
    }
    while (next != intervals_.end() && next->first <= end) {
      end = std::max(end, next->second);
      next = intervals_.erase(next);
    }
    intervals_.emplace(begin, end);
  }

  /// The first byte of [0, size) that is missing; `size` when none is.
  uint64_t first_missing(uint64_t size) const {
    if (intervals_.empty() || intervals_.begin()->first > 0) return 0;
    return std::min(size, intervals_.begin()->second);
  }

 private:
  std::map<uint64_t, uint64_t> intervals_;
};

struct Item {
  TensorEntry entry;
  Coverage written;
};

}  // namespace

struct SafetensorsWriter::Impl {
  std::filesystem::path path;
  std::vector<Item> items;
  std::unordered_map<std::string, size_t> by_name;
  std::map<std::string, std::string> metadata;
  std::unique_ptr<AtomicFile> file;
  uint64_t data_offset = 0;
  bool committed = false;

  [[noreturn]] void fail(ErrorCode code, const std::string& what) const {
    throw Error(code, path.string() + ": " + what);
  }

  void require_declaring(std::string_view call) const {
    if (file != nullptr) {
      fail(ErrorCode::kInvalidArgument, fmt::format("{} is called after begin()", call));
    }
  }

  void require_writing(std::string_view call) const {
    if (file == nullptr || committed) {
      fail(ErrorCode::kFailedPrecondition,
           fmt::format("{} is called {}", call, committed ? "after commit()" : "before begin()"));
    }
  }

  std::string header_json() const {
    nlohmann::ordered_json json = nlohmann::ordered_json::object();
    // push_back of a member would search for it; the names are known to differ.
    auto& object = json.get_ref<nlohmann::ordered_json::object_t&>();
    object.reserve(items.size() + 1);
    if (!metadata.empty()) object.push_back({"__metadata__", metadata});
    for (const Item& item : items) {
      nlohmann::ordered_json value = {{"dtype", dtype_safetensors_name(item.entry.dtype)},
                                      {"shape", item.entry.shape},
                                      {"data_offsets", {item.entry.begin, item.entry.end}}};
      object.push_back({item.entry.name, std::move(value)});
    }
    std::string text = json.dump();
    // Spaces, so that the data section is aligned for every type.
    text.resize((text.size() + 7) / 8 * 8, ' ');
    return text;
  }
};

SafetensorsWriter::SafetensorsWriter(std::filesystem::path path) : impl_(std::make_unique<Impl>()) {
  impl_->path = std::move(path);
}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::declare(const std::string& name, DType dtype,
                                std::span<const int64_t> shape) {
  impl_->require_declaring("declare()");
  const auto refuse = [&](const std::string& what) {
    impl_->fail(ErrorCode::kInvalidArgument, fmt::format("tensor {}: {}", quote_text(name), what));
  };
  if (name == "__metadata__") refuse("this name is reserved by the format");
  if (!simdjson::validate_utf8(name)) refuse("expected a name in UTF-8, found other bytes");
  const int64_t elements = checked_product(shape);
  int64_t bytes = 0;
  if (elements < 0 ||
      __builtin_mul_overflow(elements, static_cast<int64_t>(dtype_size(dtype)), &bytes)) {
    refuse(fmt::format("expected sizes of at least 0 whose product fits in 64 bits, found [{}]",
                       fmt::join(shape, ", ")));
  }
  if (!impl_->by_name.emplace(name, impl_->items.size()).second) {
    refuse("expected to be declared once, found twice");
  }
  Item item;
  item.entry = {name, dtype, {shape.begin(), shape.end()}, 0, static_cast<uint64_t>(bytes)};
  impl_->items.push_back(std::move(item));
}

void SafetensorsWriter::set_metadata(std::map<std::string, std::string> metadata) {
  impl_->require_declaring("set_metadata()");
  for (const auto& [key, value] : metadata) {
    if (!simdjson::validate_utf8(key) || !simdjson::validate_utf8(value)) {
      impl_->fail(ErrorCode::kInvalidArgument,
                  fmt::format("metadata {}: expected UTF-8, found other bytes", quote_text(key)));
    }
  }
  impl_->metadata = std::move(metadata);
}

void SafetensorsWriter::begin() {
  impl_->require_declaring("begin()");
  // Widest types first: every tensor is then aligned to its own type.
  std::stable_sort(impl_->items.begin(), impl_->items.end(), [](const Item& a, const Item& b) {
    return dtype_size(a.entry.dtype) > dtype_size(b.entry.dtype);
  });
  uint64_t offset = 0;
  for (size_t i = 0; i < impl_->items.size(); ++i) {
    TensorEntry& entry = impl_->items[i].entry;
    const uint64_t bytes = entry.end - entry.begin;
    entry.begin = offset;
    if (bytes > INT64_MAX - offset) {
      impl_->fail(ErrorCode::kOutOfRange, "expected a file of less than 2^63 bytes, found more");
    }
    entry.end = offset += bytes;
    impl_->by_name[entry.name] = i;
  }
  const std::string json = impl_->header_json();
  const uint64_t length = json.size();
  std::byte prefix[8];
  std::memcpy(prefix, &length, sizeof(length));
  impl_->file = std::make_unique<AtomicFile>(impl_->path);
  impl_->file->write(prefix);
  impl_->file->write(json);
  impl_->data_offset = sizeof(prefix) + length;
}

void SafetensorsWriter::write(std::string_view name, uint64_t offset,
                              std::span<const std::byte> bytes) {
  impl_->require_writing("write()");
  const auto found = impl_->by_name.find(std::string(name));
  if (found == impl_->by_name.end()) {
    impl_->fail(ErrorCode::kNotFound,
                fmt::format("tensor {}: written, but never declared", quote_text(name)));
  }
  Item& item = impl_->items[found->second];
  const uint64_t size = item.entry.end - item.entry.begin;
  if (offset > size || bytes.size() > size - offset) {
    impl_->fail(ErrorCode::kOutOfRange,
                fmt::format("tensor {}: expected bytes within its {}, found {} bytes at {}",
                            quote_text(name), size, bytes.size(), offset));
  }
  impl_->file->write_at(impl_->data_offset + item.entry.begin + offset, bytes);
  item.written.add(offset, offset + bytes.size());
}

void SafetensorsWriter::commit() {
  impl_->require_writing("commit()");
  for (const Item& item : impl_->items) {
    const uint64_t size = item.entry.end - item.entry.begin;
    const uint64_t missing = item.written.first_missing(size);
    if (missing < size) {
      impl_->fail(ErrorCode::kFailedPrecondition,
                  fmt::format("tensor {}: expected all {} bytes to be written, found none at {}",
                              quote_text(item.entry.name), size, missing));
    }
  }
  impl_->file->commit();
  impl_->committed = true;
}

}  // namespace lockstep
