// Who may call: the bearer of the admin token (scopes come later). The token is read once from a
// file that only its owner can read; kept and compared as SHA-256, in constant time.
//
// Immutable after load(), so any thread may check.
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/http/message.h"

namespace gema::gateway {

class Auth {
 public:
  // Whose token it is, as audits and pauses name it.
  static constexpr const char* kAdminName = "admin";

  // Fails with one clear sentence: no file, readable by others, shorter than 16 characters, or one
  // of the tokens that the source systems shipped with.
  static Result<Auth> load(const std::filesystem::path& file);
  static Result<Auth> of_token(std::string_view token);

  // From "Authorization: Bearer TOKEN" or "X-API-Token: TOKEN"; of both, each must be right.
  enum class Verdict { kAdmin, kMissing, kWrong };
  Verdict check(const http::Request& request) const;

 private:
  using Hash = std::array<unsigned char, 32>;
  explicit Auth(Hash hash) : hash_(hash) {}
  bool matches(std::string_view token) const;

  Hash hash_{};
};

}  // namespace gema::gateway
