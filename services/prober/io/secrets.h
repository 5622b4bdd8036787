// Credentials for web checks: files in a directory on the prober, never in the inventory, never in
// a log. A file's first line is "user:password"; further lines, if any, name the hosts that may be
// told (as they stand in web_url), one each: whoever may change devices could otherwise have them
// sent to a host of his own.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/base/result.h"

namespace gema::prober {

class Secret {
 public:
  Secret() = default;
  Secret(std::string user, std::string password, std::vector<std::string> hosts);
  ~Secret();  // overwrites what it held
  Secret(Secret&&) noexcept = default;
  Secret& operator=(Secret&&) noexcept = default;

  const std::string& user() const { return user_; }
  const std::string& password() const { return password_; }
  // Requires: lower case.
  bool may_go_to(const std::string& host) const;

 private:
  std::string user_, password_;
  std::vector<std::string> hosts_;
};

// Fails with kPermanent: no such file, not a plain file, readable by everybody, no "user:password".
// The message names the file and the rule, never what is in it.
Result<Secret> read_secret(const std::filesystem::path& dir, const std::string& name);

}  // namespace gema::prober
