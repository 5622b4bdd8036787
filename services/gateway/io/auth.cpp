#include "services/gateway/io/auth.h"

#include <sodium.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "common/base/assert.h"

namespace gema::gateway {
namespace {

constexpr size_t kTokenLeast = 16;
constexpr size_t kTokenMost = 512;
// Shipped with the source systems, so known to everybody.
constexpr std::string_view kKnownToAll[] = {"prod-token-123", "123456"};

std::array<unsigned char, 32> sha256(std::string_view text) {
  std::array<unsigned char, 32> hash{};
  static_assert(crypto_hash_sha256_BYTES == 32);
  crypto_hash_sha256(hash.data(), reinterpret_cast<const unsigned char*>(text.data()), text.size());
  return hash;
}

std::string_view trim(std::string_view text) {
  const char* blanks = " \t\r\n";
  const size_t first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

// The token of an Authorization header, or "" when it is of another scheme.
std::string_view bearer(std::string_view header) {
  constexpr std::string_view kScheme = "bearer ";
  if (header.size() < kScheme.size()) {
    return {};
  }
  for (size_t i = 0; i < kScheme.size(); ++i) {
    const char c = header[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c) != kScheme[i]) {
      return {};
    }
  }
  return trim(header.substr(kScheme.size()));
}

Error refuse(std::string message) {
  return {Errc::kPermanent, std::move(message)};
}

}  // namespace

Result<Auth> Auth::of_token(std::string_view token) {
  GEMA_ASSERT(sodium_init() >= 0);
  for (std::string_view known : kKnownToAll) {
    if (token == known) {
      return refuse("the admin token is one that a source system shipped with: everybody knows it");
    }
  }
  if (token.size() < kTokenLeast || token.size() > kTokenMost) {
    return refuse("the admin token has " + std::to_string(token.size()) +
                  " characters: 16 to 512 are needed");
  }
  for (const char c : token) {
    if (c <= ' ' || c > '~') {
      return refuse("the admin token holds a blank or a character outside printable ASCII");
    }
  }
  return Auth(sha256(token));
}

Result<Auth> Auth::load(const std::filesystem::path& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) {
    return refuse("no admin token: " + file.string() +
                  " does not exist (deploy/local/up makes it)");
  }
  if (!S_ISREG(status.st_mode) || (status.st_mode & 077) != 0) {
    return refuse("the admin token file " + file.string() + " can be read by others: chmod 600 it");
  }
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) {
    return refuse("cannot read the admin token file " + file.string());
  }
  std::string token = text.str();
  auto auth = of_token(trim(token));
  sodium_memzero(token.data(), token.size());
  if (!auth) {
    return refuse(file.string() + ": " + auth.error().message);
  }
  return auth;
}

bool Auth::matches(std::string_view token) const {
  const Hash presented = sha256(token);
  return sodium_memcmp(presented.data(), hash_.data(), hash_.size()) == 0;
}

Auth::Verdict Auth::check(const http::Request& request) const {
  bool any = false;
  for (const auto& [name, value] : request.headers) {
    const bool authorization = name == "authorization";
    if (!authorization && name != "x-api-token") {
      continue;
    }
    any = true;
    if (!matches(authorization ? bearer(value) : trim(value))) {
      return Verdict::kWrong;
    }
  }
  return any ? Verdict::kAdmin : Verdict::kMissing;
}

}  // namespace gema::gateway
