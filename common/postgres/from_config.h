// The postgres section of gema.yaml as connection options.
#pragma once

#include <string>

#include "common/config/common.h"
#include "common/postgres/connection.h"

namespace gema::postgres {

// `application`: shown in pg_stat_activity, "gema-recorder".
inline Options options_from(const config::Common& common, const std::string& application) {
  Options options{.host = common.postgres_host_or_socket(),
                  .port = common.postgres_port,
                  .database = common.postgres_database,
                  .user = common.postgres_user,
                  .password_file = common.postgres_password_file,
                  .application = application};
  options.connect_timeout = common.postgres_connect_timeout;
  return options;
}

}  // namespace gema::postgres
