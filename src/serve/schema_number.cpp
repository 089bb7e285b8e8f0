#include "serve/schema_number.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

namespace lockstep::serve {
namespace {

using Json = nlohmann::ordered_json;

// Longer numbers would not come back from a parser as they were.
constexpr uint8_t kMaxDigits = 15;
constexpr const char* kKeywords[] = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
                                     "multipleOf"};

const Json* keyword(const Json& schema, const char* key) {
  const auto found = schema.find(key);
  if (found == schema.end()) return nullptr;
  if (!found->is_number()) throw SchemaRefused{fmt::format("/{}: expected a number", key)};
  return &*found;
}

uint64_t multiple(const Json& schema) {
  const Json* value = keyword(schema, "multipleOf");
  if (value == nullptr) return 1;
  const auto number = value->get<double>();
  if (!(number > 0)) throw SchemaRefused{"/multipleOf: expected more than 0"};
  // Of fractions validators disagree: 19.99 / 0.01 is no whole number in float64.
  if (number != std::floor(number) || number > 1e15) {
    throw SchemaRefused{"/multipleOf: only whole numbers up to 1e15 are supported"};
  }
  return static_cast<uint64_t>(number);
}

// What was read of a number.
struct Read {
  enum Phase : uint8_t { kNothing, kMinus, kZero, kWhole, kPoint, kFraction };
  Phase phase = kNothing;
  bool negative = false, nonzero = false;
  uint8_t digits = 0;  // all
  uint8_t whole = 0;   // before the point, of a number of 1 or more
  // Against the size of the bounds, as far as read: -1, 0, 1.
  int8_t to_least = 0, to_most = 0;
  uint64_t remainder = 0;

  auto key() const {
    return std::tuple(phase, negative, nonzero, digits, whole, to_least, to_most, remainder);
  }
  bool operator<(const Read& other) const { return key() < other.key(); }
};

int8_t order(size_t a, size_t b) { return static_cast<int8_t>((a > b) - (a < b)); }

class Builder {
 public:
  Builder(const NumberBounds& bounds, CompileBudget& budget) : bounds_(bounds), budget_(budget) {}

  Automaton build() {
    number_of(Read{});
    for (size_t i = 0; i < reads_.size(); ++i) {
      const Read read = reads_[i];
      accepts_.push_back(is_in(read));
      edges_.emplace_back();
      for (const char byte : std::string_view("-.0123456789")) {
        budget_.take_steps(1);
        if (const auto next = after(read, byte)) {
          edges_[i].emplace_back(static_cast<uint8_t>(byte), number_of(*next));
        }
      }
    }
    return kept();
  }

 private:
  uint32_t number_of(const Read& read) {
    const auto [place, is_new] = ids_.try_emplace(read, static_cast<uint32_t>(reads_.size()));
    if (is_new) {
      budget_.take_states(1);
      reads_.push_back(read);
    }
    return place->second;
  }

  static int8_t digit_order(int8_t before, const std::string& digits, size_t at, char digit) {
    if (before != 0) return before;
    return order(static_cast<uint8_t>(digit), at < digits.size() ? digits[at] : '0');
  }

  std::optional<Read> after(Read read, char byte) const {
    if (byte == '-') {
      if (read.phase != Read::kNothing) return std::nullopt;
      read.phase = Read::kMinus;
      read.negative = true;
      return read;
    }
    if (byte == '.') return point(read);
    if (read.digits == kMaxDigits || read.phase == Read::kZero) return std::nullopt;
    const bool is_fraction = read.phase == Read::kPoint || read.phase == Read::kFraction;
    ++read.digits;
    read.nonzero |= byte != '0';
    if (bounds_.multiple_of > 1) {
      read.remainder =
          (read.remainder * 10 + static_cast<uint64_t>(byte - '0')) % bounds_.multiple_of;
    }
    if (!is_fraction && byte == '0' && read.whole == 0) {
      // No "-0": a whole number has one way to be zero.
      if (read.negative && is_whole()) return std::nullopt;
      read.phase = Read::kZero;
      return read;
    }
    const auto compare = [&](const auto& bound, int8_t& so_far) {
      if (!bound.has_value()) return;
      const Decimal& size = bound->value;
      so_far = is_fraction ? digit_order(so_far, size.fraction,
                                         read.digits - digits_before(read) - 1u, byte)
                           : digit_order(so_far, size.whole, read.whole, byte);
    };
    compare(bounds_.least, read.to_least);
    compare(bounds_.most, read.to_most);
    if (is_fraction) {
      read.phase = Read::kFraction;
    } else {
      read.phase = Read::kWhole;
      ++read.whole;
    }
    return read;
  }

  bool is_whole() const { return bounds_.integer || bounds_.multiple_of > 1; }

  // Digits before the point: a zero counts.
  static uint32_t digits_before(const Read& read) { return std::max<uint32_t>(read.whole, 1); }

  // The digits before the point are all there.
  void end_whole(Read& read) const {
    const auto settle = [&](const auto& bound, int8_t& so_far) {
      if (!bound.has_value()) return;
      const int8_t by_length = order(read.whole, bound->value.whole.size());
      if (by_length != 0) so_far = by_length;
    };
    settle(bounds_.least, read.to_least);
    settle(bounds_.most, read.to_most);
  }

  std::optional<Read> point(Read read) const {
    const bool is_here = read.phase == Read::kZero || read.phase == Read::kWhole;
    if (!is_here || is_whole() || read.digits == kMaxDigits) return std::nullopt;
    end_whole(read);
    read.phase = Read::kPoint;
    return read;
  }

  // The number against a bound: -1, 0, 1.
  static int8_t compared(const Read& read, const Decimal& bound, int8_t sizes) {
    const bool negative = read.negative && read.nonzero;
    if (negative != bound.is_negative) return negative ? -1 : 1;
    return negative ? static_cast<int8_t>(-sizes) : sizes;
  }

  bool is_in(Read read) const {
    if (read.phase == Read::kZero || read.phase == Read::kWhole) {
      end_whole(read);
    } else if (read.phase != Read::kFraction) {
      return false;
    }
    const auto n_fraction = read.phase == Read::kFraction ? read.digits - digits_before(read) : 0;
    const auto holds = [&](const auto& bound, int8_t sizes, int8_t inside) {
      if (!bound.has_value()) return true;
      // The bound goes on where the number ended.
      if (sizes == 0 && bound->value.fraction.size() > n_fraction) sizes = -1;
      const int8_t side = compared(read, bound->value, sizes);
      return side == inside || (side == 0 && !bound->is_exclusive);
    };
    return read.remainder == 0 && holds(bounds_.least, read.to_least, 1) &&
           holds(bounds_.most, read.to_most, -1);
  }

  // Only what can still end inside the bounds.
  Automaton kept() const {
    CharDfa dfa;
    for (size_t i = 0; i < reads_.size(); ++i) {
      CharDfa::State state;
      state.accepts = accepts_[i];
      for (const auto& [byte, next] : edges_[i]) state.edges.push_back({byte, byte, next});
      dfa.states.push_back(std::move(state));
    }
    if (!trim(dfa)) {
      throw SchemaRefused{fmt::format(": no number of {} digits is within the bounds", kMaxDigits)};
    }
    Automaton out;
    std::vector<Automaton::Edge> edges;
    for (const CharDfa::State& state : dfa.states) {
      edges.clear();
      for (const CharDfa::Edge& edge : state.edges) {
        const auto byte = static_cast<uint8_t>(edge.first);
        if (!edges.empty() && edges.back().next == edge.next && edges.back().last + 1 == byte) {
          edges.back().last = byte;
        } else {
          edges.push_back({byte, byte, edge.next});
        }
      }
      out.add(edges, state.accepts);
    }
    return out;
  }

  const NumberBounds& bounds_;
  CompileBudget& budget_;
  std::map<Read, uint32_t> ids_;
  std::vector<Read> reads_;
  std::vector<bool> accepts_;
  std::vector<std::vector<std::pair<uint8_t, uint32_t>>> edges_;
};

}  // namespace

Decimal::Decimal(const Json& number) {
  std::string text = number.is_number_unsigned()  ? fmt::format("{}", number.get<uint64_t>())
                     : number.is_number_integer() ? fmt::format("{}", number.get<int64_t>())
                                                  : fmt::format("{}", number.get<double>());
  if (text.starts_with('-')) {
    is_negative = true;
    text.erase(0, 1);
  }
  int exponent = 0;
  if (const size_t e = text.find('e'); e != text.npos) {
    exponent = std::stoi(text.substr(e + 1));
    text.erase(e);
  }
  const size_t point = text.find('.');
  std::string digits = text;
  auto n_whole = static_cast<int>(std::min(point, text.size()));
  if (point != text.npos) digits.erase(point, 1);
  n_whole += exponent;
  if (n_whole < 0) {
    digits.insert(0, static_cast<size_t>(-n_whole), '0');
    n_whole = 0;
  }
  if (digits.size() < static_cast<size_t>(n_whole))
    digits.resize(static_cast<size_t>(n_whole), '0');
  whole = digits.substr(0, static_cast<size_t>(n_whole));
  fraction = digits.substr(static_cast<size_t>(n_whole));
  whole.erase(0, std::min(whole.find_first_not_of('0'), whole.size()));
  while (fraction.ends_with('0')) fraction.pop_back();
  if (whole.empty() && fraction.empty()) is_negative = false;
}

NumberBounds NumberBounds::of(const Json& schema, bool integer) {
  NumberBounds out;
  out.integer = integer;
  const auto exact = [](const Json& a, const Json& b) { return a.get<double>() < b.get<double>(); };
  const Json* least = keyword(schema, "minimum");
  const Json* above = keyword(schema, "exclusiveMinimum");
  const Json* most = keyword(schema, "maximum");
  const Json* below = keyword(schema, "exclusiveMaximum");
  // Of two bounds the tighter one counts; of equal ones the exclusive.
  if (above != nullptr && (least == nullptr || !exact(*above, *least))) {
    out.least = {Decimal(*above), true};
  } else if (least != nullptr) {
    out.least = {Decimal(*least), false};
  }
  if (below != nullptr && (most == nullptr || !exact(*most, *below))) {
    out.most = {Decimal(*below), true};
  } else if (most != nullptr) {
    out.most = {Decimal(*most), false};
  }
  out.multiple_of = multiple(schema);
  return out;
}

void NumberBounds::narrow(int64_t min, int64_t max) {
  const auto size = [](const Decimal& d) {
    const double value = std::stod(fmt::format("0{}.{}0", d.whole, d.fraction));
    return d.is_negative ? -value : value;
  };
  if (!least.has_value() || size(least->value) < static_cast<double>(min)) {
    least = {Decimal(Json(min)), false};
  }
  if (!most.has_value() || size(most->value) > static_cast<double>(max)) {
    most = {Decimal(Json(max)), false};
  }
}

bool has_number_bounds(const Json& schema) {
  return std::any_of(std::begin(kKeywords), std::end(kKeywords),
                     [&](const char* key) { return schema.contains(key); });
}

Automaton number_automaton(const NumberBounds& bounds, CompileBudget& budget) {
  return Builder(bounds, budget).build();
}

}  // namespace lockstep::serve
