# Turns the page's files into one C++ file. Called at build time:
#   cmake -D OUT=page.cpp -D DIR=services/gateway/page -P embed_page.cmake
set(functions "")
foreach(name IN ITEMS index.html app.js style.css)
  file(READ "${DIR}/${name}" text)
  string(MAKE_C_IDENTIFIER "${name}" function)
  string(APPEND functions
    "std::string_view ${function}() {\n  return R\"gema_page(${text})gema_page\";\n}\n\n")
endforeach()
file(WRITE "${OUT}" "// Generated from services/gateway/page by embed_page.cmake.
#include \"services/gateway/page/page.h\"

namespace gema::gateway::page {

${functions}}  // namespace gema::gateway::page
")
