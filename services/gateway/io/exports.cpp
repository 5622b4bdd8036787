#include "services/gateway/io/exports.h"

#include "services/gateway/core/limits.h"

namespace gema::gateway {

class Exports::Source : public ExportSource {
 public:
  Source(Exports& owner, std::unique_ptr<postgres::Connection> connection,
         history::ExportQuery query)
      : owner_(owner),
        connection_(std::move(connection)),
        export_(*connection_, std::move(query)) {}
  ~Source() override {
    ++(ended_ ? owner_.whole_ : owner_.broken_off_);
    owner_.unreadable_rows_ += export_.broken_rows();
    --owner_.running_;
  }

  Result<bool> next(std::string& out) override {
    const size_t before = out.size();
    auto more = export_.next(out);
    owner_.bytes_ += out.size() - before;
    ended_ = more.has_value() && !*more;
    return more;
  }

 private:
  Exports& owner_;
  std::unique_ptr<postgres::Connection> connection_;
  history::Export export_;
  bool ended_ = false;
};

namespace {

Result<void> name_removed(postgres::Connection& connection,
                          std::vector<history::ExportDevice>& devices) {
  return connection.snapshot([&](postgres::Transaction& tx) -> Result<void> {
    for (history::ExportDevice& device : devices) {
      if (!device.address.empty()) continue;
      const auto rows = tx.exec("SELECT address, hostname FROM devices WHERE id = $1",
                                static_cast<int64_t>(device.id));
      if (rows.empty()) {
        return Error{Errc::kBadInput, "no device " + std::to_string(device.id)};
      }
      device.address = rows[0][0].as<std::string>();
      device.name = rows[0][1].as<std::string>();
    }
    return {};
  });
}

}  // namespace

Result<std::unique_ptr<ExportSource>> Exports::open(history::ExportQuery query) {
  if (++running_ > kExportsMax) {
    --running_;
    ++refused_;
    return Error{Errc::kUnavailable, "history is busy: " + std::to_string(kExportsMax) +
                                         " exports are under way: try again when one has ended"};
  }
  auto connection = postgres::Connection::open(options_);
  if (!connection) {
    --running_;
    return connection.error();
  }
  if (auto named = name_removed(**connection, query.devices); !named) {
    --running_;
    return named.error();
  }
  return std::unique_ptr<ExportSource>(
      std::make_unique<Source>(*this, std::move(*connection), std::move(query)));
}

Exports::Stats Exports::stats() const {
  return {running_, whole_, broken_off_, refused_, bytes_, unreadable_rows_};
}

}  // namespace gema::gateway
