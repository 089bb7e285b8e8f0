// What becomes of the delimiters when a text is split: the five behaviours of the format.
#pragma once

#include <cstddef>

#include "text/json_part.h"

namespace lockstep::text {

// Splitting "the-final--countdown" at "-":
enum class SplitBehavior {
  kRemoved,             // the final countdown
  kIsolated,            // the - final - - countdown
  kMergedWithPrevious,  // the- final- - countdown
  kMergedWithNext,      // the -final - -countdown
  kContiguous,          // the - final -- countdown
};

/// Throws kInvalidArgument naming the place and the five names.
SplitBehavior split_behavior_of(const JsonPart& part);

/// Turns delimiters and what stands between them, in order and without gaps, into pieces:
/// `emit(begin, end)` for each that is not empty.
template <class Emit>
class Splitter {
 public:
  Splitter(SplitBehavior behavior, Emit emit) : behavior_(behavior), emit_(emit) {}

  void add(size_t begin, size_t end, bool is_delimiter) {
    switch (behavior_) {
      case SplitBehavior::kRemoved:
        if (!is_delimiter) give(begin, end);
        return;
      case SplitBehavior::kIsolated:
        give(begin, end);
        return;
      case SplitBehavior::kContiguous:
        join_or_hold(begin, end, is_delimiter == last_was_delimiter_);
        break;
      case SplitBehavior::kMergedWithPrevious:
        join_or_hold(begin, end, is_delimiter && !last_was_delimiter_);
        break;
      case SplitBehavior::kMergedWithNext:
        join_or_hold(begin, end, !is_delimiter && last_was_delimiter_);
        break;
    }
    last_was_delimiter_ = is_delimiter;
  }
  /// After the last part.
  void finish() {
    if (holds_) give(begin_, end_);
    holds_ = false;
  }

 private:
  void give(size_t begin, size_t end) {
    if (begin < end) emit_(begin, end);
  }
  void join_or_hold(size_t begin, size_t end, bool join) {
    if (holds_ && join) {
      end_ = end;
      return;
    }
    finish();
    begin_ = begin;
    end_ = end;
    holds_ = true;
  }

  SplitBehavior behavior_;
  Emit emit_;
  bool last_was_delimiter_ = false;
  bool holds_ = false;
  size_t begin_ = 0, end_ = 0;
};

}  // namespace lockstep::text
