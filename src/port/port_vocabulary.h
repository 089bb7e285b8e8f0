// What a port's text may speak of: its code, what it is derived from, its graph's names, its
// deltas.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "port/audit.h"
#include "port/family_names.h"
#include "port/graph_facts.h"

namespace lockstep::port {

using Words = std::set<std::string, std::less<>>;

bool is_word_char(char c);
/// Every run of letters, digits and underscores.
void collect_words(std::string_view text, Words& words);

class PortVocabulary {
 public:
  PortVocabulary(const AuditSubject& subject, const GraphFacts& graph);

  /// Whether a normalised family name is the model's own, as the port's folder, config.json and the
  /// traced class have it.
  bool is_own(const std::string& name) const;
  /// Where it is said that the port comes from that family; empty: nowhere.
  std::string lineage_of(const std::string& name) const;

  FamilyNames names;
  Words code;       // of the port's sources
  Words inherited;  // of the registered architectures that they include
  Words structure;  // module paths of the graph, stored names
  Words known;      // these, and classes, ops, config.json, the SDK, the port's files
  bool has_todo = false;
  std::set<int> done;                  // deltas that a source says are done
  std::map<std::string, int> done_in;  // file -> one of them

 private:
  std::vector<std::string> own_names() const;
  void learn_code();
  void learn_notes(const std::string& file, const std::string& source);
  void learn_words(const GraphFacts& graph);
  void learn_sdk();
  std::string known_name(const std::string& family) const;

  const AuditSubject& subject_;
  std::filesystem::path sdk_;                   // empty: there is none
  std::vector<std::string> own_;                // normalised
  std::map<std::string, std::string> lineage_;  // normalised family -> where that is said
};

}  // namespace lockstep::port
