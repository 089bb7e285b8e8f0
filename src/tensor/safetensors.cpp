// Reading safetensors: the header with every check, and the mapped file.
#include "tensor/safetensors.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "base/text.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

namespace dom = simdjson::dom;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::string_view kDamagedHint =
    "the file is damaged or was not downloaded completely; fetch it again";

// Types that the format has and this build does not.
constexpr std::string_view kOtherDtypes[] = {"F4",          "F6_E2M3",     "F6_E3M2", "F8_E8M0",
                                             "F8_E4M3FNUZ", "F8_E5M2FNUZ", "C64"};

[[noreturn]] void fail(const std::string& file, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, file + ": " + what, std::string(kDamagedHint));
}

[[noreturn]] void fail(const std::string& file, std::string_view tensor, const std::string& what) {
  fail(file, fmt::format("tensor {}: {}", quote_text(tensor), what));
}

std::string_view kind_name(const dom::element& value) {
  switch (value.type()) {
    case dom::element_type::ARRAY:
      return "an array";
    case dom::element_type::OBJECT:
      return "an object";
    case dom::element_type::INT64:
    case dom::element_type::UINT64:
      return "an integer";
    case dom::element_type::DOUBLE:
      return "a fraction";
    case dom::element_type::STRING:
      return "a string";
    case dom::element_type::BOOL:
      return "a boolean";
    case dom::element_type::NULL_VALUE:
      return "null";
  }
  return "something else";
}

// A number as the file has it, anything else by its kind.
std::string describe(const dom::element& value) {
  int64_t number = 0;
  if (value.get(number) == simdjson::SUCCESS) return fmt::format("{}", number);
  std::string_view text;
  if (value.get(text) == simdjson::SUCCESS) return "the string " + quote_text(text);
  return std::string(kind_name(value));
}

// The JSON text of the header, checked for length alone.
std::string_view header_text(std::span<const std::byte> bytes, uint64_t file_size,
                             const std::string& file) {
  if (file_size < kLengthBytes || bytes.size() < kLengthBytes) {
    fail(file, fmt::format("expected a safetensors file of at least 8 bytes, found {}",
                           std::min<uint64_t>(file_size, bytes.size())));
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (length > kMaxHeaderBytes) {
    fail(file,
         fmt::format("expected a safetensors header of at most {} bytes, found a length of {}",
                     kMaxHeaderBytes, length));
  }
  if (length > file_size - kLengthBytes) {
    fail(file, fmt::format("expected a header of {} bytes, found only {} bytes after its length",
                           length, file_size - kLengthBytes));
  }
  if (length > bytes.size() - kLengthBytes) {
    fail(file, fmt::format("expected the whole header of {} bytes to be given, found {}", length,
                           bytes.size() - kLengthBytes));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes,
                              static_cast<size_t>(length));
  if (text.empty() || text.front() != '{') {
    fail(file, fmt::format("expected the header to begin with {{, found {}",
                           text.empty() ? "no bytes" : quote_text(text.substr(0, 1))));
  }
  return text;
}

std::map<std::string, std::string> read_metadata(const dom::element& value,
                                                 const std::string& file) {
  dom::object object;
  if (value.get(object) != simdjson::SUCCESS) {
    fail(file,
         fmt::format("__metadata__: expected an object of strings, found {}", describe(value)));
  }
  std::map<std::string, std::string> metadata;
  for (const dom::key_value_pair field : object) {
    std::string_view text;
    if (field.value.get(text) != simdjson::SUCCESS) {
      fail(file, fmt::format("__metadata__: {}: expected a string, found {}", quote_text(field.key),
                             describe(field.value)));
    }
    if (!metadata.emplace(field.key, text).second) {
      fail(file,
           fmt::format("__metadata__: {}: expected once, found twice", quote_text(field.key)));
    }
  }
  return metadata;
}

DType read_dtype(const dom::element& value, std::string_view tensor, const std::string& file) {
  std::string_view name;
  if (value.get(name) != simdjson::SUCCESS) {
    fail(file, tensor, fmt::format("dtype: expected a string, found {}", describe(value)));
  }
  const std::optional<DType> dtype = dtype_from_safetensors_name(name);
  if (dtype.has_value()) return *dtype;
  if (std::find(std::begin(kOtherDtypes), std::end(kOtherDtypes), name) != std::end(kOtherDtypes)) {
    throw Error(
        ErrorCode::kUnimplemented,
        fmt::format("{}: tensor {}: dtype {} is not supported", file, quote_text(tensor), name),
        "use a checkpoint of another type, or convert the tensor");
  }
  fail(file, tensor,
       fmt::format("dtype: expected one of the format's types (F32, BF16, ...), found {}",
                   quote_text(name)));
}

void read_shape(const dom::element& value, const std::string& file, TensorEntry& entry) {
  dom::array array;
  if (value.get(array) != simdjson::SUCCESS) {
    fail(file, entry.name, fmt::format("shape: expected an array, found {}", describe(value)));
  }
  entry.shape.reserve(array.size());
  for (const dom::element dim : array) {
    int64_t size = 0;
    if (dim.get(size) != simdjson::SUCCESS || size < 0) {
      fail(file, entry.name,
           fmt::format("shape: expected sizes from 0 to 2^63-1, found {}", describe(dim)));
    }
    entry.shape.push_back(size);
  }
}

void read_offsets(const dom::element& value, uint64_t data_bytes, const std::string& file,
                  TensorEntry& entry) {
  dom::array array;
  if (value.get(array) != simdjson::SUCCESS) {
    fail(file, entry.name,
         fmt::format("data_offsets: expected [begin, end], found {}", describe(value)));
  }
  uint64_t offsets[2] = {};
  size_t n = 0;
  for (const dom::element offset : array) {
    if (n < 2 && offset.get(offsets[n]) != simdjson::SUCCESS) {
      fail(file, entry.name,
           fmt::format("data_offsets: expected whole numbers, found {}", describe(offset)));
    }
    ++n;
  }
  if (n != 2) {
    fail(file, entry.name, fmt::format("data_offsets: expected [begin, end], found {} values", n));
  }
  if (offsets[0] > offsets[1] || offsets[1] > data_bytes) {
    fail(file, entry.name,
         fmt::format("data_offsets: expected begin <= end <= {} (the bytes of data in the file), "
                     "found [{}, {}]",
                     data_bytes, offsets[0], offsets[1]));
  }
  entry.begin = offsets[0];
  entry.end = offsets[1];
}

void check_size(const std::string& file, const TensorEntry& entry) {
  const int64_t elements = checked_product(entry.shape);
  int64_t bytes = 0;
  const std::string type =
      fmt::format("{}[{}]", dtype_name(entry.dtype), fmt::join(entry.shape, ", "));
  if (elements < 0 ||
      __builtin_mul_overflow(elements, static_cast<int64_t>(dtype_size(entry.dtype)), &bytes)) {
    fail(file, entry.name, fmt::format("{}: expected a size that fits in 64 bits", type));
  }
  if (static_cast<uint64_t>(bytes) != entry.end - entry.begin) {
    fail(file, entry.name,
         fmt::format("expected {} bytes for {}, found {} in data_offsets [{}, {}]", bytes, type,
                     entry.end - entry.begin, entry.begin, entry.end));
  }
}

TensorEntry read_entry(std::string_view name, const dom::element& value, uint64_t data_bytes,
                       const std::string& file) {
  dom::object object;
  if (value.get(object) != simdjson::SUCCESS) {
    fail(file, name, fmt::format("expected an object, found {}", describe(value)));
  }
  TensorEntry entry;
  entry.name = name;
  bool has_dtype = false, has_shape = false, has_offsets = false;
  // Keys beyond the three are skipped, as the reference implementation does.
  const auto once = [&](bool& seen, std::string_view key) {
    if (std::exchange(seen, true)) {
      fail(file, name, fmt::format("{}: expected once, found twice", key));
    }
  };
  for (const dom::key_value_pair field : object) {
    if (field.key == "dtype") {
      once(has_dtype, field.key);
      entry.dtype = read_dtype(field.value, name, file);
    } else if (field.key == "shape") {
      once(has_shape, field.key);
      read_shape(field.value, file, entry);
    } else if (field.key == "data_offsets") {
      once(has_offsets, field.key);
      read_offsets(field.value, data_bytes, file, entry);
    }
  }
  if (!has_dtype || !has_shape || !has_offsets) {
    const std::string_view missing = !has_dtype ? "dtype" : !has_shape ? "shape" : "data_offsets";
    fail(file, name,
         fmt::format("expected the keys dtype, shape and data_offsets, found no {}", missing));
  }
  check_size(file, entry);
  return entry;
}

// Sorts by place and checks that the tensors tile the data section.
void check_layout(uint64_t data_bytes, const std::string& file, std::vector<TensorEntry>& tensors) {
  const auto before = [](const TensorEntry& a, const TensorEntry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  };
  if (!std::is_sorted(tensors.begin(), tensors.end(), before)) {
    std::sort(tensors.begin(), tensors.end(), before);
  }
  uint64_t end = 0;
  for (const TensorEntry& entry : tensors) {
    if (entry.begin != end) {
      fail(file, entry.name,
           fmt::format("expected its data to begin at {}, where the tensor before it ends, found "
                       "{}: {}",
                       end, entry.begin, entry.begin < end ? "they overlap" : "there is a gap"));
    }
    end = entry.end;
  }
  if (end != data_bytes) {
    fail(file, fmt::format("expected tensors to fill the {} bytes of data in the file, found {}",
                           data_bytes, end));
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> bytes, uint64_t file_size,
                                           const std::string& file) {
  const std::string_view text = header_text(bytes, file_size, file);
  SafetensorsHeader header;
  header.data_offset = kLengthBytes + text.size();
  const uint64_t data_bytes = file_size - header.data_offset;

  dom::parser parser(kMaxHeaderBytes);
  dom::object root;
  // simdjson reads beyond the end, hence the copy that `parse` makes of unpadded text.
  const simdjson::error_code error = parser.parse(text.data(), text.size()).get(root);
  if (error == simdjson::MEMALLOC) {
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("{}: no memory for a header of {} bytes", file, text.size()));
  }
  if (error != simdjson::SUCCESS) {
    fail(file, fmt::format("expected the header to be a JSON object, found: {}",
                           simdjson::error_message(error)));
  }
  std::unordered_set<std::string_view> names;
  names.reserve(root.size());
  header.tensors.reserve(root.size());
  for (const dom::key_value_pair field : root) {
    if (!names.insert(field.key).second) {
      fail(file, field.key, "expected once in the header, found twice");
    }
    if (field.key == "__metadata__") {
      header.metadata = read_metadata(field.value, file);
    } else {
      header.tensors.push_back(read_entry(field.key, field.value, data_bytes, file));
    }
  }
  check_layout(data_bytes, file, header.tensors);
  return header;
}

SafetensorsFile::SafetensorsFile(MappedFile map, SafetensorsHeader header)
    : map_(std::move(map)), header_(std::move(header)) {
  by_name_.reserve(header_.tensors.size());
  for (size_t i = 0; i < header_.tensors.size(); ++i) by_name_.emplace(header_.tensors[i].name, i);
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  MappedFile map = MappedFile::open(path);
  SafetensorsHeader header =
      parse_safetensors_header(map.bytes(), map.bytes().size(), path.string());
  return SafetensorsFile(std::move(map), std::move(header));
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const noexcept {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &header_.tensors[found->second];
}

View SafetensorsFile::view(const TensorEntry& entry) const {
  if (entry.shape.size() > kMaxRank) {
    throw Error(ErrorCode::kOutOfRange,
                fmt::format("{}: tensor {}: expected at most {} dimensions, found {}",
                            path().string(), quote_text(entry.name), kMaxRank, entry.shape.size()));
  }
  const std::span<const std::byte> data = map_.bytes().subspan(header_.data_offset);
  if (entry.begin > entry.end || entry.end > data.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: tensor {}: expected an entry of this file, found data_offsets "
                            "[{}, {}]",
                            path().string(), quote_text(entry.name), entry.begin, entry.end));
  }
  return make_view(data.data() + entry.begin, entry.dtype, entry.shape);
}

View SafetensorsFile::view(std::string_view name) const {
  const TensorEntry* entry = find(name);
  if (entry == nullptr) {
    throw Error(ErrorCode::kNotFound, fmt::format("{}: expected a tensor {}, found none of that "
                                                  "name among {}",
                                                  path().string(), quote_text(name),
                                                  counted(tensors().size(), "tensor")));
  }
  return view(*entry);
}

}  // namespace lockstep
