#include "eval/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <thread>

#include "eval/answers_file.h"
#include "lockstep/error.h"

namespace lockstep::eval {
namespace {

constexpr double kTie = 2e-4;

// The first of the largest.
size_t argmax(const std::vector<double>& values) {
  return static_cast<size_t>(std::ranges::max_element(values) - values.begin());
}

double is_right(const Item& item, size_t choice) {
  return std::ranges::find(item.right, choice) != item.right.end() ? 1 : 0;
}

// Mean and standard error of all that was answered, by name.
std::map<std::string, Metric> metrics_of(const Task& task,
                                         const std::vector<std::optional<Result>>& results) {
  std::map<std::string, std::vector<double>> values;
  for (size_t i = 0; i < results.size(); ++i) {
    if (!results[i]) continue;
    for (const auto& [name, value] : score(task.items[i], *results[i])) {
      values[name].push_back(value);
    }
  }
  std::map<std::string, Metric> metrics;
  for (const auto& [name, all] : values) {
    const auto n = static_cast<double>(all.size());
    double sum = 0, squares = 0;
    for (const double value : all) sum += value;
    for (const double value : all) squares += (value - sum / n) * (value - sum / n);
    metrics[name] = {sum / n, n > 1 ? std::sqrt(squares / (n - 1) / n) : 0};
  }
  return metrics;
}

// What the threads of a run share.
class Run {
 public:
  Run(const Task& task, Scorer& scorer, const RunOptions& options)
      : task_(task), scorer_(scorer), options_(options) {
    summary_.n_total = task.items.size();
    summary_.results.resize(task.items.size());
    if (!options.output.empty()) {
      file_.emplace(options.output, task, scorer);
      summary_.results = file_->take();
    }
    for (size_t i = 0; i < task.items.size(); ++i) {
      if (summary_.results[i]) {
        account(i);
        ++summary_.n_kept;
      } else {
        open_.push_back(i);
      }
    }
  }

  Summary go() {
    if (!open_.empty() && can_reach()) {
      work(1);
      std::vector<std::thread> threads;
      const auto n =
          std::min<size_t>(static_cast<size_t>(std::max(options_.concurrency, 1)), open_.size());
      for (size_t i = 0; i < n; ++i) threads.emplace_back([this] { work(open_.size()); });
      for (std::thread& thread : threads) thread.join();
    }
    if (summary_.outcome == Outcome::kDone && summary_.n_done < summary_.n_total) {
      summary_.outcome = Outcome::kUnreachable;
    }
    summary_.metrics = metrics_of(task_, summary_.results);
    for (size_t i = 0; i < summary_.results.size(); ++i) {
      if (!summary_.results[i]) continue;
      const Result& result = *summary_.results[i];
      if (is_tie(result)) summary_.ties.push_back(task_.items[i].id);
      summary_.n_cut +=
          result.generated.is_cut || std::ranges::any_of(result.choices, &Loglikelihood::is_cut);
    }
    return std::move(summary_);
  }

 private:
  void work(size_t n_items) {
    try {
      const std::unique_ptr<Session> session = scorer_.open();
      while (n_items-- > 0 && !stop_) {
        const size_t next = next_++;
        if (next >= open_.size()) break;
        answer(*session, open_[next]);
      }
    } catch (const Error& error) {
      fail(error.message(), error.hint());
    } catch (const std::exception& error) {
      fail(error.what(), "");
    }
  }

  void answer(Session& session, size_t i) {
    const Item& item = task_.items[i];
    Result result;
    if (item.is_generation()) {
      result.generated = session.generate(item.prompt, item.stop, item.max_tokens);
    } else {
      result.choices = session.loglikelihood(item.choices);
    }
    const std::lock_guard lock(mutex_);
    if (file_) file_->add(i, item.id, result);
    summary_.results[i] = std::move(result);
    account(i);
    if (options_.progress) {
      options_.progress(
          {summary_.n_done, summary_.n_total, i, sum_ / static_cast<double>(summary_.n_done)});
    }
    if (!can_reach()) stop_ = true;
  }

  void account(size_t i) {
    ++summary_.n_done;
    sum_ += score(task_.items[i], *summary_.results[i]).at(task_.metric);
  }

  // Were all that is left right.
  bool can_reach() const {
    if (!options_.target) return true;
    const auto n_left = static_cast<double>(summary_.n_total - summary_.n_done);
    return (sum_ + n_left) / static_cast<double>(summary_.n_total) >= *options_.target;
  }

  void fail(const std::string& message, const std::string& hint) {
    stop_ = true;
    const std::lock_guard lock(mutex_);
    if (summary_.outcome == Outcome::kInterrupted) return;
    summary_.outcome = Outcome::kInterrupted;
    summary_.error = message;
    summary_.hint = hint;
  }

  const Task& task_;
  Scorer& scorer_;
  const RunOptions& options_;
  std::optional<AnswersFile> file_;
  std::vector<size_t> open_;  // items that are not answered
  std::atomic<size_t> next_ = 0;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;  // of what follows, and of file_
  Summary summary_;
  double sum_ = 0;
};

}  // namespace

std::map<std::string, double> score(const Item& item, const Result& result) {
  if (item.is_generation()) {
    const std::string expected = final_number(item.answer);
    return {{"exact_match", final_number(result.generated.text) == expected ? 1.0 : 0.0}};
  }
  std::vector<double> logprobs, normed;
  for (size_t i = 0; i < result.choices.size(); ++i) {
    logprobs.push_back(result.choices[i].logprob);
    normed.push_back(result.choices[i].logprob / std::max(item.choices[i].length, 1.0));
  }
  // Of their sum, the share of the right ones.
  double right = 0, all = 0;
  const double largest = std::ranges::max(logprobs);
  for (size_t i = 0; i < logprobs.size(); ++i) {
    const double p = std::exp(logprobs[i] - largest);
    all += p;
    right += p * is_right(item, i);
  }
  return {{"acc", is_right(item, argmax(logprobs))},
          {"acc_norm", is_right(item, argmax(normed))},
          {"mc2", right / all}};
}

bool is_tie(const Result& result) {
  if (result.choices.size() < 2) return false;
  std::vector<double> logprobs;
  for (const Loglikelihood& choice : result.choices) logprobs.push_back(choice.logprob);
  std::ranges::sort(logprobs, std::greater<>());
  return logprobs[0] - logprobs[1] <= kTie;
}

Summary run(const Task& task, Scorer& scorer, const RunOptions& options) {
  return Run(task, scorer, options).go();
}

}  // namespace lockstep::eval
