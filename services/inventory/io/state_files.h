// What inventory keeps in DIR/state/inventory, so that it can go on without PostgreSQL and so that
// a restart moves nothing and a pause outlives it: catalogue.pb, owners.pb and probing.pb, each
// replaced whole.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "common/base/result.h"
#include "common/domain/catalogue.h"
#include "services/inventory/core/assigner.h"
#include "services/inventory/core/probing.h"

namespace gema::inventory {

std::string encode_owners(const Owners& owners);
Result<Owners> decode_owners(std::string_view bytes);

std::string encode_kept_probing(const KeptProbing& kept);
Result<KeptProbing> decode_kept_probing(std::string_view bytes);

class StateFiles {
 public:
  explicit StateFiles(std::filesystem::path dir) : dir_(std::move(dir)) {}

  // nullopt: there is none yet. An error: there is one that cannot be used.
  Result<std::optional<Catalogue>> read_catalogue() const;
  Result<std::optional<Owners>> read_owners() const;
  Result<std::optional<KeptProbing>> read_probing() const;

  // Block (fsync): call them on a worker.
  Result<void> write_catalogue(const std::string& bytes) const;
  Result<void> write_owners(const Owners& owners) const;
  Result<void> write_probing(const KeptProbing& kept) const;

 private:
  std::filesystem::path dir_;
};

}  // namespace gema::inventory
