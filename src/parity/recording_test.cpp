// Every layout is read; nothing broken is.
#include "parity/recording.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "base/file.h"
#include "lockstep/error.h"
#include "parity/anatomy.h"
#include "parity/test_dumps.h"
#include "tensor/npy.h"
#include "tensor/safetensors.h"
#include "tensor/tensor.h"

namespace lockstep::parity::testing {
namespace {

namespace fs = std::filesystem;

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string read_all(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The run as the MAX debug-model layout names it: name -> tensor.
std::vector<std::pair<std::string, FakeTensor>> named_tensors(const FakeRun& run) {
  std::vector<std::pair<std::string, FakeTensor>> out;
  const auto add = [&](const std::string& name, FakeTensor t) {
    t.shape.insert(t.shape.begin(), 1);  // with a batch dimension, as they come
    out.emplace_back(name, std::move(t));
  };
  FakeRun copy = run;
  add("post_embed", copy.tap("model.embed_tokens"));
  for (int i = 0; i < kLayers; ++i) {
    add("layer_0" + std::to_string(i), copy.tap("model.layers." + std::to_string(i)));
  }
  add("post_final_norm", copy.tap("model.norm"));
  FakeTensor last = *copy.logits;
  last.values.erase(last.values.begin(), last.values.end() - kVocab);
  last.shape = {kVocab};
  add("last_logits", last);
  return out;
}

Tensor ids_tensor(const std::vector<int64_t>& ids) {
  Tensor out(DType::kInt64, {static_cast<int64_t>(ids.size())});
  std::copy(ids.begin(), ids.end(), out.data<int64_t>());
  return out;
}

void write_npy_folder(const fs::path& folder, const FakeRun& run) {
  fs::create_directories(folder);
  for (const auto& [name, t] : named_tensors(run)) {
    write_npy(folder / (name + ".npy"), make_view(t.values.data(), DType::kFloat32, t.shape));
  }
  write_npy(folder / "prompt_tokens.npy", ids_tensor(run.info.prompt_ids).view());
}

/// A zip as numpy.savez writes it, stored or deflated.
void write_npz(const fs::path& path, const fs::path& folder, bool deflated) {
  std::string data, directory;
  const auto put = [](std::string& to, auto value) {
    to.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  uint16_t entries = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string raw = read_all(entry.path()), name = entry.path().filename().string();
    std::string packed = raw;
    if (deflated) {
      z_stream stream{};
      ASSERT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
      packed.resize(deflateBound(&stream, raw.size()));
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(raw.data()));
      stream.avail_in = static_cast<uInt>(raw.size());
      stream.next_out = reinterpret_cast<Bytef*>(packed.data());
      stream.avail_out = static_cast<uInt>(packed.size());
      ASSERT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
      packed.resize(stream.total_out);
      deflateEnd(&stream);
    }
    const auto offset = static_cast<uint32_t>(data.size());
    std::string common;
    put(common, uint16_t{20});
    put(common, uint16_t{0});
    put(common, static_cast<uint16_t>(deflated ? 8 : 0));
    put(common, uint32_t{0});
    put(common, uint32_t{0});  // checksum: nobody looks
    put(common, static_cast<uint32_t>(packed.size()));
    put(common, static_cast<uint32_t>(raw.size()));
    put(common, static_cast<uint16_t>(name.size()));
    put(common, uint16_t{0});
    data.append("PK\x03\x04").append(common).append(name).append(packed);
    directory += "PK\x01\x02";
    put(directory, uint16_t{20});
    directory += common;
    put(directory, uint16_t{0});
    put(directory, uint32_t{0});
    put(directory, uint32_t{0});
    put(directory, offset);
    directory += name;
    ++entries;
  }
  std::string end = "PK\x05\x06";
  put(end, uint32_t{0});
  put(end, entries);
  put(end, entries);
  put(end, static_cast<uint32_t>(directory.size()));
  put(end, static_cast<uint32_t>(data.size()));
  put(end, uint16_t{0});
  write_text(path, data + directory + end);
}

class Layouts : public ::testing::Test {
 protected:
  FakeRun reference = truth_run(some_ids(kTokens)), port = port_run(some_ids(kTokens));
  TempFolder folder;
};

TEST_F(Layouts, NpyFolders) {
  write_npy_folder(folder / "r", reference);
  write_npy_folder(folder / "p", port);
  const Compared c = compare_dumps(folder / "r", folder / "p");
  EXPECT_EQ(c.report.outcome, Outcome::kPass) << c.findings();
  EXPECT_EQ(c.report.covered.layers, kLayers);
  EXPECT_EQ(c.report.runs[0].first_logit_row, kTokens - 1);
}

TEST_F(Layouts, NpyFolderWithoutItsPromptIsRefused) {
  write_npy_folder(folder / "r", reference);
  write_npy_folder(folder / "p", port);
  fs::remove(folder / "p" / "prompt_tokens.npy");
  EXPECT_TRUE(compare_dumps(folder / "r", folder / "p").refused("no_prompt_ids"));
}

TEST_F(Layouts, NpyFolderLackingALayerIsRefused) {
  write_npy_folder(folder / "r", reference);
  write_npy_folder(folder / "p", port);
  fs::remove(folder / "p" / "layer_01.npy");
  EXPECT_TRUE(compare_dumps(folder / "r", folder / "p").refused("missing_layer"));
}

TEST_F(Layouts, AcrossLayouts) {
  write_npy_folder(folder / "r", reference);
  const Compared c = compare_dumps(folder / "r", write_dump(folder / "p", {port}));
  EXPECT_EQ(c.report.outcome, Outcome::kPass) << c.findings();
}

TEST_F(Layouts, Npz) {
  write_npy_folder(folder / "r", reference);
  write_npy_folder(folder / "p", port);
  write_npz(folder / "r.npz", folder / "r", false);
  write_npz(folder / "p.npz", folder / "p", true);
  const Compared c = compare_dumps(folder / "r.npz", folder / "p.npz");
  EXPECT_EQ(c.report.outcome, Outcome::kPass) << c.findings();
  const std::string whole = read_all(folder / "p.npz");
  for (size_t cut = 0; cut < whole.size(); cut += whole.size() / 37 + 1) {
    write_text(folder / "cut.npz", whole.substr(0, cut));
    EXPECT_THROW(read_recording(folder / "cut.npz"), Error);
  }
}

TEST_F(Layouts, PlainSafetensors) {
  for (const auto& [side, run] : {std::pair("r", &reference), std::pair("p", &port)}) {
    SafetensorsWriter writer(folder / (std::string(side) + ".safetensors"));
    const auto tensors = named_tensors(*run);
    const Tensor ids = ids_tensor(run->info.prompt_ids);
    for (const auto& [name, t] : tensors) writer.declare(name, DType::kFloat32, t.shape);
    const int64_t n = ids.view().shape[0];
    writer.declare("prompt_tokens", DType::kInt64, {&n, 1});
    writer.begin();
    for (const auto& [name, t] : tensors) {
      writer.write(name, 0, std::as_bytes(std::span(t.values)));
    }
    writer.write("prompt_tokens", 0, {ids.data<std::byte>(), ids.view().bytes()});
    writer.commit();
  }
  const Compared c = compare_dumps(folder / "r.safetensors", folder / "p.safetensors");
  EXPECT_EQ(c.report.outcome, Outcome::kPass) << c.findings();
}

TEST(Golden, TheExampleReadsAsRuns) {
  const Recording r = read_recording(fs::path(LOCKSTEP_SOURCE_DIR) / "examples/storyteller/golden");
  EXPECT_EQ(r.layout, Layout::kGolden);
  EXPECT_EQ(r.n_layers, 6);
  ASSERT_FALSE(r.runs.empty());
  int with_taps = 0;
  for (const parity::Run& run : r.runs) {
    with_taps += !run.taps.empty();
    for (const Tap& tap : run.taps) {
      EXPECT_EQ(tap.view.shape[0], static_cast<int64_t>(run.info.prompt_ids.size()))
          << tap.info.path;
    }
  }
  EXPECT_EQ(with_taps, 3);
  EXPECT_EQ(dissect(r.runs[0].taps.front().info.path).landmark, Landmark::kEmbedding);
}

// ---- manifests that lie ----

class BadManifest : public Layouts {
 protected:
  void expect_error(const std::string& from, const std::string& to) {
    const fs::path dump = write_dump(folder / "p", {port});
    std::string text = read_all(dump / kManifestFile);
    const size_t at = text.find(from);
    ASSERT_NE(at, text.npos) << from;
    text.replace(at, from.size(), to);
    write_text(dump / kManifestFile, text);
    EXPECT_THROW(read_recording(dump), Error) << from << " -> " << to;
  }
};

TEST_F(BadManifest, IsRefused) {
  expect_error("\"version\": 1", "\"version\": 2");
  expect_error("\"lockstep-dump\"", "\"dump\"");
  expect_error("\"float32\"", "\"float33\"");
  expect_error("\"prefill\"", "\"decode\"");
  expect_error("\"role\": \"output\"", "\"role\": \"both\"");
  expect_error("\"stored_dtype\": \"float32\"", "\"stored_dtype\": \"bfloat16\"");
  expect_error("model.embed_tokens:output\"", "model.embed:output\"");
  expect_error("tensors.safetensors", "others.safetensors");
  expect_error("tensors.safetensors", "../p/tensors.safetensors");
  expect_error("\"runs\"", "\"ruins\"");
  expect_error("\"model.norm\"", "\"model.embed_tokens\"");  // one tap twice
  expect_error("     24,\n", "     23,\n");                  // a shape
  expect_error("{", "");
}

TEST_F(BadManifest, CutAnywhereItNeverCrashes) {
  const fs::path dump = write_dump(folder / "p", {port});
  const std::string text = read_all(dump / kManifestFile);
  for (size_t cut = 0; cut + 2 < text.size(); cut += 97) {
    write_text(dump / kManifestFile, text.substr(0, cut));
    EXPECT_THROW(read_recording(dump), Error) << cut;
  }
}

TEST_F(Layouts, NothingThereIsAnError) {
  EXPECT_THROW(read_recording(folder / "nowhere"), Error);
  fs::create_directories(folder / "empty");
  EXPECT_THROW(read_recording(folder / "empty"), Error);
}

TEST_F(Layouts, PythonsInfinityInAConfig) {
  const fs::path dump = write_dump(folder / "p", {port});
  std::string text = read_all(dump / kManifestFile);
  const std::string key = "\"num_hidden_layers\"";
  text.replace(text.find(key), key.size(), "\"time_step_limit\": [0.0, Infinity], " + key);
  write_text(dump / kManifestFile, text);
  EXPECT_EQ(read_recording(dump).n_layers, kLayers);
}

// ---- the writer ----

TEST_F(Layouts, WriterTakesRowsInAnyOrderAndPart) {
  DumpWriter writer(folder / "w", {});
  RunInfo info{"a", "float32", "", "cpu", 0, {1, 2, 3}, Phase::kPrefill, 0};
  const int run = writer.add_run(info);
  const std::vector<int64_t> shape{2, 3, 4};  // [heads, queries, keys]
  TapInfo tap;
  tap.path = "m/scores";
  const auto handle = writer.add_tap(run, tap, DType::kFloat32, shape);
  TapInfo same;
  same.path = "m";
  same.role = TapRole::kInput;
  writer.add_alias(run, same, handle);
  EXPECT_THROW(writer.add_tap(run, tap, DType::kFloat32, shape), Error);
  writer.begin();
  std::vector<float> whole(24);
  for (size_t i = 0; i < whole.size(); ++i) whole[i] = static_cast<float>(i);
  View rows = make_view(whole.data(), DType::kFloat32, shape);
  rows.shape[1] = 1;
  for (const int row : {2, 0}) {
    rows.data = whole.data() + row * 4;
    writer.write_rows(handle, row, rows, 1);
  }
  EXPECT_THROW(writer.write_rows(handle, 3, rows, 1), Error);
  EXPECT_THROW(writer.commit(), Error);  // a row is still missing
  rows.data = whole.data() + 4;
  writer.write_rows(handle, 1, rows, 1);
  EXPECT_FALSE(fs::exists(folder / "w"));
  writer.commit();
  const Recording r = read_recording(folder / "w");
  ASSERT_EQ(r.runs[0].taps.size(), 2u);
  EXPECT_EQ(r.runs[0].taps[0].view.data, r.runs[0].taps[1].view.data);
  const auto* found = static_cast<const float*>(r.runs[0].taps[0].view.data);
  EXPECT_TRUE(std::equal(found, found + 24, static_cast<const float*>(whole.data())));
}

TEST_F(Layouts, WriterReplacesADumpAndNothingElse) {
  write_dump(folder / "d", {port});
  write_dump(folder / "d", {reference});
  EXPECT_EQ(read_recording(folder / "d").runs[0].info.attention, "eager");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / ""), {}), 1);
  fs::create_directories(folder / "mine");
  write_text(folder / "mine" / "notes.txt", "keep");
  EXPECT_THROW(DumpWriter(folder / "mine", {}), Error);
  { DumpWriter abandoned(folder / "never", {}); }
  EXPECT_FALSE(fs::exists(folder / "never"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / ""), {}), 2);
}

}  // namespace
}  // namespace lockstep::parity::testing
