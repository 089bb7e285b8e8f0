// Cuts where the script changes. Kana count as Han, a space and what has no script as any. What
// stands before the first character with a script is lost, as in the reference.
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "text/pre_tokenizer.h"
#include "text/regex.h"
#include "text/unicode_exceptions.h"
#include "text/utf8.h"

namespace lockstep::text {
namespace {

constexpr auto kScripts = std::to_array<std::string_view>({"Latin",
                                                           "Common",
                                                           "Cyrillic",
                                                           "Arabic",
                                                           "Hebrew",
                                                           "Greek",
                                                           "Devanagari",
                                                           "Hangul",
                                                           "Thai",
                                                           "Inherited",
                                                           "Adlam",
                                                           "Ahom",
                                                           "Anatolian_Hieroglyphs",
                                                           "Armenian",
                                                           "Avestan",
                                                           "Balinese",
                                                           "Bamum",
                                                           "Bassa_Vah",
                                                           "Batak",
                                                           "Bengali",
                                                           "Bhaiksuki",
                                                           "Bopomofo",
                                                           "Brahmi",
                                                           "Braille",
                                                           "Buginese",
                                                           "Buhid",
                                                           "Canadian_Aboriginal",
                                                           "Carian",
                                                           "Caucasian_Albanian",
                                                           "Chakma",
                                                           "Cham",
                                                           "Cherokee",
                                                           "Coptic",
                                                           "Cuneiform",
                                                           "Cypriot",
                                                           "Deseret",
                                                           "Duployan",
                                                           "Egyptian_Hieroglyphs",
                                                           "Elbasan",
                                                           "Ethiopic",
                                                           "Georgian",
                                                           "Glagolitic",
                                                           "Gothic",
                                                           "Grantha",
                                                           "Gujarati",
                                                           "Gurmukhi",
                                                           "Hanunoo",
                                                           "Hatran",
                                                           "Imperial_Aramaic",
                                                           "Inscriptional_Pahlavi",
                                                           "Inscriptional_Parthian",
                                                           "Javanese",
                                                           "Kaithi",
                                                           "Kannada",
                                                           "Kayah_Li",
                                                           "Kharoshthi",
                                                           "Khmer",
                                                           "Khojki",
                                                           "Khudawadi",
                                                           "Lao",
                                                           "Lepcha",
                                                           "Limbu",
                                                           "Linear_A",
                                                           "Linear_B",
                                                           "Lisu",
                                                           "Lycian",
                                                           "Lydian",
                                                           "Mahajani",
                                                           "Malayalam",
                                                           "Mandaic",
                                                           "Manichaean",
                                                           "Marchen",
                                                           "Meetei_Mayek",
                                                           "Mende_Kikakui",
                                                           "Meroitic_Cursive",
                                                           "Meroitic_Hieroglyphs",
                                                           "Miao",
                                                           "Modi",
                                                           "Mongolian",
                                                           "Mro",
                                                           "Multani",
                                                           "Myanmar",
                                                           "Nabataean",
                                                           "New_Tai_Lue",
                                                           "Newa",
                                                           "Nko",
                                                           "Ogham",
                                                           "Ol_Chiki",
                                                           "Old_Hungarian",
                                                           "Old_Italic",
                                                           "Old_North_Arabian",
                                                           "Old_Permic",
                                                           "Old_Persian",
                                                           "Old_South_Arabian",
                                                           "Old_Turkic",
                                                           "Oriya",
                                                           "Osage",
                                                           "Osmanya",
                                                           "Pahawh_Hmong",
                                                           "Palmyrene",
                                                           "Pau_Cin_Hau",
                                                           "Phags_Pa",
                                                           "Phoenician",
                                                           "Psalter_Pahlavi",
                                                           "Rejang",
                                                           "Runic",
                                                           "Samaritan",
                                                           "Saurashtra",
                                                           "Sharada",
                                                           "Shavian",
                                                           "Siddham",
                                                           "SignWriting",
                                                           "Sinhala",
                                                           "Sora_Sompeng",
                                                           "Sundanese",
                                                           "Syloti_Nagri",
                                                           "Syriac",
                                                           "Tagalog",
                                                           "Tagbanwa",
                                                           "Tai_Le",
                                                           "Tai_Tham",
                                                           "Tai_Viet",
                                                           "Takri",
                                                           "Tamil",
                                                           "Tangut",
                                                           "Telugu",
                                                           "Thaana",
                                                           "Tibetan",
                                                           "Tifinagh",
                                                           "Tirhuta",
                                                           "Ugaritic",
                                                           "Vai",
                                                           "Warang_Citi",
                                                           "Yi"});

constexpr uint8_t kAny = 0;
constexpr char32_t kLimit = 0x30000;  // beyond, nothing had a script

// The number of every character's script, found by asking PCRE2 for each script's characters.
class ScriptTable {
 public:
  static const ScriptTable& get() {
    static const ScriptTable table;
    return table;
  }
  uint8_t script(char32_t c) const noexcept {
    const char32_t index = c >= 0xe0000 && c < 0xe0200 ? c - 0xe0000 + kLimit : c;
    return c == ' ' || index >= scripts_.size() || is_exception(c, Exception::kWithoutScript)
               ? kAny
               : scripts_[index];
  }

 private:
  ScriptTable() : scripts_(kLimit + 0x200, kAny) {
    std::string all;
    std::vector<uint32_t> index_at;  // by offset in `all`
    for (uint32_t index = 0; index < scripts_.size(); ++index) {
      const char32_t c = index < kLimit ? index : index - kLimit + 0xe0000;
      if (c >= 0xd800 && c < 0xe000) continue;
      append_code_point(all, c);
      index_at.resize(all.size(), index);
    }
    const auto mark = [&](const std::string& pattern, uint8_t number) {
      const Regex regex(pattern, "UnicodeScripts");
      Regex::Matcher(regex).for_each_match(all, [&](size_t begin, size_t end) {
        for (size_t at = begin; at < end; ++at) scripts_[index_at[at]] = number;
      });
    };
    for (size_t i = 0; i < kScripts.size(); ++i) {
      mark("\\p{" + std::string(kScripts[i]) + "}+", static_cast<uint8_t>(i + 2));
    }
    mark(R"([\p{Han}\p{Hiragana}\p{Katakana}\x{30fc}]+)", 1);
  }

  std::vector<uint8_t> scripts_;
};

class UnicodeScripts : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override {
    const ScriptTable& table = ScriptTable::get();
    pieces.cut([&](std::string_view text, auto&& emit) {
      uint8_t last = kAny;
      size_t begin = 0;
      for (size_t at = 0; at < text.size();) {
        const size_t here = at;
        const uint8_t script = table.script(next_code_point(text, at));
        if (script == kAny || script == last) continue;
        if (last != kAny) emit(begin, here);
        begin = here;
        last = script;
      }
      if (last != kAny) emit(begin, text.size());
    });
  }
};

}  // namespace

std::unique_ptr<PreTokenizer> make_unicode_scripts_pre_tokenizer() {
  return std::make_unique<UnicodeScripts>();
}

}  // namespace lockstep::text
