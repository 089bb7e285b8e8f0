// Scaffolds of every registered donor; those that are compiled, and what is refused.
#include "port/scaffold.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "../support.h"
#include "base/testing/temp_folder.h"
#include "port/delta_notes.h"
#include "port/donor_source.h"
#include "port/port_folder.h"

namespace lockstep::test {
namespace {

namespace fs = std::filesystem;
using port::Scaffolded;
using port::ScaffoldOptions;

class ScaffoldTest : public ::testing::Test {
 protected:
  ScaffoldTest() { ::setenv("LOCKSTEP_PYTHON", "/no/python", 1); }
  ~ScaffoldTest() override {
    ::unsetenv("LOCKSTEP_PYTHON");
    ::unsetenv("CXX");
  }
  ScaffoldOptions options(const std::string& donor,
                          ScaffoldOptions::Form form = ScaffoldOptions::Form::kInheriting) const {
    ScaffoldOptions options;
    options.start_from = donor;
    options.output_dir = temp_ / "ports";
    options.slug = donor + (form == ScaffoldOptions::Form::kInheriting ? "_heir" : "_copy");
    options.arch_name = "MadeUpForCausalLM";
    options.form = form;
    return options;
  }
  Scaffolded scaffold(const ScaffoldOptions& options, const std::string& model = "llama") const {
    return port::scaffold(port::ModelFacts::open(fixture(model).string()), Registry(), options);
  }
  std::string refusal(const ScaffoldOptions& options) const {
    const auto error = error_of([&] { scaffold(options); });
    EXPECT_TRUE(error);
    EXPECT_FALSE(fs::exists(temp_ / "ports"));
    return error ? error->message() + " | " + error->hint() : "";
  }

  TempFolder temp_;
};

// Every delta is a TODO somewhere, in the words that the gates look for.
void expect_all_open(const Scaffolded& made) {
  std::set<int> open;
  for (const fs::path& source : port::PortFolder::open(made.folder).sources) {
    for (const port::DeltaNote& note : port::find_delta_notes(read_bytes(source), "x")) {
      EXPECT_EQ(note.kind, port::DeltaNote::Kind::kTodo) << source;
      open.insert(note.number);
    }
  }
  for (const port::Delta& delta : made.report.deltas) {
    EXPECT_TRUE(open.contains(delta.number)) << made.folder << " delta " << delta.number;
  }
  EXPECT_EQ(port::read_deltas(made.folder / "deltas.json").deltas.size(),
            made.report.deltas.size());
}

TEST_F(ScaffoldTest, EveryDonorInBothForms) {
  ::setenv("CXX", "/no/compiler", 1);  // sources alone
  const Registry registry;
  for (const Registry::Entry& entry : registry.entries()) {
    const std::string donor = entry.architecture->slug;
    for (const auto form : {ScaffoldOptions::Form::kInheriting, ScaffoldOptions::Form::kFullCopy}) {
      const Scaffolded made = scaffold(options(donor, form));
      EXPECT_NE(made.not_built, "") << donor;
      const std::set<std::string> files(made.files.begin(), made.files.end());
      EXPECT_EQ(files, (std::set<std::string>{"arch.cpp", "model_config.h", "weight_adapters.h",
                                              "model.h", made.folder.filename().string() + ".h"}));
      expect_all_open(made);
      for (const std::string& file : files) {
        const std::string text = read_bytes(made.folder / file);
        EXPECT_TRUE(text.starts_with("// ")) << file;
        EXPECT_NE(text.find("// Derived from " + std::string(entry.architecture->class_name)),
                  std::string::npos);
        EXPECT_NE(text.find("// Deltas"), std::string::npos);
        EXPECT_EQ(text.find("Mirrors transformers"), std::string::npos) << donor << " " << file;
      }
    }
  }
}

// Some donors by a seed, another few each time the seed is another.
TEST_F(ScaffoldTest, SomeDonorsCompileInBothForms) {
  const Registry registry;
  std::mt19937 random(7);
  for (int i = 0; i < 2; ++i) {
    const auto& entries = registry.entries();
    const std::string donor = entries[random() % entries.size()].architecture->slug;
    const auto form =
        i == 0 ? ScaffoldOptions::Form::kInheriting : ScaffoldOptions::Form::kFullCopy;
    const Scaffolded made = scaffold(options(donor, form));
    EXPECT_EQ(made.not_built, "") << donor;
    EXPECT_TRUE(port::find_built(port::PortFolder::open(made.folder))) << donor;
  }
}

TEST_F(ScaffoldTest, WhatFitsIsTracedAndWhatDoesNotIsNamed) {
  const Scaffolded near = scaffold(options("mistral"));
  EXPECT_EQ(near.dry_build_fault, "");
  EXPECT_TRUE(near.audit.holds()) << near.audit.missing.size();
  EXPECT_NE(near.no_golden.find("/no/python"), std::string::npos) << near.no_golden;
  EXPECT_FALSE(fs::exists(near.folder / "tests"));
  // Its projections are joined of those that are stored.
  const Scaffolded joined = scaffold(options("phi3"));
  EXPECT_TRUE(joined.audit.holds()) << joined.dry_build_fault;
  EXPECT_FALSE(joined.report.deltas.empty());
  const Scaffolded other = scaffold(options("olmo2"));
  EXPECT_EQ(other.dry_build_fault, "");
  EXPECT_TRUE(other.audit.surplus.empty());
  EXPECT_FALSE(other.audit.missing.empty());
  EXPECT_FALSE(other.audit.dropped.empty());
  for (const Audit::Dropped& dropped : other.audit.dropped) {
    EXPECT_TRUE(dropped.reason.starts_with("TODO(delta ")) << dropped.reason;
  }
}

TEST_F(ScaffoldTest, RefusalsWriteNothing) {
  EXPECT_NE(refusal(options("lama")).find("nearest name is llama"), std::string::npos);
  ScaffoldOptions bad = options("llama");
  bad.slug = "../up";
  EXPECT_NE(refusal(bad).find("--slug: expected letters"), std::string::npos);
  bad = options("llama");
  bad.arch_name = "int x; //";
  EXPECT_NE(refusal(bad).find("expected the name of a class"), std::string::npos);
  temp_.write("nameless/config.json", R"({"model_type": "llama"})");
  fs::copy_file(fixture("llama") / "model.safetensors", temp_ / "nameless" / "model.safetensors");
  bad.arch_name.clear();
  const auto error = error_of([&] {
    port::scaffold(port::ModelFacts::open((temp_ / "nameless").string()), Registry(), bad);
  });
  ASSERT_TRUE(error);
  EXPECT_NE(error->hint().find("--arch-name"), std::string::npos);
  EXPECT_FALSE(fs::exists(temp_ / "ports"));
}

TEST_F(ScaffoldTest, AnExistingFolderIsLeftAsItIs) {
  temp_.write("ports/llama_heir/mine.txt", "mine");
  const auto error = error_of([&] { scaffold(options("llama")); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::kFailedPrecondition);
  EXPECT_NE(error->hint().find("--slug"), std::string::npos);
  size_t n = 0;
  for ([[maybe_unused]] const auto& entry : fs::recursive_directory_iterator(temp_ / "ports")) ++n;
  EXPECT_EQ(n, 2u);
}

TEST(DonorSourceTest, NamesAndStems) {
  EXPECT_EQ(port::stem_of("SmolLM3ForCausalLM"), "SmolLM3");
  EXPECT_EQ(port::stem_of("GPT2LMHeadModel"), "GPT2");
  EXPECT_EQ(port::stem_of("Gemma3ForConditionalGeneration"), "Gemma3");
  EXPECT_EQ(port::stem_of("FormerModel"), "Former");
  EXPECT_EQ(port::stem_of("Plain"), "Plain");
  EXPECT_EQ(port::with_stem("MambaMixer x; MambaBlock<Mamba> b; \"MambaBlock\" Mambas", "Mamba",
                            "Foo", {"MambaBlock"}),
            "FooMixer x; MambaBlock<Foo> b; \"FooBlock\" Mambas");
  EXPECT_EQ(port::with_word("llama::Attention a; xllama::B", "llama::", "port::"),
            "port::Attention a; xllama::B");
}

TEST(DonorSourceTest, ChunksAndForward) {
  const std::string source =
      "// A model.\n#pragma once\n\nnamespace x {\n\n/// Why.\nstruct A : Module<A> {\n"
      "  int a;  // { not a brace\n\n  Value forward(const Value& x) const {\n    return "
      "f(\"}\");\n"
      "  }\n  int last() const { return 1; }\n};\n\ninline int f(int i) { return i; }\n"
      "using B = C<A>;\n\n}  // namespace x\n";
  const std::vector<port::Chunk> chunks = port::chunks_of(source);
  ASSERT_EQ(chunks.size(), 3u);
  EXPECT_EQ(chunks[0].name, "A");
  EXPECT_EQ(chunks[0].base, "Module<A>");
  EXPECT_EQ(port::forward_of(chunks[0].text),
            "  Value forward(const Value& x) const {\n    return f(\"}\");\n  }\n");
  EXPECT_EQ(chunks[1].name, "f");
  EXPECT_EQ(chunks[2].name, "B");
}

}  // namespace
}  // namespace lockstep::test
