// Compiling a port's folder: once a content, whole or not at all, with the user's lines in
// messages.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "base/testing/temp_folder.h"
#include "port/load_ports.h"
#include "port/port_folder.h"

namespace lockstep::port {
namespace {
namespace fs = std::filesystem;

// A plug-in in C's part of the SDK alone: a tenth of a second to compile.
constexpr const char* kSource = R"(#include <lockstep/abi.h>
#include "name.h"
static const LockstepArchitecture architecture = {kName, "tiny", "", nullptr};
static const LockstepArchitecture* const all[] = {&architecture};
static const LockstepPort port = {LOCKSTEP_ABI_VERSION, LOCKSTEP_SDK_VERSION, all, 1};
extern "C" __attribute__((visibility("default"))) const LockstepPort* lockstep_port(void) {
  return &port;
}
)";

class BuildPortTest : public ::testing::Test {
 protected:
  BuildPortTest() {
    write("arch.cpp", kSource);
    write_name("TinyForCausalLM");
    ::unsetenv("CXX");
    ::setenv("XDG_CACHE_HOME", (temp_ / "cache").c_str(), 1);
  }
  void write(const std::string& name, const std::string& text) {
    temp_.write("ports/tiny/" + name, text);
  }
  void write_name(const std::string& name) {
    write("name.h", "constexpr const char* kName = \"" + name + "\";\n");
  }
  fs::path folder() const { return temp_ / "ports" / "tiny"; }
  PortFolder port() const { return PortFolder::open(folder()); }
  std::vector<std::string> load(const fs::path& folder, Registry& registry) const {
    std::vector<std::string> said;
    load_port(registry, folder, [&](const std::string& line) { said.push_back(line); });
    return said;
  }

  test::TempFolder temp_;
};

TEST_F(BuildPortTest, CompilesAContentOnce) {
  EXPECT_FALSE(find_built(port()));
  const BuiltPort first = build_port(port());
  EXPECT_TRUE(first.was_built);
  EXPECT_EQ(first.library.filename(), "tiny.so");
  EXPECT_EQ(first.library.parent_path().parent_path(), folder() / ".lockstep");
  EXPECT_FALSE(build_port(port()).was_built);
  // Another time stamp is no other content, and neither is a file that is not compiled.
  fs::last_write_time(folder() / "arch.cpp", fs::file_time_type::clock::now());
  write("PORT.md", "# tiny\n");
  write("tests/spare.h", "\n");
  EXPECT_EQ(find_built(port())->library, first.library);
  write_name("OtherForCausalLM");
  const BuiltPort second = build_port(port());
  EXPECT_TRUE(second.was_built);
  EXPECT_NE(second.library, first.library);
  write_name("TinyForCausalLM");
  EXPECT_EQ(build_port(port()).library, first.library);
  // Another compiler, and the same with another argument, are other tools.
  ::setenv("CXX", "c++ -DSPARE", 1);
  EXPECT_TRUE(build_port(port()).was_built);
}

TEST_F(BuildPortTest, AContentIsNamesAndBytesOfTheSources) {
  const std::string before = port().content_hash();
  fs::rename(folder() / "name.h", folder() / "names.h");
  EXPECT_NE(port().content_hash(), before);
  fs::rename(folder() / "names.h", folder() / "name.h");
  EXPECT_EQ(port().content_hash(), before);
  write("parts/attention.h", "\n");
  EXPECT_NE(port().content_hash(), before);
  EXPECT_EQ(PortFolder::open(folder() / "").slug, "tiny");
}

TEST_F(BuildPortTest, MessagesNameTheUsersFileAndLineAndNothingIsLeft) {
  write("name.h", "\n\nconstexpr const char* kName = no_such_thing;\n");
  const auto error = test::error_of([&] { build_port(port()); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::kFailedPrecondition);
  EXPECT_NE(error->message().find((folder() / "name.h").string() + ":3:"), std::string::npos)
      << error->message();
  EXPECT_NE(error->message().find("no_such_thing"), std::string::npos);
  for (const fs::directory_entry& entry : fs::directory_iterator(folder() / ".lockstep")) {
    EXPECT_FALSE(entry.is_directory()) << entry.path();
  }
  // A function nobody defines is found here, not when a model is loaded.
  write_name("TinyForCausalLM");
  write("arch.cpp", std::string(kSource) +
                        "void absent();\nvoid call() { absent(); }\n"
                        "extern void (*const kept)() = call;\n"
                        "__attribute__((visibility(\"default\"))) extern "
                        "void (*const kept)();\n");
  const auto unlinked = test::error_of([&] { build_port(port()); });
  ASSERT_TRUE(unlinked);
  EXPECT_NE(unlinked->message().find("absent"), std::string::npos) << unlinked->message();
}

TEST_F(BuildPortTest, WarningsAreKeptWithThePlugin) {
  write("arch.cpp", std::string(kSource) + "static int idle;\n");
  const BuiltPort built = build_port(port());
  EXPECT_NE(built.messages.find("arch.cpp:"), std::string::npos) << built.messages;
  EXPECT_EQ(build_port(port()).messages, built.messages);
}

TEST_F(BuildPortTest, ASourceFromOutsideIsRefused) {
  temp_.write("ports/name.h", "constexpr const char* kName = \"x\";\n");
  write("name.h", "#include \"../name.h\"\n");
  const auto error = test::error_of([&] { build_port(port()); });
  ASSERT_TRUE(error);
  EXPECT_NE(error->message().find((temp_ / "ports" / "name.h").string()), std::string::npos);
  EXPECT_FALSE(find_built(port()));
}

TEST_F(BuildPortTest, TwoAtOnceCompileOnce) {
  BuiltPort a, b;
  std::thread other([&] { a = build_port(port()); });
  b = build_port(port());
  other.join();
  EXPECT_NE(a.was_built, b.was_built);
  EXPECT_EQ(a.library, b.library);
}

TEST_F(BuildPortTest, AFolderThatCannotBeWrittenToUsesTheCache) {
  if (::geteuid() == 0) {
    // A file where the folder would be keeps out whoever writes to everything.
    write(".lockstep", "");
  } else {
    fs::permissions(folder(), fs::perms::owner_read | fs::perms::owner_exec);
  }
  const BuiltPort built = build_port(port());
  fs::permissions(folder(), fs::perms::owner_all);
  EXPECT_EQ(built.library.parent_path().parent_path(), temp_ / "cache" / "lockstep" / "ports");
  EXPECT_FALSE(build_port(port()).was_built);
}

TEST_F(BuildPortTest, OldPluginsAreTakenAway) {
  for (int i = 0; i < 10; ++i) {
    write_name("Tiny" + std::to_string(i));
    build_port(port());
  }
  size_t n = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder() / ".lockstep")) {
    n += entry.is_directory() ? 1 : 0;
  }
  EXPECT_EQ(n, 8u);
  EXPECT_TRUE(find_built(port()));
}

TEST_F(BuildPortTest, NoCompilerIsSaid) {
  ::setenv("CXX", "no-such-compiler -O1", 1);
  const auto error = test::error_of([&] { build_port(port()); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::kNotFound);
  EXPECT_NE(error->message().find("CXX: \"no-such-compiler\""), std::string::npos);
}

TEST_F(BuildPortTest, LoadsSourcesAndPluginsAndNamesThePortsOfAParent) {
  Registry registry;
  EXPECT_EQ(load(folder(), registry).size(), 1u);  // the compiler ran
  ASSERT_NE(registry.find("TinyForCausalLM"), nullptr);
  EXPECT_TRUE(load(folder(), registry).empty());
  Registry from_plugin;
  load(build_port(port()).library.parent_path(), from_plugin);
  EXPECT_NE(from_plugin.find("TinyForCausalLM"), nullptr);
  const auto error = test::error_of([&] { load(temp_ / "ports", registry); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::kNotFound);
  EXPECT_NE(error->hint().find(folder().string()), std::string::npos) << error->hint();
  EXPECT_TRUE(test::error_of([&] { load(temp_ / "absent", registry); }));
  EXPECT_TRUE(test::error_of([&] { load(folder() / "arch.cpp", registry); }));
}

TEST_F(BuildPortTest, APortOfARegisteredClassWinsAndIsSaid) {
  write_name("LlamaForCausalLM");
  Registry registry;
  const std::vector<std::string> said = load(folder(), registry);
  ASSERT_EQ(said.size(), 2u);
  EXPECT_EQ(said[1], "LlamaForCausalLM is taken from the port " + folder().string() +
                         ", not from the registered llama");
  EXPECT_STREQ(registry.find("LlamaForCausalLM")->slug, "tiny");
}

}  // namespace
}  // namespace lockstep::port
