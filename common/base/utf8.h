// Which bytes are text. Pure.
#pragma once

#include <cstddef>
#include <string_view>

namespace gema {

// The bytes of the UTF-8 character at the front of `text` (1 to 4); 0: there is none.
size_t utf8_length(std::string_view text);

// UTF-8 without control characters: what databases, protobuf and pages all can carry.
bool is_clean_text(std::string_view text);

}  // namespace gema
