// ECMAScript's regular expressions as automata, as far as they are regular: what JSON schema calls
// `pattern`.
#pragma once

#include <string_view>

#include "serve/automaton.h"

namespace lockstep::serve {

/// The texts in which `pattern` is found; with ^ and $ around it, those that it describes whole.
/// Known: alternatives, groups, classes, escapes of characters and classes, quantifiers (lazy ones
/// too), ^ and $ anywhere. Throws SchemaRefused naming what is not: looking ahead or behind,
/// references back, \b, \p, or a pattern that is too large (repetitions are written out).
CharDfa dfa_of_pattern(std::string_view pattern, CompileBudget& budget);

/// The texts that `pattern` describes whole, whether or not it is anchored.
CharDfa dfa_of_whole_pattern(std::string_view pattern, CompileBudget& budget);

}  // namespace lockstep::serve
