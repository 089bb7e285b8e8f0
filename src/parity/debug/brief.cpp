#include "parity/debug/brief.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "base/file.h"
#include "base/text.h"
#include "lockstep/error.h"
#include "parity/debug/debug_report.h"
#include "parity/debug/fault_bench.h"
#include "parity/format.h"

namespace lockstep::parity {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndex = "README.md";
constexpr std::string_view kMark = "<!-- lockstep brief -->";
constexpr size_t kMostFaults = 8, kMostItems = 6;

// One line, and no markup: paths and texts are strangers'.
std::string plain(const std::string& text) {
  std::string out;
  for (const char c : printable(text)) {
    if (std::string_view("`*_<>[]|\\").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

// As code; a backtick would end it.
std::string code(const std::string& text) {
  std::string line = printable(text);
  std::ranges::replace(line, '`', '\'');
  return "`" + line + "`";
}

std::string code_block(const std::vector<std::string>& lines) {
  std::string out = "```\n";
  for (const std::string& text : lines) {
    std::string line = printable(text);
    std::ranges::replace(line, '`', '\'');
    out += line + "\n";
  }
  return out + "```\n";
}

std::string items(const std::vector<std::string>& lines) {
  if (lines.empty()) return "- nothing\n";
  std::string out;
  for (size_t i = 0; i < std::min(lines.size(), kMostItems); ++i) {
    out += "- " + plain(lines[i]) + "\n";
  }
  if (lines.size() > kMostItems) out += fmt::format("- and {} more\n", lines.size() - kMostItems);
  return out;
}

struct Task {
  std::string file, question, evidence, command;
  std::string suspected;  // of this question
};

class Brief {
 public:
  Brief(fs::path folder, const Recording& reference, const DebugReport& report,
        const BriefOptions& options)
      : folder_(std::move(folder)), reference_(reference), report_(report), options_(options) {}

  size_t write() {
    size_t n_open = 0;
    for (const Fault& fault : report_.explained.faults) {
      if (fault.judgement.verdict == CauseVerdict::kConfirmed || n_open == kMostFaults) continue;
      about(fault, ++n_open);
    }
    if (!report_.explained.is_complete()) behind();
    if (report_.outcome == Outcome::kDiverged && report_.explained.faults.empty()) unplaced();
    if (report_.stopped() != nullptr) stopped(*report_.stopped());
    for (const Task& task : tasks_) write_file(task.file, text_of(task));
    write_file(kIndex, index());
    return tasks_.size();
  }

 private:
  std::string command(const std::string& name, const std::string& more = "") const {
    return fmt::format("lockstep {} {} {}{}{}", name, options_.model, options_.arguments,
                       more.empty() ? "" : " ", more);
  }

  void write_file(const std::string& name, const std::string& text) {
    AtomicFile file(folder_ / name);
    file.write(text);
    file.commit();
  }

  void about(const Fault& fault, size_t number) {
    const auto name = [&](const char* topic) { return fmt::format("{}-{}.md", number, topic); };
    FaultBench bench(report_.isolated, reference_, fault);
    const std::string suspected =
        code(fault.path) + ": " + plain(cause_of(fault) + "; " + evidence_of(fault));
    weights(bench, fault, name("weights"), suspected);
    source(fault, name("source"), suspected);
    kernels(bench, fault, name("kernel"), suspected);
    micro_test(bench, fault, number, suspected);
    sub_taps(bench, fault, name("sub-taps"), suspected);
  }

  void weights(const FaultBench& bench, const Fault& fault, const std::string& file,
               const std::string& suspected) {
    std::string evidence =
        "| weight | mean | deviation | largest | zeros | not finite | deviation, other layers | "
        "largest, other layers |\n|---|---|---|---|---|---|---|---|\n";
    const std::vector<WeightFacts> all = bench.weights();
    size_t n_odd = 0;
    for (const WeightFacts& w : all) {
      const bool is_odd =
          w.not_finite > 0 ||
          (w.usual_deviation > 0 && (w.deviation > 3 * w.usual_deviation ||
                                     w.deviation < w.usual_deviation / 3));
      n_odd += is_odd;
      evidence += fmt::format("| {}{} | {} | {} | {} | {:.2g} % | {} | {} | {} |\n",
                              is_odd ? "**odd** " : "", code(w.path), short_number(w.mean),
                              short_number(w.deviation), short_number(w.largest),
                              100.0 * static_cast<double>(w.zeros) /
                                  static_cast<double>(std::max<int64_t>(1, w.elements)),
                              w.not_finite, short_number(w.usual_deviation),
                              short_number(w.usual_largest));
    }
    evidence += all.empty() ? "\nNeither the piece nor its module reads a weight.\n"
                            : fmt::format("\n{} of {} are odd: not finite, or three times as wide "
                                          "or as narrow as in the other layers.\n",
                                          n_odd, all.size());
    const std::string module = fault.path.substr(0, fault.path.find_first_of("/:#"));
    tasks_.push_back({file, "Is a weight of " + code(fault.path) + " another one than it should be?",
                      evidence,
                      fmt::format("lockstep list-keys {} --prefix {}", options_.model, module),
                      suspected});
  }

  void source(const Fault& fault, const std::string& file, const std::string& suspected) {
    BriefOptions::SourceDifference difference;
    if (options_.source_difference) difference = options_.source_difference(fault);
    if (difference.markdown.empty()) difference.markdown = "No donor's source was found.\n";
    if (difference.command.empty()) difference.command = command("explain");
    std::string evidence;
    if (!fault.source.empty()) evidence = "Called at " + code(fault.source) + ".\n\n";
    tasks_.push_back({file, "Does the source of " + code(fault.module_class) +
                                " do what the reference's does?",
                      evidence + difference.markdown, difference.command, suspected});
  }

  void kernels(FaultBench& bench, const Fault& fault, const std::string& file,
               const std::string& suspected) {
    const std::vector<KernelFacts> facts = bench.kernels();
    std::string evidence =
        "| kernels | off from the reference | off from the port |\n|---|---|---|\n";
    for (const KernelFacts& fact : facts) {
      evidence += fmt::format("| {} | {} | {} |\n", plain(fact.kernels),
                              short_number(fact.from_reference), short_number(fact.from_port));
    }
    const bool same = facts.size() == 2 && facts[1].from_reference > fault.bar;
    evidence += same ? "\nThe plain loops are as wrong: the kernel computes what it is asked to. Look "
                       "at what is asked (attributes, inputs, weights).\n"
                     : "\nThe plain loops agree with the reference: suspect the kernel.\n";
    tasks_.push_back({file, "Does a kernel of " + code(fault.ops) + " compute it wrongly?", evidence,
                      "LOCKSTEP_KERNEL=ref " + command("isolate"), suspected});
  }

  void micro_test(FaultBench& bench, const Fault& fault, size_t number,
                  const std::string& suspected) {
    const std::string folder = fmt::format("{}-micro-test", number);
    const std::vector<std::string> files = bench.write_tensors(folder_ / folder);
    std::string evidence = "What the port computes, op by op:\n\n" + code_block(bench.chain()) +
                           "\nTensors in " + code(folder) + ", all of " + code(fault.run) + ":\n\n" +
                           code_block(files) + "\nWhere the difference is largest:\n\n" +
                           code_block(bench.samples());
    tasks_.push_back({folder + ".md",
                      "Which formula turns these inputs into `expected.npy`?", evidence,
                      fmt::format("python3 -c \"import numpy as n; e, f = n.load('{0}/expected.npy'), "
                                  "n.load('{0}/found.npy'); print(n.linalg.norm(f.ravel() - "
                                  "e.ravel()) / n.linalg.norm(e))\"",
                                  folder),
                      suspected});
  }

  void sub_taps(const FaultBench& bench, const Fault& fault, const std::string& file,
                const std::string& suspected) {
    std::string evidence = "Recorded before it, and right:\n\n" + code_block(bench.inputs()) +
                           "\nBetween these and the value, nothing was recorded of:\n\n" +
                           code_block(bench.chain());
    if (!fault.judgement.wanted.empty()) {
      evidence += fmt::format("\nWould decide between causes: {}.\n",
                              plain(fmt::format("{}", fmt::join(fault.judgement.wanted, ", "))));
    }
    const std::string module = fault.path.substr(0, fault.path.find_first_of("/:#"));
    tasks_.push_back({file, "Which step inside " + code(fault.path) + " is the first to be wrong?",
                      evidence,
                      fmt::format("lockstep reference {} --output sub-taps --detail --taps '{}*'",
                                  options_.model, module),
                      suspected});
  }

  void behind() {
    const ExplainReport& explained = report_.explained;
    tasks_.push_back(
        {"behind.md", "What is wrong behind the faults that were found?",
         fmt::format("With the reference's values in the place of every fault, the logits of {} are "
                     "still off by {} (bar {}).\n",
                     code(explained.logits_run), short_number(explained.logits_left),
                     short_number(explained.logits_bar)),
         fmt::format("lockstep reference {} --output detail --detail --steps 2", options_.model),
         "Something between recorded values, or in what no value shows."});
  }

  void unplaced() {
    std::string first = "nothing";
    if (report_.diff) {
      for (const RunDiff& run : report_.diff->runs) {
        if (run.first_diverged < 0) continue;
        const auto at = static_cast<size_t>(run.first_diverged);
        first = run.port->info.id + ": " + (at < run.taps.size() ? run.taps[at].key : "logits");
        break;
      }
    }
    tasks_.push_back({"unplaced.md", "Where does the whole run first leave the reference?",
                      "Every recorded value is right on the reference's own inputs. First to diverge "
                      "in the whole run: " + code(first) + ".\n",
                      fmt::format("lockstep reference {} --output detail --detail --steps 2",
                                  options_.model),
                      "What one step leaves to the next (caches, states, positions), or values that "
                      "nothing recorded separates."});
  }

  void stopped(const DebugStage& stage) {
    tasks_.push_back({"stopped.md", "Why did the protocol stop at " + stage.name + "?",
                      plain(stage.result) + "\n", report_.next,
                      "No operator: the port was not judged."});
  }

  std::string text_of(const Task& task) const {
    return fmt::format(
        "# {}\n\nOf {}; measure, do not mend: whoever mends reads all answers first.\n\n"
        "## Evidence\n\n{}\n## Verified\n\n{}\n## Still suspected\n\n- {}\n\n"
        "## The command that answers it\n\n```\n{}\n```\n",
        task.question, plain(report_.headline), task.evidence, items(report_.verified),
        task.suspected, printable(task.command));
  }

  std::string index() const {
    std::string out = fmt::format("{}\n# {}: {}\n\n", kMark, plain(reference_.model),
                                  plain(report_.headline));
    for (const Fault& fault : report_.explained.faults) {
      out += fmt::format("- {} ({}): {}{}\n", code(fault.path), certainty_of(fault),
                         plain(cause_of(fault)),
                         fault.source.empty() ? "" : ", " + code(fault.source));
    }
    out += "\n## Tasks\n\n";
    if (tasks_.empty()) out += "None: nothing is open.\n";
    for (const Task& task : tasks_) {
      out += fmt::format("- [{0}]({0}): {1}\n", task.file, task.question);
    }
    out += "\n## Verified\n\n" + items(report_.verified) + "\n## Still suspected\n\n" +
           items(report_.suspected) + "\n## Not covered\n\n" + items(report_.not_covered) +
           "\n## Next\n\n```\n" + printable(report_.next) + "\n```\n";
    return out;
  }

  fs::path folder_;
  const Recording& reference_;
  const DebugReport& report_;
  const BriefOptions& options_;
  std::vector<Task> tasks_;
};

bool is_brief(const fs::path& folder) {
  std::ifstream index(folder / kIndex);
  std::string line;
  return std::getline(index, line) && line == kMark;
}

}  // namespace

void check_brief_folder(const fs::path& folder) {
  if (!fs::exists(folder)) return;
  if (fs::is_directory(folder) && (fs::is_empty(folder) || is_brief(folder))) return;
  throw Error(ErrorCode::kFailedPrecondition,
              folder.string() + ": expected a new or empty folder or a former brief, found another",
              "choose another --brief DIR");
}

size_t write_brief(const fs::path& folder, const Recording& reference, const DebugReport& report,
                   const BriefOptions& options) {
  check_brief_folder(folder);
  const fs::path whole = fs::absolute(folder).lexically_normal();
  const fs::path place = whole.has_filename() ? whole : whole.parent_path();
  std::string pattern = (place.parent_path() / ("." + place.filename().string() + "-XXXXXX")).string();
  if (mkdtemp(pattern.data()) == nullptr) {
    throw Error(ErrorCode::kUnavailable, pattern + ": cannot be created",
                "--brief names a folder below one that exists");
  }
  const fs::path made = pattern;
  try {
    fs::permissions(made, fs::perms::group_read | fs::perms::group_exec | fs::perms::others_read |
                              fs::perms::others_exec, fs::perm_options::add);
    const size_t n = Brief(made, reference, report, options).write();
    const fs::path old = made.string() + ".old";
    if (fs::exists(place)) fs::rename(place, old);
    fs::rename(made, place);
    fs::remove_all(old);
    return n;
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(made, ignored);
    throw;
  }
}

}  // namespace lockstep::parity
