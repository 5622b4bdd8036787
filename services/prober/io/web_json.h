// What a device's web page must say, beyond its status. The body comes from outside: any bytes.
#pragma once

#include <string>

namespace gema::prober {

// Whether the body is JSON that has the value: "/pointer=value" (RFC 6901). Numbers and booleans
// compare by their text, null is "null"; an object or an array equals nothing.
bool json_matches(const std::string& body, const std::string& expected);

}  // namespace gema::prober
