// Tensor headers of the Hub by ranges.
#include "hub/tensor_list.h"

#include <fmt/format.h>

#include <chrono>
#include <map>

#include "hub/download.h"
#include "test_hub.h"

namespace lockstep::test {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

class TensorListTest : public HubTest {
 protected:
  TensorList list(const std::string& model = kModel) { return list_tensors(model, settings_); }
  void expect_failure(ErrorCode code, const std::string& says) {
    const std::optional<Error> error = error_of([&] { list(); });
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(error->code(), code) << error->message();
    EXPECT_NE(error->message().find(says), std::string::npos) << error->message();
  }
  // A model in two shards in the place of the one file.
  ServedModel& divide() {
    ServedModel& model = hub_.models[kModel];
    model.files.erase("model.safetensors");
    model.files["model-1.safetensors"] = safetensors_of({"a", "b"}, 10);
    model.files["model-2.safetensors"] = safetensors_of({"c"}, 10);
    model.files["model.safetensors.index.json"] =
        small_file(R"({"weight_map": {"a": "model-1.safetensors", "b": "model-1.safetensors",
                                      "c": "model-2.safetensors"}})");
    return model;
  }
};

TEST_F(TensorListTest, ReadsHeadersAlone) {
  weights() = safetensors_of({"a", "b"}, 10'000'000);
  hub_.models[kModel].files["model.safetensors"].etag = std::string(64, 'a');
  const TensorList found = list();
  EXPECT_EQ(found.model, "org/tiny");
  EXPECT_FALSE(found.sharded);
  ASSERT_EQ(found.tensors.size(), 2u);
  EXPECT_EQ(found.tensors[1].name, "b");
  EXPECT_EQ(found.tensors[1].dtype, DType::kBFloat16);
  EXPECT_EQ(found.tensors[1].shape, (std::vector<int64_t>{10'000'000, 64}));
  ASSERT_EQ(hub_.count("model.safetensors"), 1u);
  EXPECT_EQ(hub_.requests().back().range, "bytes=0-65535");
  EXPECT_FALSE(fs::exists(settings_.cache));
}

TEST_F(TensorListTest, ALongHeaderTakesTwoRequests) {
  std::vector<std::string> names;
  for (int i = 0; i < 3000; ++i) names.push_back(fmt::format("model.layers.{}.weight", i));
  weights() = safetensors_of(names, 2);
  EXPECT_EQ(list().tensors.size(), 3000u);
  EXPECT_EQ(hub_.count("model.safetensors"), 2u);
  EXPECT_TRUE(hub_.requests().back().range.starts_with("bytes=65536-"));
}

TEST_F(TensorListTest, AServerThatIgnoresRangesIsCutShort) {
  std::vector<std::string> names;
  for (int i = 0; i < 3000; ++i) names.push_back(fmt::format("model.layers.{}.weight", i));
  weights() = safetensors_of(names, 10'000'000);
  weights().etag = std::string(64, 'a');
  hub_.fault = [](const ServedRequest&) { return Fault{.ignores_range = true}; };
  // Some four terabytes: a client that read them all would not come back.
  EXPECT_EQ(list().tensors.size(), 3000u);
}

TEST_F(TensorListTest, JoinsShards) {
  divide();
  const TensorList found = list();
  EXPECT_TRUE(found.sharded);
  EXPECT_EQ(found.n_files, 2u);
  ASSERT_EQ(found.tensors.size(), 3u);
  EXPECT_EQ(found.tensors[2].name, "c");
}

TEST_F(TensorListTest, IndexAndHeadersMustAgree) {
  divide().files["model-2.safetensors"] = safetensors_of({"d"}, 10);
  expect_failure(ErrorCode::kFailedPrecondition,
                 "tensor \"c\": expected in org/tiny: model-2.safetensors, found no such");
  divide().files["model-2.safetensors"] = safetensors_of({"c", "d"}, 10);
  expect_failure(ErrorCode::kFailedPrecondition, "tensor \"d\": found in org/tiny: model-2");
  divide().files.erase("model-2.safetensors");
  expect_failure(ErrorCode::kNotFound, "expected model-2.safetensors on the Hub");
}

TEST_F(TensorListTest, DamagedHeaders) {
  const std::string good = weights().bytes;
  const auto serve = [&](std::string bytes, uint64_t size) {
    weights() = {std::move(bytes), size, true, std::string(64, 'a')};
  };
  serve(good, good.size());
  expect_failure(ErrorCode::kInvalidArgument, "org/tiny: model.safetensors: tensor ");
  serve("", 3);
  expect_failure(ErrorCode::kInvalidArgument, "expected a safetensors file of at least 8 bytes");
  serve(std::string(16, '\xff'), 1u << 20);
  expect_failure(ErrorCode::kInvalidArgument, "expected a safetensors header of at most");
  serve(std::string("\x00\x00\x10\x00\x00\x00\x00\x00{", 9), 1000);
  expect_failure(ErrorCode::kInvalidArgument, "expected a header of 1048576 bytes");
  serve(good, 1u << 20);
  hub_.fault = [](const ServedRequest& request) {
    return request.range.empty() ? Fault() : Fault{.claimed_size = 5000};
  };
  expect_failure(ErrorCode::kFailedPrecondition, "expected 1048576 bytes, found a file of 5000");
}

TEST_F(TensorListTest, FaultsInBetween) {
  divide();
  std::atomic<int> n{0};
  hub_.fault = [&](const ServedRequest& request) {
    if (request.range.empty()) return Fault();
    const int i = n.fetch_add(1);
    return i == 0 ? Fault{.status = 503} : i == 1 ? Fault{.cut_after = 20} : Fault();
  };
  EXPECT_EQ(list().tensors.size(), 3u);
  EXPECT_EQ(n, 4);
}

TEST_F(TensorListTest, TheCacheComesFirst) {
  download_model(settings_, *HubId::parse(kModel), DownloadParts::kAll);
  hub_.forget_requests();
  EXPECT_EQ(list().tensors.size(), 2u);
  settings_.offline = true;
  EXPECT_EQ(list().tensors.size(), 2u);
  EXPECT_TRUE(hub_.requests().empty());
  fs::remove_all(settings_.cache);
  expect_failure(ErrorCode::kNotFound, "a model in the local cache, found neither");
}

// The largest repository of the Hub that is a model, in its numbers: 163 shards, 91,000 tensors.
TEST_F(TensorListTest, ALargeModelTakesSecondsAndTwoRequestsAShard) {
  constexpr int kShards = 163, kTensors = 91'000;
  ServedModel& model = hub_.models[kModel];
  model.files.erase("model.safetensors");
  std::vector<std::vector<std::string>> names(kShards);
  for (int i = 0; i < kTensors; ++i) {
    names[i % kShards].push_back(
        fmt::format("model.layers.{}.mlp.experts.{}.up_proj.weight_{}", i % 61, i % 256, i));
  }
  std::string map;
  for (int i = 0; i < kShards; ++i) {
    const std::string shard = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, kShards);
    model.files[shard] = safetensors_of(names[i], 100'000);
    model.files[shard].etag = std::string(64, 'a');
    for (const std::string& name : names[i]) {
      map += fmt::format("{}\"{}\":\"{}\"", map.empty() ? "" : ",", name, shard);
    }
  }
  model.files["model.safetensors.index.json"] = small_file("{\"weight_map\":{" + map + "}}");
  hub_.fault = [](const ServedRequest&) { return Fault{.delay_ms = 20}; };
  const auto begin = Clock::now();
  const TensorList found = list();
  const std::chrono::duration<double> seconds = Clock::now() - begin;
  RecordProperty("seconds", fmt::format("{:.3f}", seconds.count()));
  EXPECT_LT(seconds.count(), 3.0 * kSlowness);
  EXPECT_EQ(found.tensors.size(), size_t{kTensors});
  EXPECT_EQ(found.n_files, size_t{kShards});
  std::map<std::string, int> requests;
  for (const ServedRequest& request : hub_.requests()) {
    if (!request.target.ends_with(".safetensors")) continue;
    EXPECT_LE(++requests[request.target], 2);
    EXPECT_NE(request.range, "");
  }
  EXPECT_EQ(requests.size(), size_t{kShards});
}

}  // namespace
}  // namespace lockstep::test
