# Every library comes from the distribution (tools/packages lists the packages).
# Debian 12 ships CMake files for some of these and only pkg-config files for
# others; each becomes one imported target here, so nobody else has to care.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(prometheus-cpp REQUIRED COMPONENTS core)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)

pkg_check_modules(ZMQ REQUIRED IMPORTED_TARGET libzmq)
pkg_check_modules(HIREDIS REQUIRED IMPORTED_TARGET hiredis)
pkg_check_modules(PQXX REQUIRED IMPORTED_TARGET libpqxx)
pkg_check_modules(PQ REQUIRED IMPORTED_TARGET libpq)
pkg_check_modules(HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)
pkg_check_modules(OPENSSL REQUIRED IMPORTED_TARGET openssl)
# Built with OpenSSL, whose symbols its header uses; Debian 13's .pc file leaves that out.
target_link_libraries(PkgConfig::HTTPLIB INTERFACE PkgConfig::OPENSSL)
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
pkg_check_modules(CARES REQUIRED IMPORTED_TARGET libcares)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(UUID REQUIRED IMPORTED_TARGET uuid)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)

# Header-only packages: a missing header should fail here, not in the middle of a build.
find_path(CPPZMQ_INCLUDE zmq.hpp REQUIRED)
find_path(JSON_INCLUDE nlohmann/json.hpp REQUIRED)
find_path(CLI11_INCLUDE CLI/CLI.hpp REQUIRED)

# yaml-cpp 0.7 (Debian 12) exports "yaml-cpp", 0.8 (Debian 13) "yaml-cpp::yaml-cpp".
if(TARGET yaml-cpp::yaml-cpp)
  set(GEMA_YAML yaml-cpp::yaml-cpp)
else()
  set(GEMA_YAML yaml-cpp)
endif()
