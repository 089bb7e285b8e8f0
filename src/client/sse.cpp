#include "client/sse.h"

namespace lockstep::client {

void SseReader::end_line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.empty()) {
    if (has_data_) on_event_(data_);
    data_.clear();
    has_data_ = false;
    return;
  }
  if (line != "data" && !line.starts_with("data:")) return;
  line.remove_prefix(line.size() > 4 ? 5 : 4);
  if (line.starts_with(' ')) line.remove_prefix(1);
  if (has_data_) data_ += '\n';
  data_ += line;
  has_data_ = true;
}

bool SseReader::feed(std::string_view part) {
  while (!too_long_ && !part.empty()) {
    const size_t end = part.find('\n');
    const std::string_view piece = part.substr(0, end);
    if (line_.size() + data_.size() + piece.size() > max_bytes_) {
      too_long_ = true;
      break;
    }
    if (end == part.npos) {
      line_ += piece;
      break;
    }
    if (line_.empty()) {
      end_line(piece);
    } else {
      line_ += piece;
      // The event's receiver may not see a line that is being built.
      std::string line;
      line.swap(line_);
      end_line(line);
    }
    part.remove_prefix(end + 1);
  }
  return !too_long_;
}

}  // namespace lockstep::client
