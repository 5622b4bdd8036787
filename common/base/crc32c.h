// CRC-32C (Castagnoli, RFC 3720 appendix B.4), the checksum of spool records and parts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace gema {

// Checksum of `bytes`, continuing from `crc` (0 to start). crc32c("123456789") == 0xe3069283.
uint32_t crc32c(std::string_view bytes, uint32_t crc = 0);

}  // namespace gema
