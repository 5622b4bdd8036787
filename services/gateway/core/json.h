// Writes JSON text. Exists because bodies here have tens of thousands of rows and must keep the
// order of their keys; reading JSON is nlohmann's business (io/).
//
// Text that is not UTF-8 (a hostile host name) comes out as U+FFFD; "<", ">" and "&" are escaped
// too, so that no body can be taken for HTML. Values are written as they come: the caller keeps
// objects and arrays balanced. Pure.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace gema::gateway {

class Json {
 public:
  Json() = default;
  explicit Json(size_t reserve) { out_.reserve(reserve); }

  Json& object() { return open('{'); }
  Json& end_object() { return close('}'); }
  Json& array() { return open('['); }
  Json& end_array() { return close(']'); }
  // A key that is known to need no escaping.
  Json& key(std::string_view name);

  Json& text(std::string_view value);
  Json& boolean(bool value);
  Json& null();
  template <std::integral Int>
  Json& number(Int value) {
    comma();
    out_ += std::to_string(value);
    return *this;
  }
  // As Python prints a float: shortest digits that give the value back, with at least ".0".
  Json& real(double value);

  // key and value at once
  Json& text(std::string_view name, std::string_view value) { return key(name).text(value); }
  Json& boolean(std::string_view name, bool value) { return key(name).boolean(value); }
  Json& null(std::string_view name) { return key(name).null(); }
  template <std::integral Int>
  Json& number(std::string_view name, Int value) {
    return key(name).number(value);
  }
  Json& real(std::string_view name, double value) { return key(name).real(value); }

  // A value that `write(std::string&)` appends itself, for long arrays.
  template <class Write>
  Json& value(std::string_view name, Write&& write) {
    key(name);
    write(out_);
    first_ = false;
    return *this;
  }

  std::string take() { return std::move(out_); }

 private:
  Json& open(char bracket);
  Json& close(char bracket);
  void comma();

  std::string out_;
  bool first_ = true;  // nothing before us in this object or array
};

// The value rounded to two decimals, as the source systems do.
double round2(double value);

}  // namespace gema::gateway
