// Regular expressions of tokenizer.json: Oniguruma's dialect, run by PCRE2 with JIT.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace lockstep::text {

/// `pattern`, in Oniguruma's default syntax, as PCRE2 writes it (with PCRE2_UTF, PCRE2_UCP and
/// PCRE2_MULTILINE). Throws kUnimplemented naming the construct that cannot be carried over, and
/// kInvalidArgument for a pattern that is malformed; `place` begins the message.
std::string translate_oniguruma(std::string_view pattern, const std::string& place);

class Regex {
 public:
  /// Throws as translate_oniguruma.
  Regex(std::string_view pattern, const std::string& place);
  /// Matches `literal` as it stands.
  static Regex of_literal(std::string_view literal, const std::string& place);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  /// What one thread needs for matching. Costs an allocation; reuse it for many texts.
  class Matcher {
   public:
    explicit Matcher(const Regex& regex);
    Matcher(const Matcher&) = delete;
    Matcher& operator=(const Matcher&) = delete;
    ~Matcher();

    /// Calls `visit(begin, end)` for each match in `text`, valid UTF-8, from left to right, without
    /// overlap; an empty match that touches the one before is left out. Throws kResourceExhausted
    /// when the pattern needs too many steps or too much memory.
    template <class Visit>
    void for_each_match(std::string_view text, Visit&& visit) {
      size_t from = 0;
      size_t last_end = text.npos;
      while (from <= text.size() && find(text, from)) {
        const size_t begin = begin_;
        const size_t end = end_;
        if (begin == end && end == last_end) {
          from = next_character(text, from);
          continue;
        }
        from = last_end = end;
        visit(begin, end);
      }
    }

   private:
    bool find(std::string_view text, size_t from);
    void allow(size_t n_bytes);
    bool find_slowly(std::string_view text, size_t from, int result);
    static size_t next_character(std::string_view text, size_t at) noexcept;

    struct State;
    const Regex& regex_;
    std::unique_ptr<State> state_;
    size_t begin_ = 0, end_ = 0;
    size_t allowed_bytes_ = 0;  // of a text whose length the limit of steps allows for
  };

 private:
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  static std::unique_ptr<Code> compile(const std::string& pcre2, std::string_view pattern,
                                       const std::string& place);
  std::unique_ptr<Code> code_;
};

}  // namespace lockstep::text
