#include "port/claims.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>

namespace lockstep::port {
namespace {

// How much of the graph is as a claim says: `with` of `all` places.
struct Answer {
  size_t with = 0, all = 1;
  std::string evidence;
};

using Match = std::match_results<std::string_view::const_iterator>;
using Ask = std::function<Answer(const ClaimFacts&, const Match&)>;

struct Rule {
  std::regex pattern;
  Ask ask;
  const char* context = nullptr;  // a pattern that the sentence must hold as well
};

constexpr auto kIcase = std::regex::ECMAScript | std::regex::icase | std::regex::optimize;
constexpr auto kCase = std::regex::ECMAScript | std::regex::optimize;

int64_t number_of(std::string text) {
  constexpr std::string_view kWords[] = {"zero", "one", "two",   "three", "four",
                                         "five", "six", "seven", "eight"};
  std::erase(text, ',');
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const auto word = std::ranges::find(kWords, text);
  if (word != std::end(kWords)) return word - std::begin(kWords);
  return text.empty() || text.size() > 12 ? -1 : std::atoll(text.c_str());
}

Ask of_op(const char* op) {
  return [op](const ClaimFacts& f, const Match&) {
    const size_t n = f.graph.count(op);
    return Answer{n > 0 ? 1u : 0u, 1,
                  n == 0 ? fmt::format("the graph has no {} op", op)
                         : fmt::format("{} {} op{} in the graph", n, op, n == 1 ? "" : "s")};
  };
}

template <class Has>
Ask of_attention(const char* what, Has has) {
  return [what, has](const ClaimFacts& f, const Match&) {
    Answer answer{0, f.graph.attentions.size(), ""};
    std::string example;
    for (const AttentionFacts& a : f.graph.attentions) {
      if (!has(a)) continue;
      if (answer.with++ == 0) example = a.path;
    }
    answer.evidence = fmt::format("{} of {} attention ops {}{}", answer.with, answer.all, what,
                                  example.empty() ? "" : fmt::format(" (first {})", example));
    return answer;
  };
}

Ask of_fact(bool GraphFacts::*fact, const char* yes, const char* no) {
  return [=](const ClaimFacts& f, const Match&) {
    return Answer{f.graph.*fact ? 1u : 0u, 1, f.graph.*fact ? yes : no};
  };
}

Ask of_rope_type(const char* type) {
  return [type](const ClaimFacts& f, const Match&) {
    const bool is_so = std::ranges::find(f.rope_types, type) != f.rope_types.end();
    return Answer{is_so ? 1u : 0u, 1,
                  f.rope_types.empty() ? std::string("config.json has no rope type")
                                       : fmt::format("config.json's rope type is {}",
                                                     fmt::join(f.rope_types, ", "))};
  };
}

Ask of_activation(bool gated, std::vector<std::string> names) {
  return [=](const ClaimFacts& f, const Match&) {
    const bool has = std::ranges::any_of(
        names, [&](const std::string& name) { return f.graph.activations.contains(name); });
    const bool holds = has && (!gated || f.graph.has_gate);
    return Answer{
        holds ? 1u : 0u, 1,
        fmt::format("activations of the graph: {}{}", fmt::join(f.graph.activations, ", "),
                    f.graph.has_gate ? ", gated" : ", not gated")};
  };
}

// The number that a claim names against those of the graph.
template <class Values>
Answer number_answer(int64_t said, const char* what, Values&& values) {
  std::set<int64_t> found(values.begin(), values.end());
  return {found.contains(said) ? 1u : 0u, 1,
          found.empty() ? fmt::format("the graph has no {}", what)
                        : fmt::format("{} of the graph: {}", what, fmt::join(found, ", "))};
}

template <class Get>
Ask attention_number(size_t group, const char* what, Get get) {
  return [=](const ClaimFacts& f, const Match& m) {
    std::vector<int64_t> values;
    for (const AttentionFacts& a : f.graph.attentions) {
      for (const int64_t value : get(a)) values.push_back(value);
    }
    return number_answer(number_of(m[group].str()), what, values);
  };
}

Answer experts_there(const ClaimFacts& f, const Match&) {
  const auto& experts = f.graph.experts;
  return {experts.size(), std::max(f.graph.layers.size(), experts.size()),
          experts.empty() ? std::string("the graph has no experts op")
                          : fmt::format("{} experts, {} a token (first {})", experts[0].experts,
                                        experts[0].chosen, experts[0].path)};
}

Ask experts_number(bool chosen_alone) {
  return [=](const ClaimFacts& f, const Match& m) {
    std::vector<int64_t> values;
    for (const ExpertFacts& e : f.graph.experts) {
      values.push_back(e.chosen);
      if (!chosen_alone) values.push_back(e.experts);
    }
    return number_answer(number_of(m[1].matched || m.size() < 3 ? m[1].str() : m[2].str()),
                         chosen_alone ? "experts a token" : "expert counts", values);
  };
}

// How many shared experts there are is told by config.json alone: one module computes all of them.
Answer shared_number(const ClaimFacts& f, const Match& m) {
  std::set<double> found;
  for (const char* key : {"n_shared_experts", "num_shared_experts", "num_shared_expert"}) {
    const auto at = f.numbers.find(key);
    if (at != f.numbers.end()) found.insert(at->second.begin(), at->second.end());
  }
  if (found.empty() && f.graph.has_shared_experts) found.insert(1);
  if (!f.graph.has_shared_experts) found = {0};
  return number_answer(number_of(m[1].str()), "shared experts", found);
}

Answer stored_dtype(const ClaimFacts& f, const Match& m) {
  std::string said = m[1].str();
  for (char& c : said) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (said == "bf16") said = "bfloat16";
  if (said == "fp16") said = "float16";
  if (said == "fp32") said = "float32";
  return {said == f.stored_dtype ? 1u : 0u, 1, fmt::format("most weights are {}", f.stored_dtype)};
}

Answer no_bias(const ClaimFacts& f, const Match& m) {
  // Of a norm it says nothing about products.
  const std::string before = m.prefix().str();
  if (std::regex_search(before, std::regex(R"(norm\w*( \w+)? $)", kIcase))) return {0, 0, ""};
  const bool has = f.graph.has_attention_bias || f.graph.has_mlp_bias;
  return {has ? 0u : 1u, 1, has ? "products of the graph have biases" : "no product has a bias"};
}

Answer not_causal(const ClaimFacts&, const Match&) {
  return {0, 1, "every attention op of a graph is causal, over one sequence"};
}

Answer router_scoring(const ClaimFacts& f, const Match& m) {
  std::string said = m[1].str();
  for (char& c : said) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::set<std::string> found;
  for (const ExpertFacts& e : f.graph.experts) found.insert(e.scoring);
  return {found.contains(said) ? 1u : 0u, 1,
          fmt::format("scores of the routers: {}", fmt::join(found, ", "))};
}

Answer post_attention(const ClaimFacts& f, const Match&) {
  for (const std::string& name : f.graph.names) {
    if (name.find("post_attention") != std::string::npos ||
        name.find("post_self_attn") != std::string::npos) {
      return {1, 1, fmt::format("the graph has {}", name)};
    }
  }
  const bool is_so = std::ranges::any_of(f.graph.attentions, &AttentionFacts::has_output_norm);
  return {is_so ? 1u : 0u, 1,
          is_so ? "attention's result goes through a norm"
                : "no module of that name, and no norm behind attention's output"};
}

Answer no_single_device(const ClaimFacts&, const Match&) {
  return {0, 1, "nothing in a traced graph is bound to one device: --devices divides it"};
}
Answer many_devices(const ClaimFacts&, const Match&) {
  return {1, 1, "--devices divides a traced graph"};
}

bool is_interleaved(const AttentionFacts& a) { return a.rope_style.starts_with("interleaved"); }

// Specific ones first: what one of them has matched is no other's.
const std::vector<Rule>& rules() {
  using A = AttentionFacts;
  static const std::vector<Rule> all = [] {
    std::vector<Rule> r;
    const auto add = [&](const char* pattern, Ask ask, const char* context = nullptr,
                         std::regex::flag_type flags = kIcase) {
      r.push_back({std::regex(pattern, flags), std::move(ask), context});
    };
    // Devices.
    add(R"(\bsingle[- ](gpu|device|accelerator|card)s?\b|\b(one|1) (gpu|device) (only|alone)\b|\bonly (on )?(one|a single|1) (gpu|device)\b)",
        no_single_device);
    add(R"(\btensor[- ]parallel\w*|\bmulti[- ](gpu|device)s?\b)", many_devices);
    // Norms.
    add(R"(\bq/?k[-_ ]?(layer)?norm\w*|\bquer(y|ies)( and |[-/ ])keys?[- ]norm\w*|\bnorms? (on|of|over) (q and k|queries and keys)\b|\bq and k (are|is) normed\b)",
        of_attention("norm q behind its projection", [](const A& a) { return a.has_qk_norm; }));
    add(R"(\bpost[- ]attention[- ](layer ?|rms ?)?norm\w*|\bnorms? (after|behind) (the )?attention\b)",
        post_attention);
    add(R"(\bpre[- ]?norm(s|ed|ali[sz]\w+)?\b)",
        of_attention("get a norm's result", [](const A& a) { return a.has_input_norm; }));
    add(R"(\bpost[- ]?norm(s|ed|ali[sz]\w+)?\b)",
        of_attention("have a norm behind them", [](const A& a) { return a.has_output_norm; }));
    add(R"(\bsandwich(ed)?([- ]norm\w*)?\b|\b(dual|four)[- ]norms?\b)",
        of_attention("stand between two norms",
                     [](const A& a) { return a.has_input_norm && a.has_output_norm; }));
    add(R"(\bunit[- ]offset\b|\b1 \+ w(eights?)?\b)",
        of_fact(&GraphFacts::has_unit_offset, "norms add 1 to their weights",
                "no norm of the graph adds 1 to its weight"));
    add(R"(\brms[- ]?norm(s|ali[sz]\w+)?\b|\broot[- ]mean[- ]square norm\w*)", of_op("rms_norm"));
    add(R"(\bLayer ?Norms?\b|\blayer normali[sz]ation\b)", of_op("layer_norm"), nullptr, kCase);
    // Rotation and positions.
    const char* const turning = R"(\b(rope|rotary|rotat\w+|turn\w*|pairs?|channels|cos|sin)\b)";
    add(R"(\bgpt-?j[- ]style\b|\bneighbou?ring (pairs|channels)\b|\badjacent (pairs|channels)\b)",
        of_attention("rotate neighbours", is_interleaved), turning);
    add(R"(\binterleaved\b)", of_attention("rotate interleaved", is_interleaved), turning);
    add(R"(\bneox[- ]style\b|\bsplit[- ]half\b|\bhalf[- ]split\b|\brotate[_ ]half\b)",
        of_attention("rotate halves", [](const A& a) {
          return a.rope_style == "half" || a.rope_style == "interleaved_to_half";
        }));
    add(R"(\bpartial(ly)?[-_ ](rope|rotary|rotat\w+)\w*|\brotates? (only )?(a )?(part|half|quarter) of\b)",
        of_attention("rotate a part of a head", [](const A& a) { return a.is_partly_rotated; }));
    add(R"(\bfull(y)?[- ](rope|rotary|rotat\w+)\b|\brotates? (the )?(whole|entire) heads?\b)",
        of_attention("rotate a whole head",
                     [](const A& a) { return a.is_rotated && !a.is_partly_rotated; }));
    add(R"(\bnope\b|\blayers? without (rotary|rotation|rope|positions)\b)",
        of_attention("have no rotation", [](const A& a) { return !a.is_rotated; }));
    add(R"(\byarn\b)", of_rope_type("yarn"));
    add(R"(\blongrope\b)", of_rope_type("longrope"));
    add(R"(\bllama[- ]?3(\.\d)?(['a-z]*)? (rope|rotary|frequency|scaling|frequencies)( scaling)?\b)",
        of_rope_type("llama3"));
    add(R"(\bdynamic (ntk|rope|scaling)( scaling)?\b|\bntk\b)", of_rope_type("dynamic"));
    add(R"(\blinear (rope|rotary|position) (scaling|interpolation)\b|\bposition interpolation\b)",
        of_rope_type("linear"));
    add(R"(\balibi\b)", of_attention("have slopes", [](const A& a) { return a.has_alibi; }));
    add(R"(\blearned (absolute )?positions?\b|\babsolute position embeddings?\b)",
        of_fact(&GraphFacts::has_learned_positions, "positions are looked up in a table",
                "no table of positions in the graph"));
    add(R"(\brope\b|\brotary\b|\brotations?\b)",
        of_attention("rotate q", [](const A& a) { return a.is_rotated; }));
    // Attention.
    add(R"(\bMLA\b|\b(multi[- ]head )?latent (attention|kv|key[- ]value)\w*)",
        of_attention("are latent", [](const A& a) { return a.is_latent; }));
    add(R"(\bMQA\b|\bmulti[- ]query( attention)?\b)",
        of_attention("have one key head",
                     [](const A& a) { return !a.is_latent && a.kv_heads == 1 && a.heads > 1; }));
    add(R"(\bGQA\b|\bgrouped[- ]query( attention)?\b)",
        of_attention("have fewer key heads than query heads",
                     [](const A& a) { return !a.is_latent && a.kv_heads < a.heads; }));
    add(R"(\bMHA\b|\bmulti[- ]head( self)?[- ]attention\b)",
        of_attention("have a key head for each query head",
                     [](const A& a) { return !a.is_latent && a.kv_heads == a.heads; }));
    add(R"(\bwindows? (?:of |size |size of |= ?)(\d[\d,]*)\b|\b(\d[\d,]*)[- ]token window\b)",
        [](const ClaimFacts& f, const Match& m) {
          std::vector<int64_t> windows;
          for (const AttentionFacts& a : f.graph.attentions) {
            if (a.window > 0) windows.push_back(a.window);
          }
          return number_answer(number_of(m[1].matched ? m[1].str() : m[2].str()), "windows",
                               windows);
        });
    add(R"(\bsliding[- ]windows?( attention)?\b|\blocal attention\b|\bwindowed attention\b)",
        of_attention("have a window", [](const A& a) { return a.window > 0; }));
    add(R"(\bsoft[- ]?cap(s|ped|ping)?\b)", [](const ClaimFacts& f, const Match&) {
      const auto n = static_cast<size_t>(
          std::ranges::count_if(f.graph.attentions, &AttentionFacts::has_soft_cap));
      return Answer{n > 0 || f.graph.has_logit_cap ? 1u : 0u, 1,
                    fmt::format("{} attention ops and {} head with a cap", n,
                                f.graph.has_logit_cap ? "a" : "no")};
    });
    add(R"(\battention sinks?\b|\bsinks\b)",
        of_attention("have sinks", [](const A& a) { return a.has_sinks; }));
    add(R"(\b(\d+|one|two|four|eight) (kv|key[- /]value|key and value|key)[- ]heads?\b)",
        attention_number(1, "key heads",
                         [](const A& a) { return std::vector<int64_t>{a.kv_heads}; }));
    add(R"(\b(\d+|two|four|eight) (?:attention |query )?heads\b)",
        attention_number(1, "heads", [](const A& a) {
          return std::vector<int64_t>{a.heads, a.kv_heads};
        }));
    add(R"(\bhead[_ ]dim(?:ension)?(?: of| is| =)? (\d+)\b|\bheads of (\d+)\b)",
        [](const ClaimFacts& f, const Match& m) {
          std::vector<int64_t> values;
          for (const AttentionFacts& a : f.graph.attentions) values.push_back(a.head_dim);
          return number_answer(number_of(m[1].matched ? m[1].str() : m[2].str()),
                               "channels of a head", values);
        });
    add(R"(\b(?:has|with|of|all) (\d+) (?:decoder |hidden )?layers\b)",
        [](const ClaimFacts& f, const Match& m) {
          const std::vector<int64_t> n = {static_cast<int64_t>(f.graph.layers.size())};
          return number_answer(number_of(m[1].str()), "number of layers", n);
        });
    // States.
    add(R"(\bstate[- ]space\b|\bSSMs?\b|\bselective scan\b)",
        [](const ClaimFacts& f, const Match&) {
          const size_t n = f.graph.count("ssd_scan") + f.graph.count("selective_scan");
          return Answer{n > 0 ? 1u : 0u, 1, fmt::format("{} scans in the graph", n)};
        });
    add(R"(\b(gated )?delta rule\b)", of_op("gated_delta_rule"));
    add(R"(\b(causal|short|depthwise) conv(olution)?s?\b)", of_op("causal_conv"));
    // Experts.
    add(R"(\b(\d+|one|two|four) shared[- ]experts?\b)", shared_number);
    add(R"(\bshared[- ]experts?\b)",
        of_fact(&GraphFacts::has_shared_experts, "the graph has a shared expert",
                "no module of the graph is a shared expert"));
    add(R"(\b(\d+|one|two|four|six|eight)(?: active| chosen| selected)? experts? (?:per|a|for each|each) token\b|\b(\d+|one|two|four|six|eight) (?:active|chosen|selected) experts\b)",
        experts_number(true));
    add(R"(\b(\d+|one|two|four|six|eight)(?: routed)? experts\b)", experts_number(false));
    add(R"(\btop[- ]?k ?(?:of|=|is|:)? ?(\d+)\b)", experts_number(true),
        R"(\b(experts?|rout\w+|moe|mixture)\b)");
    add(R"(\btop[- ]?(\d+|one|two|four|six|eight)\b)", experts_number(true),
        R"(\b(experts?|rout\w+|moe|mixture)\b)");
    add(R"(\b(softmax|sigmoid)[- ](?:router|rout\w+|scor\w+|gat\w+)\b)", router_scoring);
    add(R"(\bmixture[- ]of[- ]experts\b|\bmoe\b|\b(routed )?experts?\b)", experts_there);
    // Feed-forward, residuals, head.
    add(R"(\bswiglu\b)", of_activation(true, {"silu"}));
    add(R"(\bgeglu\b)",
        of_activation(true, {"gelu", "gelu_pytorch_tanh", "gelu_new", "gelu_fast"}));
    add(R"(\bsquared relu\b|\brelu\^?2\b)", of_activation(false, {"relu2"}));
    add(R"(\bsilu\b|\bswish\b)", of_activation(false, {"silu"}));
    add(R"(\bgelu\b)",
        of_activation(false, {"gelu", "gelu_pytorch_tanh", "gelu_new", "gelu_fast", "quick_gelu"}));
    add(R"(\brelu\b)", of_activation(false, {"relu", "relu2"}));
    add(R"(\bgated (mlp|feed[- ]forward)\b)",
        of_fact(&GraphFacts::has_gate, "a gate multiplies a projection", "no gate in the graph"));
    add(R"(\bparallel (residuals?|blocks?|attention)\b)",
        of_fact(&GraphFacts::is_parallel, "attention and feed-forward read one value",
                "feed-forward reads what attention added to"));
    add(R"(\b(?:no|without) bias(?:es)?\b|\bbias-?free\b)", no_bias);
    add(R"(\b(qkv|attention|q, k and v|query|q/k/v)[- ]bias(es)?\b|\bbias(es)? (on|in|for|of) (the )?(q|query|queries|qkv|attention)\b)",
        of_fact(&GraphFacts::has_attention_bias, "projections of attention have biases",
                "no projection of attention has a bias"));
    add(R"(\bscaled embeddings?\b|\bembedding scale\b|\bscales? (the |its )?embeddings?\b)",
        of_fact(&GraphFacts::has_scaled_embedding, "the embedding is scaled",
                "nothing scales the embedding"));
    add(R"(\bbidirectional\b|\bnon-causal\b|\bcross[- ]attention\b)", not_causal);
    add(R"(\bweights are (?:in |stored in |stored as )?(bfloat16|float16|float32|bf16|fp16|fp32|int8|fp8|float8)\b)",
        stored_dtype);
    add(R"(\buntied\b)", [](const ClaimFacts& f, const Match&) {
      return Answer{f.graph.is_tied ? 0u : 1u, 1,
                    f.graph.is_tied ? "the head is tied" : "no weight is tied"};
    });
    add(R"(\btied\b)", of_fact(&GraphFacts::is_tied, "the head is tied", "no weight is tied"));
    return r;
  }();
  return all;
}

bool has(std::string_view text, const char* pattern) {
  // Compiling one costs far more than using it.
  static std::map<std::string_view, std::regex> compiled;
  const auto [at, is_new] = compiled.try_emplace(pattern);
  if (is_new) at->second = std::regex(pattern, kIcase);
  return std::regex_search(text.begin(), text.end(), at->second);
}

// "every layer", not "every fourth layer".
bool says_all(std::string_view sentence) {
  return has(sentence, R"(\b(all|every|each)( decoder| attention)? layers?\b)");
}
bool speaks_of_layers(std::string_view sentence) { return has(sentence, R"(\blayers?\b)"); }

bool overlaps(const std::vector<FoundClaim>& found, size_t begin, size_t end);

bool is_name_char(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

std::string plain_number(double value) { return fmt::format("{:.12g}", value); }

// "rope_theta = 10000", "hidden size of 64": a key of config.json, then a number.
void find_values(std::string_view sentence, const ClaimFacts& facts,
                 std::vector<FoundClaim>& found) {
  std::string lower(sentence);
  for (char& c : lower)
    c = c == ' ' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  static const std::regex value(
      R"(^(?: ?(?:==?|:) ?| (?:of|is) | )(-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?))");
  for (const auto& [key, numbers] : facts.numbers) {
    // A single word is too often just a word.
    if (key.find('_') == std::string::npos) continue;
    for (size_t at = lower.find(key); at != std::string::npos; at = lower.find(key, at + 1)) {
      const size_t end = at + key.size();
      if ((at > 0 && is_name_char(sentence[at - 1])) ||
          (end < sentence.size() && is_name_char(sentence[end])))
        continue;
      std::match_results<std::string_view::const_iterator> match;
      const std::string_view rest = sentence.substr(end);
      if (!std::regex_search(rest.begin(), rest.end(), match, value)) continue;
      std::string text = match[1].str();
      std::erase(text, ',');
      const double said = std::strtod(text.c_str(), nullptr);
      const size_t stop = end + static_cast<size_t>(match.length());
      if (overlaps(found, at, stop)) continue;
      std::string values;
      for (const double number : numbers)
        values += (values.empty() ? "" : ", ") + plain_number(number);
      found.push_back({at, stop, false, numbers.contains(said),
                       fmt::format("config.json: {} = {}", key, values)});
    }
  }
}

bool overlaps(const std::vector<FoundClaim>& found, size_t begin, size_t end) {
  return std::ranges::any_of(found,
                             [&](const FoundClaim& c) { return begin < c.end && c.begin < end; });
}

// "optional sinks", "tied or not", "rotation or ALiBi": true where one of the ways is taken.
void accept_options(std::string_view sentence, std::vector<FoundClaim>& found) {
  std::vector<bool> is_option(found.size());
  for (size_t i = 0; i < found.size(); ++i) {
    FoundClaim& claim = found[i];
    if (claim.holds || claim.is_denied) continue;
    is_option[i] = has(sentence.substr(0, claim.begin),
                       R"(\b(optional(ly)?|may|might|either|if|unless)\b[^,;:()]{0,40}$)") ||
                   has(sentence.substr(claim.end), R"(^[^,;:()]{0,20} or not\b)");
    for (const FoundClaim& other : found) {
      if (!other.holds || other.is_denied) continue;
      const size_t begin = std::min(claim.end, other.end), end = std::max(claim.begin, other.begin);
      if (begin >= end) continue;
      const std::string_view between = sentence.substr(begin, end - begin);
      is_option[i] = is_option[i] || (between.find(" or ") != std::string_view::npos &&
                                      between.find_first_of(";:()") == std::string_view::npos);
    }
  }
  for (size_t i = 0; i < found.size(); ++i) {
    if (!is_option[i]) continue;
    found[i].holds = true;
    found[i].evidence += "; said as an option";
  }
}

void collect_numbers(const nlohmann::json& value, ClaimFacts& facts) {
  if (!value.is_object()) return;
  for (const auto& [key, child] : value.items()) {
    if (child.is_number()) facts.numbers[key].insert(child.get<double>());
    collect_numbers(child, facts);
  }
}

std::string dtype_of_most(const Graph& graph) {
  std::map<DType, int64_t> n;
  for (const Parameter& parameter : graph.parameters) {
    const TensorType& type = graph.nodes[parameter.node].outputs[0];
    int64_t elements = 1;
    for (const Dim& dim : type.shape.dims()) elements *= dim.count;
    n[type.dtype] += elements;
  }
  const auto most = std::ranges::max_element(n, {}, [](const auto& p) { return p.second; });
  return most == n.end() ? "" : std::string(dtype_name(most->first));
}

void collect_rope_types(const nlohmann::json& value, bool in_rope,
                        std::vector<std::string>& types) {
  if (!value.is_object()) return;
  for (const auto& [key, child] : value.items()) {
    const bool is_rope = in_rope || key.find("rope") != std::string::npos;
    if (is_rope && (key == "rope_type" || key == "type") && child.is_string()) {
      types.push_back(child);
    }
    collect_rope_types(child, is_rope, types);
  }
}

}  // namespace

ClaimFacts claim_facts(const Trace& trace, const ConfigFile& config) {
  ClaimFacts facts{facts_of(trace), {}, {}, dtype_of_most(trace.graph)};
  const nlohmann::json document =
      nlohmann::json::parse(config.text(), nullptr, /*allow_exceptions=*/false);
  collect_rope_types(document, false, facts.rope_types);
  collect_numbers(document, facts);
  return facts;
}

bool is_denied_at(std::string_view sentence, size_t at) {
  std::string_view before = sentence.substr(0, at);
  // The clause ends where another begins; after "no" and "not" also at "and" and a comma.
  for (const std::string_view end : {";", ": ", "(", ")", " but ", " with ", " has ", " have "}) {
    const size_t last = before.rfind(end);
    if (last != std::string_view::npos) before = before.substr(last + end.size());
  }
  constexpr const char* kWide =
      R"(\b(without|neither|nor|lack\w*|instead of|rather than|in place of|unlike|leav\w+ out|omit\w*|drops?|removes?|free of)\b[^;:()]{0,60}$)";
  constexpr const char* kNarrow =
      R"((\b(no|not|never|none|isn't|aren't|doesn't|don't)\b|n't\b)(?![^,]* and )[^,;:()]{0,40}(, ?(n?or )[^,;:()]{0,40})*$)";
  return has(before, kWide) || has(before, kNarrow) || has(before, R"(\bnon-?$)");
}

std::vector<FoundClaim> find_claims(std::string_view sentence, const ClaimFacts& facts) {
  std::vector<FoundClaim> found;
  find_values(sentence, facts, found);
  for (const Rule& rule : rules()) {
    if (rule.context != nullptr && !has(sentence, rule.context)) continue;
    using Iterator = std::regex_iterator<std::string_view::const_iterator>;
    for (Iterator at(sentence.begin(), sentence.end(), rule.pattern), none; at != none; ++at) {
      const auto begin = static_cast<size_t>(at->position());
      const size_t end = begin + static_cast<size_t>(at->length());
      if (overlaps(found, begin, end)) continue;
      const Answer answer = rule.ask(facts, *at);
      if (answer.evidence.empty()) continue;
      FoundClaim claim{begin, end, is_denied_at(sentence, begin), false, answer.evidence};
      if (claim.is_denied) {
        claim.holds = answer.with == 0 || (speaks_of_layers(sentence) && answer.with < answer.all);
      } else {
        claim.holds = answer.with > 0 && (!says_all(sentence) || answer.with == answer.all);
      }
      found.push_back(std::move(claim));
    }
  }
  std::ranges::sort(found, {}, &FoundClaim::begin);
  accept_options(sentence, found);
  return found;
}

}  // namespace lockstep::port
