#include "hub/checkpoint.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <optional>

#include "base/testing/temp_folder.h"
#include "tensor/safetensors.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::TempFolder;

// A safetensors file of one-byte tensors, each holding the first letter of its name.
void write_shard(const fs::path& path, const std::vector<std::string>& names) {
  fs::create_directories(path.parent_path());
  SafetensorsWriter writer(path);
  for (const std::string& name : names) {
    writer.declare(name, DType::kUint8, std::vector<int64_t>{1});
  }
  writer.begin();
  for (const std::string& name : names) {
    writer.write(name, 0, std::as_bytes(std::span(name)).first(1));
  }
  writer.commit();
}

void write_index(const TempFolder& folder, const std::string& map) {
  folder.write("model.safetensors.index.json",
               R"({"metadata": {"total_size": 3}, "weight_map": )" + map + "}");
}

// Two shards that agree with their index.
void write_sharded(const TempFolder& folder) {
  write_shard(folder / "model-1.safetensors", {"a", "b"});
  write_shard(folder / "model-2.safetensors", {"c"});
  write_index(folder, R"({"a": "model-1.safetensors", "b": "model-1.safetensors",
                          "c": "model-2.safetensors"})");
}

void expect_refusal(const std::optional<Error>& error, ErrorCode code,
                    const std::vector<std::string>& parts) {
  ASSERT_TRUE(error.has_value()) << parts.front();
  EXPECT_EQ(error->code(), code) << error->message();
  EXPECT_FALSE(error->hint().empty()) << error->message();
  for (const std::string& part : parts) {
    EXPECT_NE(error->message().find(part), std::string::npos) << part << " in " << error->message();
  }
}

TEST(Checkpoint, OpensASingleFile) {
  const TempFolder folder;
  write_shard(folder / "model.safetensors", {"a", "b"});
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  EXPECT_EQ(checkpoint.tensors().size(), 2u);
  const TensorEntry* b = checkpoint.find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(*checkpoint.view(*b).as<char>(), 'b');
  EXPECT_EQ(checkpoint.file_of(*b), (folder / "model.safetensors").string());
  EXPECT_EQ(checkpoint.find("c"), nullptr);
}

TEST(Checkpoint, JoinsShards) {
  const TempFolder folder;
  write_sharded(folder);
  Checkpoint opened = Checkpoint::open(folder.path());
  const Checkpoint checkpoint = std::move(opened);
  EXPECT_EQ(checkpoint.tensors().size(), 3u);
  for (const char* name : {"a", "b", "c"}) {
    const TensorEntry* entry = checkpoint.find(name);
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(*checkpoint.view(*entry).as<char>(), *name);
  }
  EXPECT_EQ(checkpoint.file_of(*checkpoint.find("c")), (folder / "model-2.safetensors").string());
}

TEST(Checkpoint, FollowsLinksOutOfTheFolder) {
  const TempFolder folder;
  write_shard(folder / "blobs/1234", {"a"});
  fs::create_directories(folder / "snapshot");
  fs::create_symlink("../blobs/1234", folder / "snapshot/model.safetensors");
  EXPECT_NE(Checkpoint::open(folder / "snapshot").find("a"), nullptr);
}

TEST(Checkpoint, TheSingleFileWinsOverAnIndex) {
  const TempFolder folder;
  write_sharded(folder);
  write_shard(folder / "model.safetensors", {"single"});
  EXPECT_NE(Checkpoint::open(folder.path()).find("single"), nullptr);
}

TEST(Checkpoint, NamesMissingShards) {
  const TempFolder folder;
  write_sharded(folder);
  fs::remove(folder / "model-2.safetensors");
  expect_refusal(
      error_of([&] { Checkpoint::open(folder.path()); }), ErrorCode::kNotFound,
      {folder.path().string(), "expected the 2 shards", "1 missing: model-2.safetensors"});
}

TEST(Checkpoint, RefusesAnIndexThatLeavesTheFolder) {
  for (const std::string shard :
       {"../x.safetensors", "/etc/passwd", "a/../../x", "", "sub/", ".."}) {
    const TempFolder folder;
    write_index(folder, R"({"a": ")" + shard + "\"}");
    expect_refusal(error_of([&] { Checkpoint::open(folder.path()); }), ErrorCode::kInvalidArgument,
                   {"model.safetensors.index.json: weight_map: \"a\": expected a file inside the "
                    "folder, found \"" +
                    shard + "\""});
  }
}

TEST(Checkpoint, RefusesMalformedIndices) {
  const struct {
    std::string text;
    std::string says;
  } cases[] = {
      {"", "expected a JSON object"},
      {"[]", "expected a JSON object"},
      {"{", "expected a JSON object"},
      {"{}", "weight_map: expected an object, found no such key"},
      {R"({"weight_map": []})", "weight_map: expected an object"},
      {R"({"weight_map": {}, "weight_map": {}})", "weight_map: expected once, found twice"},
      {R"({"weight_map": {"a": 1}})", "weight_map: \"a\": expected a file name"},
      {R"({"weight_map": {"a": "x", "a": "y"}})", "weight_map: \"a\": expected once, found twice"},
      {R"({"weight_map": {"a": "x\u0000y"}})", "expected a file inside the folder"},
  };
  for (const auto& c : cases) {
    const TempFolder folder;
    folder.write("model.safetensors.index.json", c.text);
    expect_refusal(error_of([&] { Checkpoint::open(folder.path()); }), ErrorCode::kInvalidArgument,
                   {"model.safetensors.index.json: ", c.says});
  }
}

TEST(Checkpoint, IndexAndShardsMustAgree) {
  const struct {
    std::string map;
    std::vector<std::string> second;
    std::vector<std::string> says;
  } cases[] = {
      {R"({"a": "1", "b": "1", "c": "2", "d": "2"})",
       {"c"},
       {"tensor \"d\": expected in ", "/2, found no such tensor there"}},
      {R"({"a": "1", "b": "1", "c": "2"})",
       {"c", "d"},
       {"tensor \"d\": found in ", "/2, expected every tensor of a shard in the index"}},
      {R"({"a": "1", "b": "1", "c": "2"})",
       {"c", "b"},
       {"tensor \"b\": expected in ", "/1 alone, found in ", "/2 too"}},
      {R"({"a": "2", "b": "1", "c": "2"})", {"c"}, {"tensor \"a\": expected in ", "/2, found no"}},
  };
  for (const auto& c : cases) {
    const TempFolder folder;
    write_shard(folder / "1", {"a", "b"});
    write_shard(folder / "2", c.second);
    write_index(folder, c.map);
    std::vector<std::string> parts = c.says;
    parts.push_back("model.safetensors.index.json: ");
    expect_refusal(error_of([&] { Checkpoint::open(folder.path()); }),
                   ErrorCode::kFailedPrecondition, parts);
  }
}

TEST(Checkpoint, NamesADamagedShard) {
  const TempFolder folder;
  write_sharded(folder);
  folder.write("model-2.safetensors", "not a safetensors file");
  expect_refusal(error_of([&] { Checkpoint::open(folder.path()); }), ErrorCode::kInvalidArgument,
                 {"model-2.safetensors: "});
}

TEST(Checkpoint, SaysWhatAFolderWithoutWeightsHolds) {
  const struct {
    std::vector<std::string> files;
    ErrorCode code;
    std::string says;
  } cases[] = {
      {{}, ErrorCode::kNotFound, "found no weights"},
      {{"config.json"}, ErrorCode::kNotFound, "found no weights"},
      {{"pytorch_model.bin"}, ErrorCode::kUnimplemented, "pickled ones: pytorch_model.bin"},
      {{"model.pt"}, ErrorCode::kUnimplemented, "pickled ones: model.pt"},
      {{"c.bin", "a.bin", "b.bin", "d.bin", "e.bin", "f.bin"},
       ErrorCode::kUnimplemented,
       "a.bin, b.bin, c.bin, d.bin, e.bin and 1 more"},
      {{"consolidated.safetensors", "x.bin"},
       ErrorCode::kNotFound,
       "found consolidated.safetensors"},
  };
  for (const auto& c : cases) {
    const TempFolder folder;
    for (const std::string& file : c.files) folder.write(file, "x");
    expect_refusal(error_of([&] { Checkpoint::open(folder.path()); }), c.code,
                   {folder.path().string(), c.says});
  }
}

TEST(Checkpoint, NeedsAFolder) {
  const TempFolder folder;
  const fs::path file = folder.write("model.safetensors", "");
  expect_refusal(error_of([&] { Checkpoint::open(file); }), ErrorCode::kNotFound,
                 {file.string() + ": expected a model folder, found a file"});
  expect_refusal(error_of([&] { Checkpoint::open(folder / "none"); }), ErrorCode::kNotFound,
                 {"none: expected a model folder, found nothing"});
}

TEST(Checkpoint, DanglingLinksAreNamed) {
  const TempFolder folder;
  fs::create_symlink("gone", folder / "model.safetensors");
  expect_refusal(error_of([&] { Checkpoint::open(folder.path()); }), ErrorCode::kNotFound,
                 {"model.safetensors: a link to gone"});
}

TEST(Checkpoint, HeadersAloneHaveNoData) {
  const Checkpoint checkpoint = Checkpoint::from_headers({{"a", DType::kUint8, {1}, 0, 1}});
  const TensorEntry* a = checkpoint.find("a");
  ASSERT_NE(a, nullptr);
  expect_refusal(error_of([&] { checkpoint.view(*a); }), ErrorCode::kFailedPrecondition, {"\"a\""});
  EXPECT_EQ(checkpoint.file_of(*a), "(headers)");
  const auto twice = error_of([] {
    Checkpoint::from_headers({{"a", DType::kUint8, {1}, 0, 1}, {"a", DType::kUint8, {1}, 1, 2}});
  });
  ASSERT_TRUE(twice.has_value());
  EXPECT_EQ(twice->code(), ErrorCode::kInvalidArgument);
}

TEST(Checkpoint, RefusesEntriesOfOtherCheckpoints) {
  const TempFolder folder;
  write_shard(folder / "model.safetensors", {"a"});
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  const TensorEntry other{"other", DType::kUint8, {1}, 0, 1};
  EXPECT_EQ(error_of([&] { checkpoint.view(other); })->code(), ErrorCode::kNotFound);
}

// Points the lookup at a cache of the test's own.
class Cache : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : kNames) {
      const char* value = ::getenv(name);
      saved_.push_back(value == nullptr ? std::nullopt : std::optional<std::string>(value));
      ::unsetenv(name);
    }
    ::setenv("HF_HUB_OFFLINE", "1", 1);
  }
  void TearDown() override {
    for (size_t i = 0; i < saved_.size(); ++i) {
      if (saved_[i].has_value()) {
        ::setenv(kNames[i], saved_[i]->c_str(), 1);
      } else {
        ::unsetenv(kNames[i]);
      }
    }
  }
  void add_snapshot(const std::string& path) {
    write_shard(folder_ / (path + "/model.safetensors"), {"a"});
    folder_.write(path + "/config.json", "{}");
  }

  static constexpr const char* kNames[] = {
      "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME",     "XDG_CACHE_HOME",
      "HOME",         "HF_HUB_OFFLINE",        "HF_ENDPOINT", "HF_TOKEN"};
  TempFolder folder_;
  std::vector<std::optional<std::string>> saved_;
};

TEST_F(Cache, IsFoundThroughEveryVariable) {
  const struct {
    const char* variable;
    std::string below;
  } cases[] = {
      {"HF_HUB_CACHE", ""},
      {"HUGGINGFACE_HUB_CACHE", ""},
      {"HF_HOME", "/hub"},
      {"XDG_CACHE_HOME", "/huggingface/hub"},
      {"HOME", "/.cache/huggingface/hub"},
  };
  for (const auto& c : cases) {
    const std::string root = std::string(c.variable) + c.below + "/models--org--name";
    add_snapshot(root + "/snapshots/abc");
    folder_.write(root + "/refs/main", "abc");
  }
  // From the last to the first: each is preferred to those before it.
  for (size_t i = std::size(cases); i-- > 0;) {
    ::setenv(cases[i].variable, (folder_ / cases[i].variable).c_str(), 1);
    EXPECT_EQ(ModelFiles::open("org/name").folder,
              folder_ / (std::string(cases[i].variable) + cases[i].below +
                         "/models--org--name/snapshots/abc"));
  }
}

TEST_F(Cache, RevisionsAreRefsOrCommits) {
  ::setenv("HF_HUB_CACHE", folder_.path().c_str(), 1);
  for (const char* commit : {"111", "222", "333"}) {
    add_snapshot(std::string("models--gpt2/snapshots/") + commit);
  }
  folder_.write("models--gpt2/refs/main", "111\n");
  folder_.write("models--gpt2/refs/refs/pr/1", "222");
  const fs::path snapshots = folder_ / "models--gpt2/snapshots";
  EXPECT_EQ(ModelFiles::open("gpt2").folder, snapshots / "111");
  EXPECT_EQ(ModelFiles::open("gpt2@main").folder, snapshots / "111");
  EXPECT_EQ(ModelFiles::open("gpt2@refs/pr/1").folder, snapshots / "222");
  EXPECT_EQ(ModelFiles::open("gpt2@333").folder, snapshots / "333");
}

TEST_F(Cache, SaysWhatWasLookedForWhere) {
  ::setenv("HF_HUB_CACHE", folder_.path().c_str(), 1);
  folder_.write("models--org--name/refs/main", "gone");
  folder_.write("models--org--evil/refs/main", "../../../x");
  fs::create_directories(folder_ / "models--org--evil/snapshots");
  const fs::path file = folder_.write("file", "");
  const struct {
    std::string model;
    ErrorCode code;
    std::string says;
  } cases[] = {
      {"org/none", ErrorCode::kNotFound, (folder_ / "models--org--none").string()},
      {"org/name@v2", ErrorCode::kNotFound, (folder_ / "models--org--name/refs/v2").string()},
      {"org/name", ErrorCode::kNotFound, (folder_ / "models--org--name/snapshots/gone").string()},
      {"org/evil", ErrorCode::kInvalidArgument, "expected a commit, found \"../../../x\""},
      {"org/name@../../x", ErrorCode::kNotFound, "expected a model folder or org/name[@revision]"},
      {"org/name@", ErrorCode::kNotFound, "expected a model folder or org/name[@revision]"},
      {"../x", ErrorCode::kNotFound, "expected a model folder or org/name[@revision]"},
      {"a/b/c", ErrorCode::kNotFound, "expected a model folder or org/name[@revision]"},
      {"", ErrorCode::kNotFound, "expected a model folder or org/name[@revision]"},
      {file.string(), ErrorCode::kNotFound, "expected a model folder, found a file"},
  };
  for (const auto& c : cases) {
    const auto error = error_of([&] { ModelFiles::open(c.model); });
    ASSERT_TRUE(error.has_value()) << c.model;
    EXPECT_EQ(error->code(), c.code) << c.model;
    EXPECT_NE(error->message().find(c.says), std::string::npos) << error->message();
  }
}

TEST_F(Cache, AFolderIsAModelToo) {
  add_snapshot("model");
  const ModelFiles files = ModelFiles::open((folder_ / "model").string());
  EXPECT_EQ(files.folder, folder_ / "model");
  EXPECT_NE(files.checkpoint.find("a"), nullptr);
  EXPECT_EQ(files.config.kind("x"), ConfigFile::Kind::kAbsent);
  fs::remove(folder_ / "model/config.json");
  const auto error = error_of([&] { ModelFiles::open((folder_ / "model").string()); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::kNotFound);
  EXPECT_NE(error->message().find("config.json"), std::string::npos);
}

}  // namespace
}  // namespace lockstep
