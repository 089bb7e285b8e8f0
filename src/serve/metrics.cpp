#include "serve/metrics.h"

#include <fmt/format.h>

#include <array>

namespace lockstep::serve {
namespace {

// A label's value: backslash, quote and line end escaped.
std::string label(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') out += '\\';
    out += c;
  }
  return out;
}

class Writer {
 public:
  explicit Writer(const std::string& model) : model_(label(model)) {}

  void head(const char* name, const char* type, const char* help) {
    text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  void gauge(const char* name, double value, const char* help) {
    head(name, "gauge", help);
    line(name, value);
  }
  void counter(const char* name, uint64_t value, const char* help) {
    head(name, "counter", help);
    line(name, value);
  }
  template <class Number>
  void line(const char* name, Number value, const std::string& labels = "") {
    text_ += fmt::format("{}{{model_name=\"{}\"{}}} {}\n", name, model_, labels, value);
  }
  void histogram(const std::string& name, const Histogram& values, const char* help) {
    head(name.c_str(), "histogram", help);
    const std::vector<uint64_t> counts = values.cumulative();
    const std::string bucket = name + "_bucket";
    for (size_t i = 0; i < values.bounds().size(); ++i) {
      line(bucket.c_str(), counts[i], fmt::format(",le=\"{}\"", values.bounds()[i]));
    }
    line(bucket.c_str(), values.count(), ",le=\"+Inf\"");
    line((name + "_sum").c_str(), values.sum());
    line((name + "_count").c_str(), values.count());
  }
  std::string take() { return std::move(text_); }

 private:
  std::string model_, text_;
};

double share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
}

void write_finished(Writer& out, const EngineStats& stats) {
  out.head("vllm:request_success_total", "counter", "Requests that ended, by reason.");
  constexpr std::array kReasons{"", "stop", "length", "abort", "timeout", "error"};
  for (size_t i = 1; i < kReasons.size(); ++i) {
    out.line("vllm:request_success_total", stats.n_finished[i],
             fmt::format(",finished_reason=\"{}\"", kReasons[i]));
  }
}

void write_histograms(Writer& out, const EngineStats& stats) {
  out.histogram("vllm:time_to_first_token_seconds", stats.time_to_first_token,
                "From arrival to the first token.");
  out.histogram("vllm:inter_token_latency_seconds", stats.inter_token_latency,
                "Between tokens of a request.");
  out.histogram("vllm:e2e_request_latency_seconds", stats.e2e_request_latency,
                "From arrival to the last token.");
  out.histogram("vllm:request_queue_time_seconds", stats.request_queue_time,
                "Waiting before a request first ran.");
  out.histogram("vllm:request_prefill_time_seconds", stats.request_prefill_time,
                "From first running to the first token.");
  out.histogram("vllm:request_decode_time_seconds", stats.request_decode_time,
                "From the first token to the last.");
  out.histogram("vllm:iteration_tokens_total", stats.iteration_tokens, "Tokens of a step.");
  out.histogram("vllm:request_prompt_tokens", stats.request_prompt_tokens,
                "Prompt tokens of a request.");
  out.histogram("vllm:request_generation_tokens", stats.request_generation_tokens,
                "Generated tokens of a request.");
  out.histogram("lockstep:step_time_seconds", stats.step_time, "One step of the model.");
}

}  // namespace

std::string metrics_text(const std::string& model, const EngineStats& stats,
                         const HttpCounts& counts) {
  Writer out(model);
  out.gauge("vllm:num_requests_running", static_cast<double>(stats.n_running),
            "Requests in the batch.");
  out.gauge("vllm:num_requests_waiting", static_cast<double>(stats.n_waiting),
            "Requests that wait to run.");
  out.gauge("vllm:kv_cache_usage_perc", share(stats.n_pages_used, stats.n_pages),
            "Share of the cache's pages in use; 1 is all.");
  out.counter("vllm:num_preemptions_total", stats.n_preemptions, "Requests taken back to wait.");
  out.counter("vllm:prompt_tokens_total", stats.n_prompt_tokens, "Prompt tokens taken in.");
  out.counter("vllm:generation_tokens_total", stats.n_generation_tokens, "Tokens generated.");
  out.counter("vllm:prefix_cache_queries_total", stats.n_prefix_queries,
              "Prompt tokens looked up in the prefix cache.");
  out.counter("vllm:prefix_cache_hits_total", stats.n_prefix_hits,
              "Prompt tokens found in the prefix cache.");
  write_finished(out, stats);
  write_histograms(out, stats);
  out.counter("lockstep:steps_total", stats.n_steps, "Steps of the model.");
  out.gauge("lockstep:cache_pages", static_cast<double>(stats.n_pages), "Pages of the cache.");
  out.gauge("lockstep:cache_pages_used", static_cast<double>(stats.n_pages_used),
            "Pages of running requests.");
  out.gauge("lockstep:cache_pages_cached", static_cast<double>(stats.n_pages_cached),
            "Pages kept for later prompts.");
  out.gauge("lockstep:state_slots_used", static_cast<double>(stats.n_states_used),
            "State slots of running requests.");
  out.gauge("lockstep:http_connections", static_cast<double>(counts.n_connections),
            "Open connections.");
  out.gauge("lockstep:http_requests_active", static_cast<double>(counts.n_active),
            "Requests being answered.");
  return out.take();
}

}  // namespace lockstep::serve
