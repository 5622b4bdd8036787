// What became of a request's body: a value, or why it is none.
#pragma once

#include <optional>
#include <string>

namespace gema::gateway {

// `malformed` set when the body is no JSON object at all (400), else a sentence that names field,
// value and rule (422). Unknown fields are errors.
struct BodyError {
  bool malformed = false;
  std::string message;
};

template <class T>
struct Parsed {
  T value{};
  std::optional<BodyError> error;
};

}  // namespace gema::gateway
