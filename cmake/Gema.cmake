# The kinds of target in this project. Use these, not add_library/add_executable.
#
#   gema_pure_library(NAME SOURCES ...  [LINK ...])   values in, values out; see tools/check_purity
#   gema_library(NAME SOURCES ... [LINK ...] [PRIVATE_LINK ...])
#   gema_service(NAME SOURCES ... [LINK ...])         binary gema-NAME
#   gema_test(NAME SOURCES ... [LINK ...] [LABELS unit|sim|integration] [TIMEOUT s])
#   gema_bench(NAME SOURCES ... [LINK ...])
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")
option(GEMA_FUZZ "Only gema_fuzz of tests/fuzz, with clang (preset fuzz)" OFF)
set(GEMA_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize=")

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE}")
endif()

add_library(gema_flags INTERFACE)
target_include_directories(gema_flags INTERFACE "${CMAKE_SOURCE_DIR}")
target_compile_options(gema_flags INTERFACE
  -Wall -Wextra -Wpedantic -Werror -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wcast-qual
  -Woverloaded-virtual -Wno-missing-field-initializers
  -fstack-protector-strong -fno-strict-aliasing)
target_compile_definitions(gema_flags INTERFACE _GLIBCXX_ASSERTIONS)
if(GEMA_SANITIZE)
  target_compile_options(gema_flags INTERFACE -fsanitize=${GEMA_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(gema_flags INTERFACE -fsanitize=${GEMA_SANITIZE})
  if(GEMA_FUZZ)
    # What is undefined ends the run, as everything else that libFuzzer shall notice. Another
    # compiler than the one the warnings were chosen for.
    target_compile_options(gema_flags INTERFACE -fno-sanitize-recover=undefined -Wno-error)
  endif()
elseif(CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  target_compile_definitions(gema_flags INTERFACE _FORTIFY_SOURCE=2)
endif()
target_link_options(gema_flags INTERFACE -Wl,-z,relro,-z,now)

set_property(GLOBAL PROPERTY GEMA_PURE_LIBRARIES "")

function(gema_pure_library name)
  cmake_parse_arguments(A "" "" "SOURCES;LINK" ${ARGN})
  add_library(${name} STATIC ${A_SOURCES})
  target_link_libraries(${name} PUBLIC gema_flags ${A_LINK})
  set_property(GLOBAL APPEND PROPERTY GEMA_PURE_LIBRARIES ${name})
  set_property(TARGET ${name} PROPERTY GEMA_PURE TRUE)
  # By link: a pure library may only build on other pure libraries and on the few general ones
  # named here, which compute and do nothing else.
  foreach(dep IN LISTS A_LINK)
    get_property(dep_pure TARGET ${dep} PROPERTY GEMA_PURE)
    if(NOT dep_pure AND NOT dep MATCHES "^(fmt::fmt|PkgConfig::(XXHASH|UUID))$")
      message(FATAL_ERROR "${name} is pure and may not link ${dep} (see CONTRIBUTING.md, 'Pure cores')")
    endif()
  endforeach()
  # By symbols: what the archive calls may not read clocks, files, sockets, randomness or the log.
  if(NOT GEMA_SANITIZE AND EXISTS "${CMAKE_SOURCE_DIR}/tools/check_purity")
    add_custom_command(TARGET ${name} POST_BUILD
      COMMAND "${CMAKE_SOURCE_DIR}/tools/check_purity" "$<TARGET_FILE:${name}>"
      VERBATIM)
  endif()
endfunction()

function(gema_library name)
  cmake_parse_arguments(A "" "" "SOURCES;LINK;PRIVATE_LINK" ${ARGN})
  add_library(${name} STATIC ${A_SOURCES})
  target_link_libraries(${name} PUBLIC gema_flags ${A_LINK} PRIVATE ${A_PRIVATE_LINK})
endfunction()

function(gema_service name)
  cmake_parse_arguments(A "" "" "SOURCES;LINK" ${ARGN})
  add_executable(gema-${name} ${A_SOURCES})
  target_link_libraries(gema-${name} PRIVATE gema_flags ${A_LINK})
  set_property(GLOBAL APPEND PROPERTY GEMA_SERVICES gema-${name})
endfunction()

function(gema_test name)
  cmake_parse_arguments(A "" "TIMEOUT" "SOURCES;LINK;LABELS" ${ARGN})
  if(NOT A_LABELS)
    set(A_LABELS unit)
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 120)
  endif()
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE gema_flags ${A_LINK} GTest::gmock GTest::gtest GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  # What may take longest begins first, so that nothing is left to run alone at the end.
  set_tests_properties(${name} PROPERTIES LABELS "${A_LABELS}" TIMEOUT ${A_TIMEOUT}
    COST ${A_TIMEOUT})
endfunction()

function(gema_bench name)
  cmake_parse_arguments(A "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE gema_flags ${A_LINK} benchmark::benchmark)
endfunction()
