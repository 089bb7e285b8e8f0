// A Hub with a small model on it, and a cache of the test's own.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/testing/temp_folder.h"
#include "hub/hub_settings.h"
#include "hub_server.h"

namespace lockstep::test {

// Sanitizers take their part of a limit on time.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr double kSlowness = 10;
#else
inline constexpr double kSlowness = 1;
#endif
#else
inline constexpr double kSlowness = 1;
#endif

/// A safetensors file of bfloat16 matrices [rows, 64] of zeros, as header and full size.
inline ServedFile safetensors_of(const std::vector<std::string>& names, int64_t rows) {
  std::string text = "{";
  uint64_t end = 0;
  for (const std::string& name : names) {
    const uint64_t begin = std::exchange(end, end + static_cast<uint64_t>(rows) * 128);
    text += (text.size() > 1 ? ",\"" : "\"") + name + R"(":{"dtype":"BF16","shape":[)" +
            std::to_string(rows) + R"(,64],"data_offsets":[)" + std::to_string(begin) + "," +
            std::to_string(end) + "]}";
  }
  text += "}";
  std::string bytes;
  for (uint64_t length = text.size(); bytes.size() < 8; length >>= 8) {
    bytes += static_cast<char>(length & 0xff);
  }
  bytes += text;
  const uint64_t size = bytes.size() + end;
  return {std::move(bytes), size, true, ""};
}

inline ServedFile small_file(std::string text) { return {std::move(text), 0, false, ""}; }

class HubTest : public ::testing::Test {
 protected:
  static constexpr const char* kModel = "org/tiny";
  static constexpr const char* kToken = "hf_tHeSeCrEt";

  HubTest() {
    ServedModel& model = hub_.models[kModel];
    model.files["config.json"] = small_file(R"({"architectures": ["TinyForCausalLM"]})");
    model.files["README.md"] = small_file("# tiny\n");
    model.files["original/params.json"] = small_file("{}");
    model.files["pytorch_model.bin"] = {std::string(1000, 'p'), 0, true, ""};
    model.files["tokenizer.json"] = small_file(std::string(5000, 't'));
    model.files["model.safetensors"] = safetensors_of({"a", "b"}, 1000);
    settings_.endpoint = hub_.url();
    settings_.cache = temp_ / "cache";
    settings_.first_wait = std::chrono::milliseconds(4);
    settings_.patience = std::chrono::seconds(1);
    // A proxy of the machine's is not for loopback.
    ::setenv("no_proxy", "127.0.0.1,localhost", 1);
  }

  ServedFile& weights() { return hub_.models[kModel].files["model.safetensors"]; }
  std::filesystem::path repository() const { return settings_.cache / "models--org--tiny"; }
  std::filesystem::path snapshot() const {
    return repository() / "snapshots" / hub_.models.at(kModel).commit;
  }
  std::filesystem::path part() {
    return repository() / "blobs" / (etag_of(weights()) + ".incomplete");
  }
  std::string full(const ServedFile& file) const {
    return file.bytes + std::string(file.full_size() - file.bytes.size(), '\0');
  }
  void expect_whole() {
    EXPECT_EQ(read_bytes(snapshot() / "model.safetensors"), full(weights()));
    EXPECT_FALSE(std::filesystem::exists(part()));
  }
  /// A fault for requests of the weights alone, which gets their number, from 0.
  void on_weights(std::function<Fault(int)> fault) {
    auto n = std::make_shared<std::atomic<int>>(0);
    hub_.fault = [n, fault = std::move(fault)](const ServedRequest& request) {
      const bool is_one = request.target.ends_with("model.safetensors");
      return is_one ? fault(n->fetch_add(1)) : Fault();
    };
  }

  TempFolder temp_;
  HubServer hub_;
  HubSettings settings_;
};

}  // namespace lockstep::test
