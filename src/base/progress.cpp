// One progress line on stderr.
#include "base/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

namespace lockstep {
namespace {

constexpr std::chrono::milliseconds kQuietTime{2000};
constexpr std::chrono::milliseconds kRedrawTime{100};

}  // namespace

Progress::Progress(std::string label, uint64_t total)
    : label_(std::move(label)),
      total_(total),
      on_terminal_(::isatty(STDERR_FILENO) == 1),
      next_(std::chrono::steady_clock::now() + kQuietTime) {}

Progress::~Progress() { hide(); }

void Progress::hide() noexcept {
  if (shown_) std::fputs("\r\033[K", stderr);
  shown_ = false;
}

void Progress::update(uint64_t done, std::string label) noexcept {
  label_ = std::move(label);
  update(done);
}

void Progress::update(uint64_t done) noexcept {
  if (!on_terminal_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + kRedrawTime;
  try {
    const std::string line = "\r\033[K" + progress_text(label_, done, total_);
    std::fputs(line.c_str(), stderr);
    shown_ = true;
  } catch (...) {
    // A progress line is never worth a failure.
  }
}

std::string progress_text(const std::string& label, uint64_t done, uint64_t total) {
  if (total == 0) return fmt::format("{} {}", label, done);
  const double percent = 100.0 * static_cast<double>(done) / static_cast<double>(total);
  return fmt::format("{} {}/{} ({:.0f}%)", label, done, total, percent);
}

}  // namespace lockstep
