// `lockstep reference` with a shell script in the place of Python: what it is given, what is made
// of its answers, and that nothing is left of it when it is stopped.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "base/child_process.h"
#include "support.h"

namespace lockstep::test {
namespace {
namespace fs = std::filesystem;

// Answers the probe from $FAKE_PROBE; else writes its arguments to $FAKE_LOG, one a record that
// ends in byte 1, and does what $FAKE_DO says.
constexpr const char* kFakePython = R"(#!/bin/sh
if [ "$1" = -c ]; then echo "probed $0" >> "$FAKE_LOG.probes"; eval "$FAKE_PROBE"; exit; fi
for argument in "$@"; do printf '%s\001' "$argument" >> "$FAKE_LOG"; done
eval "$FAKE_DO"
)";
constexpr const char* kSound = R"(echo '{"version": "3.11.2", "missing": [], "old": false}')";
constexpr const char* kDone =
    R"(echo '{"event": "done", "message": "OUT: 3 runs", "output": "OUT", "runs": 3}' >&2)";

struct Outcome {
  int status = 0;
  std::string printed;  // stdout and stderr
};

class ReferenceCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    python_ = make_python("bin");
    setenv("FAKE_LOG", (temp_.path() / "log").c_str(), 1);
    setenv("FAKE_PROBE", kSound, 1);
    setenv("FAKE_DO", kDone, 1);
    for (const char* name : {"LOCKSTEP_PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX"}) unsetenv(name);
    setenv("LOCKSTEP_SHARE", source_dir().c_str(), 1);
    setenv("PATH", (temp_.path() / "bin:/usr/bin:/bin").c_str(), 1);
  }
  void TearDown() override {
    unsetenv("LOCKSTEP_SHARE");
    unsetenv("LOCKSTEP_PYTHON");
    unsetenv("VIRTUAL_ENV");
  }

  fs::path make_python(const std::string& folder) const {
    fs::path file = temp_.path() / folder / "python3";
    fs::create_directories(file.parent_path());
    write_text(file, kFakePython);
    fs::permissions(file, fs::perms::owner_all);
    return file;
  }

  static Outcome run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {LOCKSTEP_BINARY_DIR "/bin/lockstep", "reference"});
    Outcome outcome;
    const ChildResult result =
        run_child(arguments, ChildOutput::kLines,
                  [&](std::string_view line) { outcome.printed.append(line).push_back('\n'); });
    outcome.status = result.signal != 0 ? -result.signal : result.status;
    return outcome;
  }

  // What the recorder was given, without its own path.
  std::vector<std::string> given() const {
    std::ifstream file(temp_.path() / "log");
    std::vector<std::string> arguments;
    for (std::string argument; std::getline(file, argument, '\001');) arguments.push_back(argument);
    if (!arguments.empty()) {
      EXPECT_EQ(arguments[0], (source_dir() / "reference/record.py").string());
      arguments.erase(arguments.begin());
    }
    return arguments;
  }

  std::string probes() const {
    std::ifstream file(temp_.path() / "log.probes");
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TempDir temp_;
  fs::path python_;
};

using Arguments = std::vector<std::string>;

TEST_F(ReferenceCommandTest, EveryOptionArrivesAsItWasGiven) {
  const std::string odd = "-it's \"odd\"\n$(touch pwned) \\ ; *";
  const Outcome outcome = run({"org/model@main",
                               "--output",
                               "OUT",
                               "--dtype",
                               "float32",
                               "--dtype",
                               "bfloat16",
                               "--attention",
                               "eager",
                               "--attention",
                               "sdpa",
                               "--chat",
                               "hello",
                               "--prompt=" + odd,
                               "--prompt-ids",
                               "1,2,3",
                               "--chat",
                               "again",
                               "--taps",
                               "",
                               "--detail",
                               "--steps",
                               "4",
                               "--layers",
                               "0:2",
                               "--trust-remote-code",
                               "--device",
                               "auto"});
  EXPECT_EQ(outcome.status, 0) << outcome.printed;
  EXPECT_EQ(given(),
            (Arguments{"org/model@main", "--output=OUT", "--dtype=float32", "--dtype=bfloat16",
                       "--attention=eager", "--attention=sdpa", "--chat=hello", "--prompt=" + odd,
                       "--prompt-ids=1,2,3", "--chat=again", "--taps=", "--detail", "--steps=4",
                       "--layers=0:2", "--trust-remote-code", "--device=auto", "--progress-json"}));
  EXPECT_NE(outcome.printed.find("OUT: 3 runs\nnext: lockstep dump org/model@main --like OUT"),
            std::string::npos)
      << outcome.printed;
}

TEST_F(ReferenceCommandTest, DefaultsAreTheRecorders) {
  EXPECT_EQ(run({"model", "--output", "OUT"}).status, 0);
  EXPECT_EQ(given(), (Arguments{"model", "--output=OUT", "--progress-json"}));
}

TEST_F(ReferenceCommandTest, SelfTestNeedsNothingElse) {
  const Outcome outcome = run({"--self-test"});
  EXPECT_EQ(outcome.status, 0) << outcome.printed;
  EXPECT_EQ(given(), (Arguments{"--self-test", "--progress-json"}));
  EXPECT_EQ(outcome.printed.find("next:"), std::string::npos);
}

TEST_F(ReferenceCommandTest, WithoutModelOrOutputNothingRuns) {
  for (const Arguments& arguments : {Arguments{}, Arguments{"model"}, Arguments{"--output", "O"}}) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, 2);
    EXPECT_NE(outcome.printed.find("expected MODEL and --output DIR"), std::string::npos);
  }
  EXPECT_EQ(run({"model", "--output", "O", "--dtype", "int3"}).status, 2);
  EXPECT_EQ(run({"model", "--output", "O", "--steps", "-1"}).status, 2);
  EXPECT_TRUE(given().empty());
}

TEST_F(ReferenceCommandTest, RefusalKeepsItsFields) {
  setenv("FAKE_DO",
         R"(echo '{"event": "warning", "message": "odd"}' >&2
            echo '{"event": "error", "message": "m", "file": "F", "key": "K", "expected": "E",
                   "found": "X", "do": "D"}' | tr -d '\n' >&2; exit 2)",
         1);
  const Outcome plain = run({"model", "--output", "OUT"});
  EXPECT_EQ(plain.status, 2);
  EXPECT_EQ(plain.printed, "warning: odd\nlockstep: F: K: expected E, found X\n  D\n");
  const Outcome as_json = run({"model", "--output", "OUT", "--json"});
  EXPECT_EQ(as_json.status, 2);
  EXPECT_NE(as_json.printed.find("\"hint\": \"D\""), std::string::npos) << as_json.printed;
}

TEST_F(ReferenceCommandTest, UnforeseenErrorsArrivePlainAndWhole) {
  setenv("FAKE_DO",
         "printf 'Traceback (most recent call last):\\n  File \"x\", line 1\\nKeyError: 3' >&2; "
         "exit 1",
         1);
  const Outcome outcome = run({"model", "--output", "OUT"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_EQ(
      outcome.printed.find("Traceback (most recent call last):\n  File \"x\", line 1\nKeyError: 3\n"
                           "lockstep: the recorder ended with status 1"),
      0u)
      << outcome.printed;
  setenv("FAKE_DO", "kill -9 $$", 1);
  const Outcome killed = run({"model", "--output", "OUT"});
  EXPECT_EQ(killed.status, 2);
  EXPECT_NE(killed.printed.find("ended by signal 9"), std::string::npos) << killed.printed;
  setenv("FAKE_DO", "exit 0", 1);
  EXPECT_EQ(run({"model", "--output", "OUT"}).status, 2);
}

TEST_F(ReferenceCommandTest, SaysWhatIsMissingAndHowToGetIt) {
  setenv("FAKE_PROBE",
         R"(echo '{"version": "3.11.2", "missing": ["torch", "transformers"], "old": false}')", 1);
  const Outcome outcome = run({"model", "--output", "OUT", "--python", python_});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_NE(outcome.printed.find(python_.string() + " (version 3.11.2) has no torch, transformers"),
            std::string::npos)
      << outcome.printed;
  EXPECT_NE(outcome.printed.find("pip install torch transformers safetensors"), std::string::npos);
  setenv("FAKE_PROBE", "echo nonsense; exit 3", 1);
  EXPECT_NE(run({"model", "--output", "OUT", "--python", python_})
                .printed.find("does not run Python: nonsense"),
            std::string::npos);
  EXPECT_NE(run({"model", "--output", "OUT", "--python", "/no/such/python"})
                .printed.find("/no/such/python no such program"),
            std::string::npos);
  EXPECT_TRUE(given().empty());
}

TEST_F(ReferenceCommandTest, TheNearestPythonThatHasAllOfIt) {
  const fs::path environment = make_python("venv/bin"), named = make_python("named");
  setenv("VIRTUAL_ENV", (temp_.path() / "venv").c_str(), 1);
  EXPECT_EQ(run({"model", "--output", "OUT"}).status, 0);
  EXPECT_EQ(probes(), "probed " + environment.string() + "\n");
  // One without torch is passed over for the next.
  setenv("FAKE_PROBE",
         R"(case $0 in */venv/*) m='"torch"';; esac
            echo "{\"version\": \"3.11.2\", \"missing\": [$m], \"old\": false}")",
         1);
  fs::remove(temp_.path() / "log.probes");
  EXPECT_EQ(run({"model", "--output", "OUT"}).status, 0);
  EXPECT_EQ(probes(), "probed " + environment.string() + "\nprobed " + python_.string() + "\n");
  // One that was named is the only one.
  setenv("LOCKSTEP_PYTHON", named.c_str(), 1);
  fs::remove(temp_.path() / "log.probes");
  EXPECT_EQ(run({"model", "--output", "OUT"}).status, 0);
  EXPECT_EQ(probes(), "probed " + named.string() + "\n");
  EXPECT_EQ(run({"model", "--output", "OUT", "--python", environment}).status, 2);
}

TEST_F(ReferenceCommandTest, MissingRecorderNamesThePlace) {
  setenv("LOCKSTEP_SHARE", temp_.path().c_str(), 1);
  const Outcome outcome = run({"model", "--output", "OUT"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_NE(outcome.printed.find((temp_.path() / "reference/record.py").string()),
            std::string::npos)
      << outcome.printed;
}

// The signal reaches this process, run_child passes it to lockstep, and that to the recorder.
Outcome interrupted(const fs::path& ready, const std::function<Outcome()>& body) {
  std::thread interrupter([&] {
    for (int i = 0; i < 400 && !fs::exists(ready); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(25));
    }
    kill(getpid(), SIGINT);
  });
  Outcome outcome = body();
  interrupter.join();
  return outcome;
}

TEST_F(ReferenceCommandTest, InterruptEndsTheRecorderAndLeavesNothing) {
  const fs::path out = temp_.path() / "out", ready = temp_.path() / "ready";
  const std::string begun = "mkdir '" + out.string() + "'.partial-$$; echo $$ > '" +
                            ready.string() + ".new'; mv '" + ready.string() + ".new' '" +
                            ready.string() + "'; ";
  setenv("FAKE_DO", (begun + "sleep 60").c_str(), 1);
  const auto began = std::chrono::steady_clock::now();
  const Outcome outcome = interrupted(ready, [&] {
    return run({"model", "--output", out.string()});
  });
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(30));
  EXPECT_EQ(outcome.status, 2) << outcome.printed;
  EXPECT_NE(outcome.printed.find("interrupted, nothing was written"), std::string::npos);
  int pid = 0;
  std::ifstream(ready) >> pid;
  ASSERT_GT(pid, 0);
  EXPECT_NE(kill(pid, 0), 0);
  EXPECT_FALSE(fs::exists(out.string() + ".partial-" + std::to_string(pid)));
  EXPECT_FALSE(fs::exists(out));
}

}  // namespace
}  // namespace lockstep::test
