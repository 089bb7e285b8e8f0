// numpy's .npy format: a magic, a version, a Python dict literal, raw data.
#include "tensor/npy.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

[[noreturn]] void fail(const std::string& file, const std::string& what,
                       const std::string& hint = {}) {
  throw Error(ErrorCode::kInvalidArgument, file + ": " + what, hint);
}

struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<int64_t> shape;
};

// Reads the one kind of Python literal that numpy writes:
// {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  Header parse() {
    Header header;
    bool has_descr = false, has_order = false, has_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = string("a key");
      expect(':');
      bool* seen = nullptr;
      if (key == "descr") {
        seen = &has_descr;
        header.descr = descr();
      } else if (key == "fortran_order") {
        seen = &has_order;
        header.fortran_order = boolean();
      } else if (key == "shape") {
        seen = &has_shape;
        header.shape = tuple();
      } else {
        refuse("the keys descr, fortran_order and shape", quote_text(key));
      }
      if (std::exchange(*seen, true)) refuse("each key once", quote_text(key) + " twice");
      if (accept('}')) break;
      expect(',');
    }
    skip_space();
    if (at_ != text_.size()) refuse("nothing after the closing brace", rest());
    if (!has_descr) refuse("a key descr", "none");
    if (!has_order) refuse("a key fortran_order", "none");
    if (!has_shape) refuse("a key shape", "none");
    return header;
  }

 private:
  [[noreturn]] void refuse(std::string_view expected, const std::string& found) const {
    fail(file_, fmt::format("npy header: expected {}, found {}", expected, found));
  }
  std::string rest() const {
    return at_ < text_.size() ? quote_text(text_.substr(at_, 20)) : "the end";
  }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool accept(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) refuse(fmt::format("'{}'", c), rest());
  }

  std::string string(std::string_view what) {
    skip_space();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') refuse(fmt::format("{} in quotes", what), rest());
    const size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) refuse("a closing quote", rest());
    std::string out(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return out;
  }

  std::string descr() {
    skip_space();
    if (at_ < text_.size() && text_[at_] == '[') {
      fail(file_, "descr: expected one number type, found a structured type",
           "save each field as an array of its own");
    }
    return string("descr");
  }

  bool boolean() {
    skip_space();
    for (const auto& [word, value] :
         {std::pair{std::string_view("True"), true}, std::pair{std::string_view("False"), false}}) {
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return value;
      }
    }
    refuse("fortran_order to be True or False", rest());
  }

  std::vector<int64_t> tuple() {
    std::vector<int64_t> dims;
    expect('(');
    while (!accept(')')) {
      skip_space();
      const char* begin = text_.data() + at_;
      int64_t dim = 0;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), dim);
      if (error != std::errc() || dim < 0) {
        refuse("shape to be sizes from 0 to 2^63-1", rest());
      }
      at_ += static_cast<size_t>(end - begin);
      dims.push_back(dim);
      if (dims.size() > kMaxRank) {
        refuse(fmt::format("at most {} dimensions", kMaxRank), "more");
      }
      accept('L');  // Python 2 wrote long integers so.
      if (accept(')')) break;
      expect(',');
    }
    return dims;
  }

  std::string_view text_;
  const std::string& file_;
  size_t at_ = 0;
};

struct TypeCode {
  std::string_view code;  // without the byte order
  DType dtype;
};
constexpr TypeCode kTypeCodes[] = {
    {"b1", DType::kBool},    {"u1", DType::kUint8},   {"i1", DType::kInt8},
    {"u2", DType::kUint16},  {"i2", DType::kInt16},   {"u4", DType::kUint32},
    {"i4", DType::kInt32},   {"u8", DType::kUint64},  {"i8", DType::kInt64},
    {"f2", DType::kFloat16}, {"f4", DType::kFloat32}, {"f8", DType::kFloat64},
};

DType dtype_of(const std::string& descr, const std::string& file) {
  const char order = descr.empty() ? '\0' : descr.front();
  const std::string_view code = std::string_view(descr).substr(descr.empty() ? 0 : 1);
  if (code == "V2") {
    fail(file,
         fmt::format("descr: expected a numpy number type, found {}: numpy has no bfloat16 "
                     "and writes it as raw bytes",
                     quote_text(descr)),
         "save the array as float32, or as safetensors");
  }
  for (const TypeCode& type : kTypeCodes) {
    if (type.code != code) continue;
    if (order == '<' || order == '=' || (order == '|' && dtype_size(type.dtype) == 1)) {
      return type.dtype;
    }
    if (order == '>' && dtype_size(type.dtype) == 1) return type.dtype;
    if (order == '>') {
      fail(file, fmt::format("descr: expected little-endian data, found {}", quote_text(descr)),
           "convert it with array.astype(array.dtype.newbyteorder('<'))");
    }
  }
  fail(file,
       fmt::format("descr: expected one of b1, u1..u8, i1..i8, f2, f4, f8, found {}",
                   quote_text(descr)),
       "convert the array to one of these types");
}

// The header's text, and where the data begins.
std::pair<std::string_view, size_t> header_text(std::span<const std::byte> bytes,
                                                const std::string& file) {
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!all.starts_with(kMagic) || all.size() < kMagic.size() + 2) {
    fail(file, fmt::format("expected an npy file to begin with \\x93NUMPY and a version, found {}",
                           all.empty() ? "no bytes" : quote_text(all.substr(0, 8))));
  }
  const int major = static_cast<uint8_t>(all[6]), minor = static_cast<uint8_t>(all[7]);
  if (major < 1 || major > 3 || minor != 0) {
    fail(file, fmt::format("expected npy version 1.0, 2.0 or 3.0, found {}.{}", major, minor));
  }
  const size_t length_bytes = major == 1 ? 2 : 4;
  const size_t begin = kMagic.size() + 2 + length_bytes;
  if (all.size() < begin) {
    fail(file,
         fmt::format("expected an npy header of at least {} bytes, found {}", begin, all.size()));
  }
  size_t length = 0;
  for (size_t i = 0; i < length_bytes; ++i) {
    length |= static_cast<size_t>(static_cast<uint8_t>(all[kMagic.size() + 2 + i])) << (8 * i);
  }
  if (length > all.size() - begin) {
    fail(file, fmt::format("npy header: expected {} bytes, found {}", length, all.size() - begin));
  }
  return {all.substr(begin, length), begin + length};
}

// The array that numpy stored column by column: the same bytes with the strides reversed.
View fortran_view(const void* data, DType dtype, const std::vector<int64_t>& shape) {
  View view = make_view(data, dtype, shape);
  int64_t stride = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    view.stride[i] = stride;
    stride *= std::max<int64_t>(shape[i], 1);
  }
  return view;
}

std::string_view type_code(DType dtype) {
  for (const TypeCode& type : kTypeCodes) {
    if (type.dtype == dtype) return type.code;
  }
  return {};
}

Tensor widened(const View& view) {
  const Tensor from = Tensor::copy_of(view);
  Tensor to(DType::kFloat32, {view.shape.data(), static_cast<size_t>(view.rank)});
  for (int64_t i = 0; i < view.elements(); ++i) {
    to.data<float>()[i] = static_cast<float>(load_element(from.view().data, view.dtype, i));
  }
  return to;
}

}  // namespace

Tensor parse_npy(std::span<const std::byte> bytes, const std::string& file) {
  const auto [text, data_offset] = header_text(bytes, file);
  const Header header = HeaderParser(text, file).parse();
  const DType dtype = dtype_of(header.descr, file);
  const int64_t elements = checked_product(header.shape);
  int64_t n_bytes = 0;
  if (elements < 0 ||
      __builtin_mul_overflow(elements, static_cast<int64_t>(dtype_size(dtype)), &n_bytes)) {
    fail(file, fmt::format("shape: expected sizes whose product fits in 64 bits, found ({})",
                           fmt::join(header.shape, ", ")));
  }
  const std::span<const std::byte> data = bytes.subspan(data_offset);
  if (data.size() != static_cast<size_t>(n_bytes)) {
    fail(file, fmt::format("expected {} bytes for {}[{}], found {}", n_bytes, dtype_name(dtype),
                           fmt::join(header.shape, ", "), data.size()));
  }
  return Tensor::copy_of(header.fortran_order ? fortran_view(data.data(), dtype, header.shape)
                                              : make_view(data.data(), dtype, header.shape));
}

Tensor read_npy(const std::filesystem::path& path) {
  const MappedFile map = MappedFile::open(path);
  return parse_npy(map.bytes(), path.string());
}

void write_npy(const std::filesystem::path& path, const View& view) {
  const Tensor tensor = type_code(view.dtype).empty() ? widened(view) : Tensor::copy_of(view);
  const View& out = tensor.view();
  const size_t size = dtype_size(out.dtype);
  std::string dims;
  for (int i = 0; i < out.rank; ++i) {
    dims += fmt::format("{}{}", out.dim(i), out.rank == 1 || i + 1 < out.rank ? "," : "");
    if (i + 1 < out.rank) dims += ' ';
  }
  std::string header = fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': ({}), }}",
                                   size == 1 ? '|' : '<', type_code(out.dtype), dims);
  // numpy aligns the data to 64 bytes and ends the header with a newline.
  const size_t prefix = kMagic.size() + 4;
  header.resize((prefix + header.size() + 1 + 63) / 64 * 64 - prefix - 1, ' ');
  header += '\n';
  AtomicFile file(path);
  file.write(kMagic);
  const char rest[] = {1, 0, static_cast<char>(header.size() & 0xff),
                       static_cast<char>(header.size() >> 8)};
  file.write(std::string_view(rest, sizeof(rest)));
  file.write(header);
  file.write({out.as<const std::byte>(), out.bytes()});
  file.commit();
}

}  // namespace lockstep
