// Cuts where the script changes. Kana count as Han, a space and what has no script as any. What
// stands before the first character with a script is lost, as in the reference.
#include <array>
#include <string>
#include <vector>

#include "text/pre_tokenizer.h"
#include "text/regex.h"

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

// One alternative a script: a character of it, then more of it, of none, and spaces.
std::string pattern_of_runs() {
  std::vector<std::string> sets = {R"(\p{Han}\p{Hiragana}\p{Katakana}\x{30fc})"};
  std::string known = sets[0];
  for (const std::string_view script : kScripts) {
    const std::string property = "\\p{" + std::string(script) + "}";
    sets.push_back(script == "Common" ? "[" + property + R"(&&[^\x{30fc} ]])" : property);
    known += property;
  }
  std::string runs;
  for (const std::string& set : sets) {
    if (!runs.empty()) runs += '|';
    runs += "[" + set + "][" + set + " [^" + known + "]]*+";
  }
  return runs;
}

class UnicodeScripts : public PreTokenizer {
 public:
  UnicodeScripts() : runs_(pattern_of_runs(), "UnicodeScripts") {}
  void apply(Pieces& pieces) const override {
    Regex::Matcher matcher(runs_);
    pieces.cut([&](std::string_view text, auto&& emit) { matcher.for_each_match(text, emit); });
  }

 private:
  Regex runs_;
};

}  // namespace

std::unique_ptr<PreTokenizer> make_unicode_scripts_pre_tokenizer() {
  return std::make_unique<UnicodeScripts>();
}

}  // namespace lockstep::text
