// The door for ports: the Llama architecture, copied out of the tree and built against the
// installed SDK, computes what the built-in one does; other versions are refused.
#include <cstdlib>

#include "lockstep/error.h"
#include "support.h"

namespace lockstep::test {
namespace {
namespace fs = std::filesystem;

void run(const std::string& command, const fs::path& log) {
  const int status = std::system((command + " >> '" + log.string() + "' 2>&1").c_str());
  std::ifstream file(log);
  ASSERT_EQ(status, 0) << command << "\n" << std::string(std::istreambuf_iterator<char>(file), {});
}

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.message() + " | " + error.hint();
  }
  return "no error";
}

TEST(PortTest, CopyOfLlamaBuiltOutsideTheTreeIsBitIdentical) {
  TempDir temp;
  const fs::path port = temp.path() / "port";
  fs::create_directories(port);
  for (const char* file : {"llama.h", "llama.cpp"}) {
    fs::copy_file(source_dir() / "src/archs/llama" / file, port / file);
  }
  write_text(port / "CMakeLists.txt",
             "cmake_minimum_required(VERSION 3.25)\nproject(port CXX)\n"
             "find_package(Lockstep REQUIRED)\nlockstep_port(llama llama.cpp)\n");
  const std::string prefix = (temp.path() / "prefix").string();
  const fs::path log = temp.path() / "log";
  const std::string cmake = LOCKSTEP_CMAKE;
  run("'" + cmake + "' --install '" LOCKSTEP_BINARY_DIR "' --prefix '" + prefix + "'", log);
  run("'" + cmake + "' -S '" + port.string() + "' -B '" + port.string() +
          "/build' -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH='" + prefix + "'",
      log);
  run("'" + cmake + "' --build '" + port.string() + "/build'", log);

  Registry registry;
  registry.load_ports(port / "build");
  ASSERT_EQ(registry.entries().front().origin, (port / "build/llama.so").string());
  ASSERT_NE(registry.find("LlamaForCausalLM"), Registry().find("LlamaForCausalLM"));
  const std::string model = fixture("storyteller").string();
  const std::vector<int32_t> ids = Golden("storyteller").long_ids();
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    Pipeline built_in = open_pipeline(model, dtype);
    Pipeline loaded = open_pipeline(model, dtype, 512, {}, registry);
    EXPECT_EQ(all_logits(built_in, ids), all_logits(loaded, ids));
  }
  // A parent folder is refused with the names of the ports inside it.
  const std::string message = message_of([&] { Registry().load_ports(port); });
  EXPECT_NE(message.find((port / "build").string()), std::string::npos) << message;
}

TEST(PortTest, AnotherVersionIsRefusedWithBothNamed) {
  TempDir temp;
  write_text(temp.path() / "old.c",
             "#include <lockstep/abi.h>\n"
             "static const LockstepPort port = {77, \"9.8.7\", 0, 0};\n"
             "const LockstepPort* lockstep_port(void) { return &port; }\n");
  run("cc -shared -fPIC -I'" + (source_dir() / "include").string() + "' -o '" +
          (temp.path() / "old.so").string() + "' '" + (temp.path() / "old.c").string() + "'",
      temp.path() / "log");
  const std::string message = message_of([&] { Registry().load_ports(temp.path()); });
  const std::string ours = "version " + std::to_string(LOCKSTEP_ABI_VERSION) + " ";
  for (const std::string& part : {std::string("old.so"), std::string("version 77"),
                                  std::string("9.8.7"), std::string(LOCKSTEP_SDK_VERSION), ours}) {
    EXPECT_NE(message.find(part), std::string::npos) << part << " in: " << message;
  }
}

TEST(PortTest, FoldersAndFilesThatAreNoPortAreRefused) {
  TempDir temp;
  EXPECT_NE(message_of([&] { Registry().load_ports(temp.path()); }).find("found none"),
            std::string::npos);
  EXPECT_NE(message_of([&] { Registry().load_ports(temp.path() / "absent"); }).find("absent"),
            std::string::npos);
  write_text(temp.path() / "text.so", "not a library");
  EXPECT_NE(message_of([&] { Registry().load_ports(temp.path()); }).find("cannot be loaded"),
            std::string::npos);
}

}  // namespace
}  // namespace lockstep::test
