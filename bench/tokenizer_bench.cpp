// Loading a tokenizer, and encoding and decoding 10 MB of mixed text on one thread. Where the
// tokenizers library is installed, its times on the same text are measured as well, ids compared,
// and `ratio` says how many times as long it takes.
//
//   LOCKSTEP_BENCH_TOKENIZER  a folder with tokenizer.json (default: a small one of the tests)
//   LOCKSTEP_PEER_PYTHON      a Python that has tokenizers, run in a folder of its own
//                             (default: python3)
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include "base/file.h"
#include "bench/bench.h"
#include "text/tokenizer.h"

namespace lockstep::bench {
namespace {

namespace fs = std::filesystem;
using text::Tokenizer;

constexpr size_t kTextBytes = 10'000'000;

std::string environment_or(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

fs::path tokenizer_folder() {
  return environment_or("LOCKSTEP_BENCH_TOKENIZER",
                        LOCKSTEP_SOURCE_DIR "/tests/fixtures/tokenizers/bytelevel");
}

// Words of a made-up language by rank, as rare as in a real one; code, numbers, other scripts.
std::string mixed_text() {
  constexpr std::array<const char*, 16> kSyllables = {"the", "re",  "in", "ta", "so",  "ver",
                                                      "al",  "on",  "mi", "de", "ing", "ke",
                                                      "lo",  "ser", "un", "st"};
  constexpr std::array<const char*, 8> kOther = {"世界の言葉", "Привет", "naïve café", "مرحبا",
                                                 "안녕하세요", "नमस्ते",   "👋🏽",   "Ελληνικά"};
  constexpr std::array<const char*, 6> kCode = {
      "for (int i = 0; i < n; ++i) {\n    sum += x[i] * w[i];\n  }\n",
      "return a->b(c, 0x7f);\n",
      "{\"key\": [1, 2.5e-3, null]}",
      "def f(x):\n        return x ** 2\n",
      "// why\n\n",
      "std::vector<std::string> names;"};
  uint64_t state = 1;
  const auto draw = [&](uint64_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>((state >> 33) % n);
  };
  std::string text;
  while (text.size() < kTextBytes) {
    const size_t kind = draw(100);
    if (kind < 3) {
      text += kCode[draw(kCode.size())];
    } else if (kind < 6) {
      text += kOther[draw(kOther.size())];
    } else if (kind < 9) {
      text += std::to_string(draw(100'000));
    } else {
      // A product of two draws favours low ranks.
      size_t rank = draw(200) * draw(200) / 4;
      if (draw(12) == 0) text += static_cast<char>('A' + rank % 26);
      do {
        text += kSyllables[rank % kSyllables.size()];
        rank /= kSyllables.size();
      } while (rank > 0);
    }
    text += draw(14) == 0 ? ".\n" : draw(9) == 0 ? ", " : " ";
  }
  return text;
}

struct Reference {
  bool measured = false;
  double load = 0, encode = 0, decode = 0;  // seconds
  bool same_ids = false;
};

/// Our tokenizer, the text and its ids, and what the reference takes for them.
struct Subject {
  Tokenizer tokenizer = Tokenizer::open(tokenizer_folder());
  std::string text = mixed_text();
  std::vector<int32_t> ids = tokenizer.encode(text, {.add_special_tokens = false});
  Reference reference;

  Subject() { measure_reference(); }

 private:
  void measure_reference() {
    const fs::path folder =
        fs::temp_directory_path() / ("lockstep_bench_" + std::to_string(::getpid()));
    std::error_code error;
    fs::create_directory(folder);
    fs::copy(tokenizer_folder() / "tokenizer.json", folder, error);
    fs::copy(LOCKSTEP_SOURCE_DIR "/bench/tokenizers_reference.py", folder, error);
    std::ofstream(folder / "text", std::ios::binary) << text;
    std::ofstream(folder / "ids", std::ios::binary)
        .write(reinterpret_cast<const char*>(ids.data()),
               static_cast<std::streamsize>(ids.size() * sizeof(int32_t)));
    const std::string command = "cd '" + folder.string() + "' && " +
                                environment_or("LOCKSTEP_PEER_PYTHON", "python3") +
                                " tokenizers_reference.py > times 2>/dev/null";
    if (std::system(command.c_str()) == 0) {
      std::ifstream times(folder / "times");
      times >> reference.load >> reference.encode >> reference.decode >> reference.same_ids;
      reference.measured = static_cast<bool>(times);
    }
    fs::remove_all(folder, error);
  }
};

const Subject& subject() {
  static const Subject made;
  return made;
}

/// Reports the ratio to the reference, or fails where its ids are others.
class RatioReport {
 public:
  RatioReport(benchmark::State& state, double reference_seconds)
      : state_(state), reference_seconds_(reference_seconds) {
    const Reference& reference = subject().reference;
    if (!reference.measured) state.SetLabel("no tokenizers library to compare with");
    if (reference.measured && !reference.same_ids)
      state.SkipWithError("the reference's ids differ");
    start_ = std::chrono::steady_clock::now();
  }
  RatioReport(const RatioReport&) = delete;
  RatioReport& operator=(const RatioReport&) = delete;
  ~RatioReport() {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
    if (!subject().reference.measured) return;
    state_.counters["ratio"] =
        reference_seconds_ * static_cast<double>(state_.iterations()) / elapsed.count();
  }

 private:
  benchmark::State& state_;
  double reference_seconds_;
  std::chrono::steady_clock::time_point start_;
};

void load(benchmark::State& state) {
  const RatioReport ratio(state, subject().reference.load);
  for (auto _ : state) benchmark::DoNotOptimize(Tokenizer::open(tokenizer_folder()).id_limit());
}
BENCHMARK(load)->Unit(benchmark::kMillisecond)->Apply(spread);

void encode(benchmark::State& state) {
  const Subject& made = subject();
  const RatioReport ratio(state, made.reference.encode);
  for (auto _ : state) {
    if (made.tokenizer.encode(made.text, {.add_special_tokens = false}) != made.ids) {
      state.SkipWithError("the ids differ");
      return;
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * made.text.size()));
}
BENCHMARK(encode)->Unit(benchmark::kMillisecond)->Apply(spread);

void decode(benchmark::State& state) {
  const Subject& made = subject();
  const RatioReport ratio(state, made.reference.decode);
  for (auto _ : state) benchmark::DoNotOptimize(made.tokenizer.decode(made.ids).size());
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * made.text.size()));
}
BENCHMARK(decode)->Unit(benchmark::kMillisecond)->Apply(spread);

}  // namespace
}  // namespace lockstep::bench
