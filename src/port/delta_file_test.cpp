// deltas.json: what is written comes back, and what is wrong in it is named.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "lockstep/error.h"
#include "port/delta.h"

namespace lockstep::port {
namespace {

class DeltaFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "lockstep-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path file() const { return folder_ / "deltas.json"; }

  std::string error_of(const std::string& text) const {
    std::ofstream(file()) << text;
    try {
      read_deltas(file());
    } catch (const Error& error) {
      return error.message();
    }
    return "";
  }

  std::filesystem::path folder_;
};

TEST_F(DeltaFileTest, RoundTrip) {
  const DonorReport report{"llama",
                           "LlamaForCausalLM",
                           {{1,
                             Delta::Kind::kStructural,
                             "attention",
                             "a \"b\"\n",
                             "c",
                             "d",
                             "modeling_x.py:120",
                             {"key"},
                             {"model.layers.*.x.weight"}},
                            {2, Delta::Kind::kCosmetic, "config", "e", "f", "g", "", {}, {}}}};
  write_deltas(file(), report);
  const DonorReport back = read_deltas(file());
  EXPECT_EQ(back.slug, "llama");
  EXPECT_EQ(back.class_name, "LlamaForCausalLM");
  ASSERT_EQ(back.deltas.size(), 2u);
  EXPECT_EQ(back.deltas[0].reference, report.deltas[0].reference);
  EXPECT_EQ(back.deltas[0].where, "modeling_x.py:120");
  EXPECT_EQ(back.deltas[0].keys, report.deltas[0].keys);
  EXPECT_EQ(back.deltas[0].tensors, report.deltas[0].tensors);
  EXPECT_EQ(back.deltas[1].kind, Delta::Kind::kCosmetic);
  EXPECT_EQ(back.n_structural(), 1u);
}

TEST_F(DeltaFileTest, WhatIsWrongIsNamed) {
  EXPECT_NE(error_of("[]").find("expected an object, found array"), std::string::npos);
  EXPECT_NE(error_of("{nonsense").find("expected an object"), std::string::npos);
  EXPECT_NE(error_of(R"({"format": "x"})").find("format: expected lockstep-deltas, found x"),
            std::string::npos);
  const std::string head = R"({"format": "lockstep-deltas", "version": 1, "slug": "s",
                               "class_name": "C", "deltas": )";
  EXPECT_NE(error_of(head + "3}").find("deltas: expected a list, found number"), std::string::npos);
  EXPECT_NE(error_of(head + R"([{"kind": "odd"}]})")
                .find("deltas.0.kind: expected structural or cosmetic, found odd"),
            std::string::npos);
  EXPECT_NE(error_of(head + R"([{"kind": "cosmetic"}]})").find("deltas.0.number: expected a value"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"format": "lockstep-deltas", "version": 2})").find("version: expected 1"),
            std::string::npos);
}

}  // namespace
}  // namespace lockstep::port
