// inspect: keys, shapes, card, the reference's place; as the library has it and as it is printed.
#include "port/inspect.h"

#include <algorithm>

#include "../run_program.h"
#include "../support.h"
#include "wrapped_model.h"

namespace lockstep::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using port::Inspection;
using port::KeyRow;
using State = KeyRow::State;

// A copy of a fixture that a test changes.
class InspectTest : public testing::Test {
 protected:
  void copy(const std::string& name) {
    for (const char* file : {"config.json", "model.safetensors", "tokenizer.json",
                             "tokenizer_config.json", "chat_template.jinja"}) {
      if (fs::exists(fixture(name) / file)) fs::copy_file(fixture(name) / file, folder() / file);
    }
    config_ = read_json(folder() / "config.json");
  }
  Inspection inspect(const std::string& python = "no-such-python") {
    write_text(folder() / "config.json", config_.dump(2));
    return port::inspect(port::ModelFacts::survey(folder().string()), Registry(),
                         {.python = python});
  }
  const fs::path& folder() const { return temp_.path(); }

  static const KeyRow& row(const Inspection& i, const std::string& path) {
    const auto found = std::ranges::find(i.keys, path, &KeyRow::path);
    static const KeyRow none;
    EXPECT_NE(found, i.keys.end()) << path;
    return found == i.keys.end() ? none : *found;
  }
  static const port::ShapeFinding* shape(const Inspection& i, const std::string& what) {
    const auto found = std::ranges::find_if(i.shapes, [&](const port::ShapeFinding& finding) {
      return finding.what.find(what) != std::string::npos;
    });
    return found == i.shapes.end() ? nullptr : &*found;
  }

  TempDir temp_;
  Json config_;
};

TEST_F(InspectTest, RegisteredClassNeedsNoPortAndEveryKeyHasARow) {
  copy("llama");
  config_["strange_scale"] = 0.5;
  const Inspection i = inspect();
  EXPECT_TRUE(i.is_registered);
  EXPECT_EQ(i.slug, "llama");
  EXPECT_TRUE(i.donors.empty());
  EXPECT_EQ(row(i, "hidden_size").state, State::kSet);
  EXPECT_EQ(row(i, "hidden_size").standard, "4096");
  EXPECT_EQ(row(i, "rms_norm_eps").state, State::kDefault);
  EXPECT_EQ(row(i, "rope_parameters.rope_theta").state, State::kDefault);
  EXPECT_EQ(row(i, "initializer_range").state, State::kIgnored);
  EXPECT_EQ(row(i, "strange_scale").state, State::kUnread);
  EXPECT_EQ(row(i, "dtype").state, State::kSet);
  EXPECT_TRUE(row(i, "hidden_act").where.starts_with("archs/llama.h:"))
      << row(i, "hidden_act").where;
  for (const auto& [key, value] : config_.items()) {
    if (!value.is_object()) row(i, key);
  }
  const std::string text = to_text(i);
  EXPECT_NE(text.find("registered (llama, built in): no port is needed"), std::string::npos);
  EXPECT_TRUE(text.ends_with("next: lockstep serve --model " + folder().string() + "\n"));
}

TEST_F(InspectTest, OlderNamesOfKeysAreReadAsTheNewer) {
  copy("mixtral");
  const Inspection i = inspect();
  EXPECT_EQ(row(i, "rope_theta").state, State::kDefault);
  EXPECT_EQ(row(i, "torch_dtype").state, State::kSet);
  EXPECT_EQ(std::ranges::count(i.keys, State::kUnread, &KeyRow::state), 0) << to_text(i);
}

TEST_F(InspectTest, AbsentKeysShowTheDefaultThatCounts) {
  copy("llama");
  config_.erase("rms_norm_eps");
  const Inspection i = inspect();
  EXPECT_EQ(row(i, "rms_norm_eps").value, "");
  EXPECT_EQ(row(i, "rms_norm_eps").standard, "1e-06");
  EXPECT_EQ(row(i, "rms_norm_eps").state, State::kDefault);
}

TEST_F(InspectTest, ClassCountsAndModelTypeDoesNot) {
  copy("llama");
  config_["architectures"] = {"MadeUpForCausalLM"};
  config_["num_sinks"] = 4;
  const Inspection i = inspect();
  EXPECT_FALSE(i.is_registered);
  ASSERT_FALSE(i.donors.empty());
  EXPECT_EQ(row(i, "num_sinks").state, State::kDelta);
  EXPECT_EQ(row(i, "num_sinks").kind, port::Delta::Kind::kStructural);
  EXPECT_TRUE(to_text(i).ends_with("next: lockstep check-walls " + folder().string() + "\n"));
}

TEST_F(InspectTest, ShapesAreHeldAgainstTheConfig) {
  copy("llama");
  config_["head_dim"] = 12;
  config_["num_hidden_layers"] = 3;
  config_["tie_word_embeddings"] = true;
  config_["vocab_size"] = 900;
  config_["intermediate_size"] = 150;
  const Inspection i = inspect();
  for (const char* what : {"head_dim does not fit", "more layers than", "tied and stored",
                           "rows beyond the vocabulary", "MLP has another width"}) {
    const port::ShapeFinding* finding = shape(i, what);
    ASSERT_NE(finding, nullptr) << what << "\n" << to_text(i);
    EXPECT_FALSE(finding->tensor.empty() || finding->expected.empty() || finding->found.empty());
  }
  EXPECT_EQ(shape(i, "head_dim does not fit")->found, "[64, 64]");
}

TEST_F(InspectTest, MissingLayersStrayTypesAndDeniedBiasesAreFound) {
  copy("llama");
  const SafetensorsFile file = SafetensorsFile::open(fixture("llama") / "model.safetensors");
  SafetensorsWriter writer(folder() / "other.safetensors");
  std::vector<internal::Piece> pieces;
  for (const TensorEntry& entry : file.tensors()) {
    if (entry.name.find("layers.2.") != std::string::npos) continue;
    pieces.push_back(internal::piece_of(file, entry, entry.name));
  }
  pieces.push_back({"model.layers.0.self_attn.q_proj.bias",
                    DType::kBFloat16,
                    {64},
                    std::vector<std::byte>(128)});
  pieces.push_back(
      {"model.layers.0.odd_norm.weight", DType::kFloat32, {64}, std::vector<std::byte>(256)});
  for (const internal::Piece& piece : pieces) writer.declare(piece.name, piece.dtype, piece.shape);
  writer.begin();
  for (const internal::Piece& piece : pieces) writer.write(piece.name, 0, piece.bytes);
  writer.commit();
  fs::rename(folder() / "other.safetensors", folder() / "model.safetensors");
  const Inspection i = inspect();
  ASSERT_NE(shape(i, "layers are missing"), nullptr) << to_text(i);
  EXPECT_EQ(shape(i, "layers are missing")->found, "none of layer 2");
  ASSERT_NE(shape(i, "config.json denies"), nullptr);
  EXPECT_EQ(shape(i, "config.json denies")->tensor, "model.layers.*.self_attn.q_proj.bias");
  ASSERT_NE(shape(i, "of another type"), nullptr);
  EXPECT_EQ(shape(i, "of another type")->tensor, "model.layers.*.odd_norm.weight");
  EXPECT_EQ(shape(i, "of another type")->found, "float32");
}

TEST_F(InspectTest, SoundFixturesHaveNoFindingButTheirHeadDim) {
  for (const std::string& name : golden_fixtures()) {
    const Inspection i = port::inspect(port::ModelFacts::survey(fixture(name).string()), Registry(),
                                       {.python = "no-such-python"});
    EXPECT_EQ(i.refusal, "") << name;
    for (const port::ShapeFinding& finding : i.shapes) {
      const bool is_noted = finding.what.starts_with("head_dim is not hidden_size") ||
                            finding.what.find("of another type") != std::string::npos ||
                            finding.what.starts_with("q_proj is twice");
      EXPECT_TRUE(is_noted) << name << ": " << finding.what << " " << finding.tensor << " "
                            << finding.expected << " " << finding.found;
    }
  }
}

TEST_F(InspectTest, CardIsQuotedWithItsLines) {
  copy("llama");
  write_text(folder() / "README.md",
             "---\nlicense: mit\nbase_model: org/base\ntags:\n- arxiv:2307.09288\n---\n"
             "# Card\n\nUnlike others, it counts. We introduce a sink! No novelty here.\n"
             "See https://arxiv.org/abs/2501.12345v2 and arXiv:2501.12345.\n"
             "Prompts are `[INST] x [/INST]`.\nFlashAttention 2 is needed.\nAlso in FP8.\n");
  const port::ModelCard card = inspect().card;
  EXPECT_EQ(card.family, "llama, made from org/base");
  EXPECT_EQ(card.papers, (std::vector<std::string>{"arXiv:2307.09288", "arXiv:2501.12345"}));
  std::vector<std::string> quotes;
  for (const port::CardQuote& q : card.quotes) {
    quotes.push_back(std::to_string(q.line) + " " + q.about + ": " + q.text);
  }
  EXPECT_EQ(quotes, (std::vector<std::string>{
                        "9 novelty: Unlike others, it counts.",
                        "9 novelty: We introduce a sink!",
                        "11 prompt template: Prompts are `[INST] x [/INST]`.",
                        "12 kernel: FlashAttention 2 is needed.",
                        "13 quantisation: Also in FP8.",
                    }));
}

TEST_F(InspectTest, ReferenceIsThatOfTheConfigsVersion) {
  copy("gemma3");
  config_["transformers_version"] = "4.51.3";
  EXPECT_EQ(inspect().reference.url,
            "https://github.com/huggingface/transformers/blob/v4.51.3/src/transformers/models/"
            "gemma3/modeling_gemma3.py");
  config_["transformers_version"] = "4.51.0.dev0";
  EXPECT_NE(inspect().reference.url.find("/blob/main/"), std::string::npos);
  config_["model_type"] = "../../etc";
  EXPECT_EQ(inspect().reference.url, "");
  config_["auto_map"] = {{"AutoModelForCausalLM", "modeling_made.MadeForCausalLM"}};
  write_text(folder() / "modeling_made.py",
             "import torch\nclass MadeAttention(Base):\n  pass\nclass Gemma3ForCausalLM(A):\n");
  const port::ReferenceSource source = inspect().reference;
  EXPECT_EQ(source.custom_code, "modeling_made.py");
  ASSERT_EQ(source.order.size(), 2u);
  EXPECT_TRUE(source.order[0].starts_with("modeling_made.py:4 Gemma3ForCausalLM"));
  EXPECT_TRUE(source.order[1].starts_with("modeling_made.py:2 MadeAttention"));
}

TEST_F(InspectTest, InstalledTransformersIsFoundWithoutBeingRun) {
  copy("llama");
  const fs::path package = folder() / "site/transformers";
  fs::create_directories(package / "models/llama");
  write_text(package / "__init__.py", "__version__ = \"9.8.7\"\nraise SystemExit('imported')\n");
  write_text(package / "models/llama/modeling_llama.py", "class LlamaAttention(Module):\n");
  write_text(folder() / "python",
             "#!/bin/sh\nPYTHONPATH='" + (folder() / "site").string() + "' exec python3 \"$@\"\n");
  fs::permissions(folder() / "python", fs::perms::owner_all);
  const port::ReferenceSource source = inspect((folder() / "python").string()).reference;
  EXPECT_EQ(source.local_version, "9.8.7");
  EXPECT_EQ(source.local_file, (package / "models/llama/modeling_llama.py").string());
  ASSERT_EQ(source.order.size(), 2u);
  EXPECT_TRUE(source.order[1].starts_with("modeling_llama.py:1 LlamaAttention"));
}

TEST_F(InspectTest, WrapperIsOpened) {
  write_wrapped("llama", wrapper_layouts()[0], {.class_name = "MadeUpForConditionalGeneration"},
                folder());
  config_ = read_json(folder() / "config.json");
  const Inspection i = inspect();
  ASSERT_EQ(i.slug, "llama");
  EXPECT_EQ(row(i, "text_config.hidden_size").state, State::kSet);
  EXPECT_EQ(row(i, "text_config.hidden_size").standard, "4096");
  EXPECT_EQ(row(i, "vision_config").where, "not of the text model");
  ASSERT_NE(shape(i, "rows beyond the vocabulary"), nullptr);
}

TEST_F(InspectTest, LinesAreAtMost100ColumnsButForPlaces) {
  copy("gemma3");
  config_["architectures"] = {"MadeUpForCausalLM"};
  std::istringstream text(to_text(inspect()));
  for (std::string line; std::getline(text, line);) {
    const bool is_place = line.find("https://") != std::string::npos ||
                          line.find(folder().string()) != std::string::npos;
    EXPECT_TRUE(is_place || line.size() <= 100) << line;
  }
}

TEST_F(InspectTest, ProgramWritesTheSameReportToAFile) {
  copy("llama");
  const std::string out = (folder() / "out.txt").string();
  const std::string model = folder().string();
  Outcome outcome = run_lockstep("inspect '" + model + "' --output '" + out + "'");
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  std::ifstream file(out);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), outcome.text);
  outcome = run_lockstep("inspect --json '" + model + "'", "2>/dev/null");
  EXPECT_EQ(outcome.status, 0);
  const Json json = Json::parse(outcome.text);
  EXPECT_EQ(json["registered"], true);
  EXPECT_GT(json["keys"].size(), 20u);
  EXPECT_EQ(json["bytes_by_dtype"]["bfloat16"], json["bytes"]);
}

TEST_F(InspectTest, WhatCannotBeReadEndsWith2AndLeavesNoFile) {
  copy("llama");
  write_text(folder() / "config.json", "[]");
  const std::string out = (folder() / "out.txt").string();
  const Outcome outcome = run_lockstep(
      "inspect --json '" + folder().string() + "' --output '" + out + "'", "2>/dev/null");
  EXPECT_EQ(outcome.status, 2);
  EXPECT_TRUE(Json::parse(outcome.text).contains("error"));
  EXPECT_FALSE(fs::exists(out));
  EXPECT_EQ(run_lockstep("inspect '" + fixture("llama").string() + "' --output /no/such/f").status,
            2);
}

}  // namespace
}  // namespace lockstep::test
