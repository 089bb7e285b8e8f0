// A connection that sends nearly right requests and holds every answer against the rules: for tests
// and fuzz targets.
#pragma once

#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "serve/answer_check_test_util.h"
#include "serve/loopback_test_util.h"
#include "serve/request_mutator_test_util.h"

namespace lockstep::serve::test {

struct FuzzTally {
  std::atomic<uint64_t> sessions{0}, requests{0}, answers{0}, streams{0}, left{0};
  std::array<std::atomic<uint64_t>, 6> by_status{};  // by the hundreds

  std::string text() const {
    char out[256];
    std::snprintf(out, sizeof(out),
                  "%lu requests on %lu connections: %lu answers well formed (2xx %lu, 4xx %lu, 5xx "
                  "%lu; %lu streams); %lu connections left early",
                  requests.load(), sessions.load(), answers.load(), by_status[2].load(),
                  by_status[4].load(), by_status[5].load(), streams.load(), left.load());
    return out;
  }
};

class FuzzSession {
 public:
  FuzzSession(uint16_t port, Choices& choices, FuzzTally& tally)
      : choices_(choices), tally_(tally), client_(port) {}

  /// Empty where all went well; else what was wrong, with what was sent.
  std::string run() {
    ++tally_.sessions;
    if (!client_.is_open()) return "cannot connect";
    RequestMutator mutator(choices_);
    const size_t n = 1 + choices_.pick(8);
    const bool pipelined = choices_.chance(3);
    const size_t leaves_at = choices_.chance(8) ? choices_.pick(n) : n;
    std::vector<WireRequest> sent;
    for (size_t i = 0; i < n && is_well_; ++i) {
      sent.push_back(mutator.next());
      ++tally_.requests;
      if (i == leaves_at) {
        leave(sent.back());
        return problem(sent);
      }
      send(sent.back().bytes);
      is_well_ = sent.back().is_framed;
      if (!pipelined && is_well_ && !receive(sent.back())) return problem(sent);
    }
    if (pipelined) {
      for (const WireRequest& request : sent) {
        if (!request.is_framed || !receive(request)) break;
      }
    }
    if (!sent.back().is_framed) receive_rest();
    return problem(sent);
  }

 private:
  std::string problem(const std::vector<WireRequest>& sent) const {
    if (reader_.problem.empty()) return {};
    std::string out = reader_.problem;
    out.append("\nsent:");
    for (const WireRequest& request : sent) out.append("\n").append(request.bytes, 0, 4000);
    return out;
  }

  void send(const std::string& bytes) {
    if (!choices_.chance(16)) return client_.send(bytes);
    const size_t step = 1 + choices_.pick(400);
    for (size_t at = 0; at < bytes.size(); at += step) client_.send(bytes.substr(at, step));
  }

  void count(const CheckedAnswer& answer) {
    ++tally_.answers;
    ++tally_.by_status[static_cast<size_t>(answer.status / 100) % 6];
    if (answer.is_stream) ++tally_.streams;
  }

  // The answer to `request`. False where the connection is over.
  bool receive(const WireRequest& request) {
    for (;;) {
      if (const auto answer = reader_.next(request.is_to_head)) {
        count(*answer);
        return !answer->closes;
      }
      if (!reader_.problem.empty()) return false;
      const std::string more = client_.receive_some();
      if (more.empty()) {
        reader_.close(false);
        if (const auto last = reader_.next(request.is_to_head)) {
          count(*last);
        } else if (reader_.problem.empty()) {
          reader_.problem = "no whole answer: " + reader_.waiting().substr(0, 300);
        }
        return false;
      }
      reader_.push(more);
    }
  }

  // Whatever comes after something that was not understood; it need not come.
  void receive_rest() {
    shutdown(client_.descriptor(), SHUT_WR);
    for (std::string more = client_.receive_some(); !more.empty(); more = client_.receive_some()) {
      reader_.push(more);
      while (const auto answer = reader_.next()) {
        count(*answer);
        if (answer->closes) return;
      }
      if (!reader_.problem.empty()) return;
    }
  }

  // A client that vanishes: in the middle of what it sends, or of what it is told.
  void leave(const WireRequest& request) {
    ++tally_.left;
    if (choices_.chance(2)) {
      client_.send(request.bytes.substr(0, choices_.pick(request.bytes.size() + 1)));
    } else {
      client_.send(request.bytes);
      if (choices_.chance(2)) client_.receive_some(50);
    }
    if (choices_.chance(2)) {
      const linger reset{1, 0};
      setsockopt(client_.descriptor(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    }
    client_.close();
  }

  Choices& choices_;
  FuzzTally& tally_;
  Client client_;
  AnswerReader reader_;
  bool is_well_ = true;  // what was sent so far can be told apart
};

}  // namespace lockstep::serve::test
