// compare, gates --port and bench serve as a person types them, against a server that was started
// as a person starts it.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "../run_program.h"
#include "base/testing/temp_folder.h"
#include "client/fake_server_test_util.h"

namespace lockstep::test {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

const std::string kSource = LOCKSTEP_SOURCE_DIR;
const std::string kStoryteller = kSource + "/examples/storyteller";

/// `lockstep serve` on a free port, ended with this object.
class ServeProgram {
 public:
  explicit ServeProgram(const std::string& options) {
    const std::string command = "exec " LOCKSTEP_BINARY_DIR
                                "/bin/lockstep serve --host 127.0.0.1 --port 0 --threads 1 "
                                "--cache-tokens 4096 " +
                                options + " 2>/dev/null";
    int pipes[2];
    if (pipe(pipes) != 0) return;
    pid_ = fork();
    if (pid_ == 0) {
      dup2(pipes[1], STDOUT_FILENO);
      close(pipes[0]);
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      _exit(127);
    }
    close(pipes[1]);
    FILE* out = fdopen(pipes[0], "r");
    char line[512] = "";
    while (fgets(line, sizeof(line), out) != nullptr && port.empty()) {
      const std::string text = line;
      if (text.starts_with("Server ready on")) {
        port = text.substr(text.rfind(':') + 1);
        port.pop_back();
      }
      if (!port.empty()) break;
    }
    fclose(out);
  }
  ~ServeProgram() {
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
  }
  std::string port;

 private:
  pid_t pid_ = -1;
};

/// No line is wider than a terminal, but for a command to copy.
void expect_narrow(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_TRUE(line.size() <= 100 || line.find("next: ") != line.npos) << line;
  }
}

class ServedCommands : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new ServeProgram("--model " + kStoryteller + " --served-model-name tales");
    ASSERT_FALSE(server_->port.empty()) << "the server did not start";
  }
  static void TearDownTestSuite() { delete server_; }
  static Outcome compare(const std::string& options) {
    return run_lockstep(
        fmt::format("compare {} --port {} {}", kStoryteller, server_->port, options));
  }
  static Outcome bench(const std::string& options) {
    return run_lockstep(fmt::format("bench serve --port {} {}", server_->port, options));
  }
  static std::string reference() { return "--reference " + kStoryteller + "/reference "; }
  static ServeProgram* server_;
};
ServeProgram* ServedCommands::server_ = nullptr;

TEST_F(ServedCommands, ComparePasses) {
  const Outcome outcome = compare(reference() + "--positions 1,5,20,50");
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_NE(outcome.text.find("PASS: 4 of 5 positions compared"), std::string::npos)
      << outcome.text;
  EXPECT_NE(outcome.text.find("model tales"), std::string::npos) << outcome.text;
  EXPECT_NE(outcome.text.find("\nnext: lockstep "), std::string::npos) << outcome.text;
  expect_narrow(outcome.text);
  const Outcome as_json = compare(reference() + "--skip-multi --json --slug llama");
  EXPECT_EQ(as_json.status, 0) << as_json.text;
  const json document = json::parse(as_json.text);
  EXPECT_EQ(document["verdict"], "pass");
  EXPECT_EQ(document["positions"].size(), 1u);
  EXPECT_EQ(document["server"]["model"], "llama");
  EXPECT_GE(document["hf_layers"].size(), 8u);
}

TEST_F(ServedCommands, CompareFindsAnotherCheckpoint) {
  // Another model's recording of the same class: the numbers decide.
  const Outcome outcome = compare("--reference " + kSource + "/tests/fixtures/llama/golden");
  EXPECT_EQ(outcome.status, 1) << outcome.text;
  EXPECT_NE(outcome.text.find("DIFFERS: "), std::string::npos) << outcome.text;
  expect_narrow(outcome.text);
}

TEST_F(ServedCommands, CompareWithPromptsOfTheRecording) {
  const Outcome known = compare(reference() + "--prompt 'Once upon a time' --skip-multi");
  EXPECT_TRUE(known.status == 0 || known.text.find("begins with") != std::string::npos)
      << known.text;
  const Outcome unknown = compare(reference() + "--prompt 'Quite another text 12345'");
  EXPECT_EQ(unknown.status, 2) << unknown.text;
  EXPECT_NE(unknown.text.find("expected a recorded prompt"), std::string::npos) << unknown.text;
}

TEST_F(ServedCommands, CompareRecordsOnTheSpot) {
  const TempFolder folder;
  // In the place of Python: it hands over a recording of several prompts.
  folder.write("python3",
               "#!/bin/sh\n"
               "if [ \"$1\" = -c ]; then\n"
               "  echo '{\"version\": \"3.11.2\", \"missing\": [], \"old\": false}'; exit\n"
               "fi\n"
               "for a in \"$@\"; do\n"
               "  printf '%s|' \"$a\" >> " +
                   (folder / "asked").string() +
                   "\n"
                   "  case \"$a\" in --output=*) cp -r " +
                   kStoryteller +
                   "/golden \"${a#--output=}\";; esac\n"
                   "done\n"
                   "echo '{\"event\": \"done\", \"message\": \"recorded\"}' >&2\n");
  fs::permissions(folder / "python3", fs::perms::owner_all);
  const std::string python = "--python " + (folder / "python3").string();
  const Outcome outcome = compare(python + " --skip-hf-layers --positions 1,5 --prompt -x");
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_NE(outcome.text.find("PASS: 3 of 3"), std::string::npos) << outcome.text;
  const std::string asked = read_bytes(folder / "asked");
  for (const char* argument : {"|--dtype=float32|", "|--dtype=bfloat16|", "|--prompt=-x|",
                               "|--taps=|", "|--prompt=The old lighthouse"}) {
    EXPECT_NE(asked.find(argument), std::string::npos) << argument << "\n" << asked;
  }
  const Outcome kept = compare(python + " --skip-multi --output " + (folder / "kept").string());
  EXPECT_EQ(kept.status, 0) << kept.text;
  EXPECT_TRUE(fs::exists(folder / "kept/expected.json"));
}

TEST_F(ServedCommands, CompareRefusesWrongUse) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "expected one of --reference and --python, found neither"},
      {"--reference R --python P", "found both"},
      {"--reference R --base-url http://h", "expected one of --port and --base-url, found both"},
      {"--reference /nowhere", "/nowhere"},
      {"--reference R --output O", "--output: nothing is recorded"},
  };
  for (const auto& [options, words] : cases) {
    const Outcome outcome = compare(options);
    EXPECT_EQ(outcome.status, 2) << outcome.text;
    EXPECT_NE(outcome.text.find(words), std::string::npos) << options << "\n" << outcome.text;
  }
  EXPECT_EQ(compare(reference() + "--positions 0").status, 2);
  EXPECT_EQ(compare(reference() + "--positions x").status, 2);
  const Outcome other = compare("--reference " + kSource + "/tests/fixtures/gemma3/golden");
  EXPECT_EQ(other.status, 2) << other.text;
  EXPECT_NE(other.text.find("Gemma3ForCausalLM"), std::string::npos) << other.text;
  const Outcome nobody = run_lockstep("compare " + kStoryteller + " --port 1 " + reference());
  EXPECT_EQ(nobody.status, 2) << nobody.text;
  EXPECT_NE(nobody.text.find("nobody answers"), std::string::npos) << nobody.text;
}

TEST_F(ServedCommands, CompareWithAModelThatTheServerLacks) {
  const Outcome outcome = compare(reference() + "--slug other");
  EXPECT_EQ(outcome.status, 2) << outcome.text;
  EXPECT_NE(outcome.text.find("HTTP 404"), std::string::npos) << outcome.text;
  EXPECT_NE(outcome.text.find("UNDECIDED: 0 of"), std::string::npos) << outcome.text;
}

TEST_F(ServedCommands, BenchBothLoops) {
  const TempFolder folder;
  const std::string json_file = (folder / "out.json").string(), svg = (folder / "out.svg").string();
  const Outcome outcome = bench(
      "--concurrency 1,4 --rates 50 --requests 6 --prompt-tokens 8:16 --output-tokens 4 "
      "--goodput ttft:60000 tpot:60000 --svg " +
      svg + " --json-out " + json_file);
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  expect_narrow(outcome.text);
  for (const char* words : {"4 at once", "50 req/s", "goodput", "(6 of 6)", "next: lockstep"}) {
    EXPECT_NE(outcome.text.find(words), std::string::npos) << words << "\n" << outcome.text;
  }
  const json document = json::parse(read_bytes(json_file));
  ASSERT_EQ(document["levels"].size(), 3u);
  for (const json& level : document["levels"]) {
    const json& result = level["results"][0];
    EXPECT_EQ(result["ok"], 6);
    EXPECT_EQ(result["output_tokens"], 24) << "the server's count, of 4 a request";
    EXPECT_EQ(result["counted_by"], json({{"usage", 6}}));
    EXPECT_LE(result["ttft_ms"]["p50"], result["ttft_ms"]["p99"]);
    EXPECT_LE(result["ttft_ms"]["p50"], result["e2el_ms"]["p50"]);
    EXPECT_GT(result["output_tokens_per_s"], 0);
    EXPECT_EQ(result["good"], 6);
  }
  const std::string picture = read_bytes(svg);
  EXPECT_TRUE(picture.starts_with("<svg ")) << picture.substr(0, 80);
  EXPECT_NE(picture.find("prefers-color-scheme:dark"), std::string::npos);
  EXPECT_EQ(picture.find("nan"), std::string::npos);
  EXPECT_EQ(run_shell("python3 -c \"import xml.dom.minidom as m; m.parse('" + svg + "')\"").status,
            0);
}

TEST_F(ServedCommands, BenchTwoServersInTurn) {
  const std::string options = fmt::format(
      "--compare-url http://127.0.0.1:{}/v1 --concurrency 2 --requests 4 --rounds 3 "
      "--prompt-tokens 12 --output-tokens 4 --route chat --json",
      server_->port);
  const Outcome outcome = bench(options);
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  const json document = json::parse(outcome.text);
  EXPECT_EQ(document["servers"].size(), 2u);
  const json& level = document["levels"][0];
  EXPECT_EQ(level["results"][1]["rounds"].size(), 3u);
  bool has_throughput = false;
  for (const json& ratio : level["ratios"]) {
    EXPECT_LE(ratio["min"], ratio["median"]);
    EXPECT_LE(ratio["median"], ratio["max"]);
    has_throughput = has_throughput || ratio["figure"] == "output tokens/s";
  }
  EXPECT_TRUE(has_throughput);
}

TEST_F(ServedCommands, BenchRefusesWrongUse) {
  const std::pair<const char*, const char*> cases[] = {
      {"--goodput speed:5", "--goodput: expected ttft:MS"},
      {"--goodput ttft:", "--goodput"},
      {"--prompt-tokens 0", "--prompt-tokens: expected N or LEAST:MOST"},
      {"--output-tokens 9:3", "--output-tokens"},
      {"--slug other", "HTTP 404"},
      {"--json-out /nowhere/x", "/nowhere"},
  };
  for (const auto& [options, words] : cases) {
    const Outcome outcome = bench(std::string("--requests 1 --concurrency 1 ") + options);
    EXPECT_EQ(outcome.status, 2) << options << "\n" << outcome.text;
    EXPECT_NE(outcome.text.find(words), std::string::npos) << options << "\n" << outcome.text;
  }
}

TEST(ServedPort, GatesAskTheServer) {
  const TempFolder folder;
  const fs::path port = folder / "mine";
  fs::create_directory(port);
  fs::copy_file(kSource + "/src/archs/llama/llama.cpp", port / "arch.cpp");
  fs::copy_file(kSource + "/src/archs/llama/llama.h", port / "llama.h");
  const std::string gates =
      fmt::format("gates {} --port-dir {} --phase verify --reference {}/reference ", kStoryteller,
                  port.string(), kStoryteller);
  {
    const ServeProgram server(
        fmt::format("--model {} --custom-architectures {}", kStoryteller, port.string()));
    ASSERT_FALSE(server.port.empty());
    const Outcome outcome =
        run_lockstep(gates + "--port " + server.port + " --json", "2>/dev/null");
    const json document = json::parse(outcome.text);
    const json& gate = document["gates"].back();
    EXPECT_EQ(gate["gate"], "logits_multi");
    EXPECT_EQ(gate["status"], "PASS") << outcome.text;
  }
  {
    const ServeProgram server("--model " + kSource + "/tests/fixtures/llama");
    ASSERT_FALSE(server.port.empty());
    const Outcome outcome = run_lockstep(gates + "--port " + server.port);
    EXPECT_EQ(outcome.status, 1) << outcome.text;
    EXPECT_NE(outcome.text.find("logits_multi     FAIL"), std::string::npos) << outcome.text;
    expect_narrow(outcome.text);
  }
  const Outcome nobody = run_lockstep(gates + "--port 1");
  EXPECT_EQ(nobody.status, 2) << nobody.text;
  const Outcome preflight =
      run_lockstep(fmt::format("gates {} --port-dir {} --port 1", kStoryteller, port.string()));
  EXPECT_EQ(preflight.status, 2) << preflight.text;
}

TEST(BenchServe, FailuresAreCountedAndShown) {
  using client::test::FakeRequest;
  using client::test::FakeServer;
  using client::test::http_answer;
  using client::test::Send;
  const std::string good =
      "data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: {\"choices\":[{\"text\":\"b\","
      "\"finish_reason\":\"length\"}],\"timings\":{\"prompt_n\":3,\"predicted_n\":2}}\n\n"
      "data: [DONE]\n\n";
  std::atomic<int> n = 0;
  FakeServer server([&](const FakeRequest& request, const Send& send) {
    if (request.method == "GET") {
      send(http_answer(200, R"({"data":[{"id":"m"}]})"));
      return;
    }
    const int turn = n++;
    if (request.body.find("ignore_eos") != std::string::npos) {
      send(http_answer(400, R"({"error":{"message":"unknown field ignore_eos"}})"));
    } else if (turn < 3 || turn % 4 == 0) {
      send(client::test::stream_head() + good);
    } else if (turn % 4 == 1) {
      send(http_answer(500, R"({"error":{"message":"no memory"}})"));
    } else if (turn % 4 == 2) {
      send(client::test::stream_head() + good.substr(0, 40));
    } else {
      send(client::test::stream_head() + "data: {\"error\":{\"message\":\"engine died\"}}\n\n");
    }
  });
  const Outcome outcome = run_lockstep(fmt::format(
      "bench serve --base-url {} --concurrency 2 --requests 12 --output-tokens 2", server.url()));
  EXPECT_EQ(outcome.status, 1) << outcome.text;
  for (const char* words :
       {"HTTP 500: no memory", "the stream broke off", "engine died", "ignore_eos is refused"}) {
    EXPECT_NE(outcome.text.find(words), std::string::npos) << words << "\n" << outcome.text;
  }
  expect_narrow(outcome.text);

  FakeServer dead([](const FakeRequest& request, const Send& send) {
    send(request.method == "GET" ? http_answer(200, R"({"data":[{"id":"m"}]})")
                                 : http_answer(503, R"({"error":{"message":"loading"}})"));
  });
  const Outcome none = run_lockstep("bench serve --requests 2 --base-url " + dead.url());
  EXPECT_EQ(none.status, 2) << none.text;
  EXPECT_NE(none.text.find("HTTP 503: loading"), std::string::npos) << none.text;
}

}  // namespace
}  // namespace lockstep::test
