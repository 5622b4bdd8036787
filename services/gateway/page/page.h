// The page's files, built into the binary so that page and API are of one version.
#pragma once

#include <string_view>

namespace gema::gateway::page {

std::string_view index_html();
std::string_view app_js();
std::string_view style_css();

}  // namespace gema::gateway::page
