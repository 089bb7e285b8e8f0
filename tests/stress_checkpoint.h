// Stress checkpoints: the weights of tests/fixtures/stress/NAME, made from its tensors.json bit for
// bit as tests/stress/make_checkpoint.py makes them.
#pragma once

#include <bit>
#include <cmath>
#include <map>

#include "projections.h"
#include "support.h"

namespace lockstep::test {

/// A folder of tests/fixtures/stress: what is asked for, and what the reference computed.
struct StressSpec {
  explicit StressSpec(const std::string& name)
      : folder(source_dir() / "tests" / "fixtures" / "stress" / name),
        spec(read_json(folder / "spec.json")),
        expected(read_json(folder / "expected.json")),
        arrays(SafetensorsFile::open(folder / "expected.safetensors")),
        seed(spec["seed"]) {}

  std::vector<int32_t> prompt(int64_t vocab_size) const {
    const Draws draw(seed, "prompt");
    std::vector<int32_t> ids(spec["tokens"].get<size_t>());
    for (size_t i = 0; i < ids.size(); ++i) {
      ids[i] = static_cast<int32_t>(draw(i) % static_cast<uint64_t>(vocab_size));
    }
    return ids;
  }

  std::filesystem::path folder;
  nlohmann::json spec, expected;
  SafetensorsFile arrays;
  uint64_t seed;
};

/// The folders there are.
inline std::vector<std::string> stress_names() {
  std::vector<std::string> names;
  const std::filesystem::path folder = source_dir() / "tests" / "fixtures" / "stress";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// One tensor of the checkpoint.
struct StressTensor {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  double offset;
  int exponent;
  int64_t outlier = -1;  // a channel, made 2^outlier_exponent times as large
  int outlier_exponent = 0;

  int64_t elements() const {
    int64_t n = 1;
    for (const int64_t size : shape) n *= size;
    return n;
  }

  /// offset + (sum of the four 16-bit fields, less its mean) * 2^exponent: exact in float32.
  float value(int64_t i, uint64_t bits) const {
    const uint64_t sum =
        (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48);
    double x = offset + std::ldexp(static_cast<double>(sum) - 131070, exponent);
    if (outlier >= 0 && i % shape.back() == outlier) x = std::ldexp(x, outlier_exponent);
    return static_cast<float>(x);
  }
};

inline std::vector<StressTensor> stress_tensors(const StressSpec& stress) {
  const std::map<std::string, DType> dtypes = {
      {"F32", DType::kFloat32}, {"F16", DType::kFloat16}, {"BF16", DType::kBFloat16}};
  const nlohmann::json rows = read_json(stress.folder / "tensors.json");
  std::vector<StressTensor> tensors;
  for (const nlohmann::json& row : rows["tensors"]) {
    StressTensor tensor{row["name"], dtypes.at(row["dtype"]), row["shape"], row["offset"],
                        row["exponent"]};
    if (row.contains("outlier")) {
      tensor.outlier = row["outlier"][0];
      tensor.outlier_exponent = row["outlier"][1];
    }
    const std::string name = tensor.name;
    const size_t number = name.find("{}");
    for (int64_t i = 0; i < row["count"]; ++i) {
      if (number != std::string::npos) {
        tensor.name = name.substr(0, number) + std::to_string(i) + name.substr(number + 2);
      }
      tensors.push_back(tensor);
    }
  }
  return tensors;
}

/// Bytes of a tensor, and its share of the checksum.
template <class Element, class Convert>
std::vector<Element> stress_values(const StressTensor& tensor, uint64_t seed, uint64_t& checksum,
                                   const Convert& convert) {
  const Draws draw(seed, tensor.name);
  std::vector<Element> values(static_cast<size_t>(tensor.elements()));
  for (size_t i = 0; i < values.size(); ++i) {
    const uint64_t bits = draw(i);
    values[i] = convert(tensor.value(static_cast<int64_t>(i), bits));
    checksum += (uint64_t{values[i]} + 1) * bits;
  }
  return values;
}

/// Writes the checkpoint into `to` and returns the checksum of all weights.
inline uint64_t make_stress_checkpoint(const StressSpec& stress, const std::filesystem::path& to) {
  std::filesystem::copy_file(stress.folder / "config.json", to / "config.json");
  const std::vector<StressTensor> tensors = stress_tensors(stress);
  const size_t n_shards = stress.spec["shards"];
  nlohmann::json where;
  uint64_t checksum = 0;
  for (size_t shard = 0, i = 0; shard < n_shards; ++shard) {
    char name[64] = "model.safetensors";
    if (n_shards > 1) {
      std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", shard + 1, n_shards);
    }
    const size_t begin = i;
    SafetensorsWriter writer(to / name);
    for (; i < tensors.size() && i * n_shards / tensors.size() == shard; ++i) {
      writer.declare(tensors[i].name, tensors[i].dtype, tensors[i].shape);
      where[tensors[i].name] = name;
    }
    writer.begin();
    const auto write = [&](const StressTensor& tensor, const auto& values) {
      writer.write(tensor.name, 0, std::as_bytes(std::span(values)));
    };
    for (size_t t = begin; t < i; ++t) {
      if (tensors[t].dtype == DType::kFloat32) {
        write(tensors[t], stress_values<uint32_t>(tensors[t], stress.seed, checksum, [](float x) {
                return std::bit_cast<uint32_t>(x);
              }));
      } else {
        const auto narrow =
            tensors[t].dtype == DType::kFloat16 ? float_to_float16 : float_to_bfloat16;
        write(tensors[t], stress_values<uint16_t>(tensors[t], stress.seed, checksum, narrow));
      }
    }
    writer.commit();
  }
  if (n_shards > 1) {
    const nlohmann::json index = {{"metadata", nlohmann::json::object()}, {"weight_map", where}};
    write_text(to / "model.safetensors.index.json", index.dump());
  }
  return checksum;
}

}  // namespace lockstep::test
