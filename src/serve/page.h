// The page at /: one HTML file, embedded at build (page.html).
#pragma once

#include <string_view>

namespace lockstep::serve {

extern const std::string_view kPage;

}  // namespace lockstep::serve
