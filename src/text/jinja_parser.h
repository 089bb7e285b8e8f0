// Source to tree, as Jinja's parser with the loopcontrols extension and `generation` blocks.
#pragma once

#include <string_view>

#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace lockstep::jinja {

/// Throws SyntaxFailure. The tree is checked: filters and tests exist where they always run,
/// break and continue stand in loops, and every scope knows its names.
Tree parse(std::string_view source);

/// Second half of parse(): scopes, and what only shows in the whole tree.
void analyse(Tree& tree);

/// Whether there is a filter or test of this name.
bool has_filter(std::string_view name) noexcept;
bool has_test(std::string_view name) noexcept;

}  // namespace lockstep::jinja
