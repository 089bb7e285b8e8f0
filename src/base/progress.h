// One progress line on stderr for work that takes long, and only for somebody who watches.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace lockstep {

/// Shows "loading weights 12/40 (30%)" when stderr is a terminal and two seconds have passed;
/// erases it when destroyed. For one thread.
class Progress {
 public:
  /// `total` 0 means unknown: only the count is shown.
  Progress(std::string label, uint64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(uint64_t done) noexcept;
  void update(uint64_t done, std::string label) noexcept;
  /// Takes the line off the screen, so that another can be written; the next update() brings it
  /// back.
  void hide() noexcept;

 private:
  std::string label_;
  uint64_t total_;
  bool on_terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point next_;
};

/// The line that Progress shows: "label 12/40 (30%)", or "label 12" without a total.
std::string progress_text(const std::string& label, uint64_t done, uint64_t total);

}  // namespace lockstep
