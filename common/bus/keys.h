// CURVE keys in files: DIR/keys/<name>.key (secret, 0600) and <name>.pub, Z85 text of 40
// characters.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "common/base/result.h"

namespace gema::bus {

// The name of the broker's own pair.
inline constexpr std::string_view kBrokerName = "broker";

struct KeyPair {
  std::string public_key;  // Z85
  std::string secret_key;  // Z85; never logged
};

// A fresh pair from the system's randomness.
Result<KeyPair> make_key_pair();

// 40 characters of Z85 that decode to 32 bytes.
bool is_key_text(std::string_view text);

// Reads <name>.key and derives the public key from it. kBadInput, naming the file: missing, not a
// key, or readable by group or others.
Result<KeyPair> read_key_pair(const std::filesystem::path& dir, std::string_view name);

// Reads <name>.pub.
Result<std::string> read_public_key(const std::filesystem::path& dir, std::string_view name);

// Writes both files, each whole or not at all (rename), synced.
Result<void> write_key_pair(const std::filesystem::path& dir, std::string_view name,
                            const KeyPair& pair);

// Writes a file so that a reader or a crash sees the old content or the new, never a mixture.
Result<void> write_file_atomically(const std::filesystem::path& path, std::string_view content,
                                   int mode);

}  // namespace gema::bus
