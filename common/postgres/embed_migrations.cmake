# Turns migrations/NNNN_name.sql into one C++ file. Called at build time:
#   cmake -D OUT=file.cpp -D "FILES=a.sql;b.sql" -P embed_migrations.cmake
set(rows "")
list(SORT FILES)
set(before 0)
foreach(file IN LISTS FILES)
  get_filename_component(base "${file}" NAME_WE)
  if(NOT base MATCHES "^([0-9][0-9][0-9][0-9])_([a-z0-9_]+)$")
    message(FATAL_ERROR "${file}: a migration is named NNNN_name.sql")
  endif()
  set(digits "${CMAKE_MATCH_1}")
  set(name "${CMAKE_MATCH_2}")
  string(REGEX REPLACE "^0+" "" number "${digits}")
  if(NOT number GREATER before)
    message(FATAL_ERROR "${file}: the number ${digits} is taken")
  endif()
  set(before ${number})
  file(READ "${file}" text)
  string(APPEND rows "    {${number}, \"${name}\", R\"gema_sql(${text})gema_sql\"},\n")
endforeach()
file(WRITE "${OUT}.new" "// Generated from migrations/*.sql by embed_migrations.cmake.
#include \"common/postgres/migrate.h\"

namespace gema::postgres {
namespace {
constexpr Migration kMigrations[] = {
${rows}};
}  // namespace

std::span<const Migration> built_in_migrations() { return kMigrations; }

}  // namespace gema::postgres
")
execute_process(COMMAND "${CMAKE_COMMAND}" -E copy_if_different "${OUT}.new" "${OUT}")
