// Result<T>: a value, or an Error from the outside world. Spelled like std::expected, which g++ 12
// lacks in C++20. [[nodiscard]]: an ignored error does not compile.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "common/base/assert.h"

namespace gema {

// Shaped by what the caller does next.
enum class Errc {
  kRetryable,    // try again later, the same way
  kPermanent,    // will never work as asked
  kTimeout,      // no answer in time; it may have taken effect
  kBadInput,     // the input breaks a rule; tell whoever sent it
  kUnavailable,  // what we need is away
};

// "retryable", "permanent", "timeout", "bad input", "unavailable".
const char* to_string(Errc code);

struct Error {
  Errc code = Errc::kPermanent;
  std::string message;  // one sentence naming the thing, the value and the rule

  friend bool operator==(const Error&, const Error&) = default;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  // Requires: has_value().
  T& value() & {
    GEMA_ASSERT(has_value());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    GEMA_ASSERT(has_value());
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    GEMA_ASSERT(has_value());
    return std::move(*std::get_if<0>(&state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // Requires: !has_value().
  const Error& error() const {
    GEMA_ASSERT(!has_value());
    return *std::get_if<1>(&state_);
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }
  const Error& error() const {
    GEMA_ASSERT(error_.has_value());
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

}  // namespace gema
