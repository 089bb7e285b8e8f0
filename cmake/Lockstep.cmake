# The three kinds of folder under src/, each one line in a CMakeLists.txt.

# lockstep_library(base LIBS fmt::fmt): src/base as a static library `lockstep_base`.
# Files that end in _test.cpp become the test program base_test; *_fuzz.cpp the fuzz targets.
function(lockstep_library name)
  cmake_parse_arguments(ARG "" "" "LIBS;TEST_LIBS" ${ARGN})
  file(GLOB_RECURSE all CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  set(sources ${all})
  list(FILTER sources EXCLUDE REGEX "_(test|fuzz)\\.cpp$")
  set(tests ${all})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  set(fuzzers ${all})
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cpp$")

  if(sources)
    add_library(lockstep_${name} STATIC ${sources})
    target_include_directories(lockstep_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src
                                                       ${PROJECT_SOURCE_DIR}/include)
    target_link_libraries(lockstep_${name} PUBLIC ${ARG_LIBS})
    lockstep_precompile(lockstep_${name})
    # Where every source is compiled, what tests spend their time in is optimised fully, alone.
    if(LOCKSTEP_PRECOMPILE AND NOT name MATCHES "^(base|tensor|kernels|ops|text)$")
      lockstep_cold(lockstep_${name})
    endif()
  else()
    add_library(lockstep_${name} INTERFACE)
    target_include_directories(lockstep_${name} INTERFACE ${PROJECT_SOURCE_DIR}/src
                                                          ${PROJECT_SOURCE_DIR}/include)
    target_link_libraries(lockstep_${name} INTERFACE ${ARG_LIBS})
  endif()
  if(LOCKSTEP_TESTS AND tests)
    lockstep_test(${name}_test SOURCES ${tests} LIBS lockstep_${name} ${ARG_TEST_LIBS})
  endif()
  if(LOCKSTEP_FUZZERS)
    foreach(file IN LISTS fuzzers)
      get_filename_component(fuzzer ${file} NAME_WE)
      add_executable(${fuzzer} ${file})
      target_link_libraries(${fuzzer} PRIVATE lockstep_${name} -fsanitize=fuzzer)
      add_dependencies(fuzzers ${fuzzer})
      if(NOT "lockstep_runtime" IN_LIST ARG_LIBS)
        add_dependencies(readers ${fuzzer} ${name}_test)
      endif()
    endforeach()
  endif()
endfunction()

# lockstep_cold(target): nothing in it is measured in cycles, so a release build of it is made in two
# thirds of the time.
function(lockstep_cold target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
endfunction()

# lockstep_precompile(target [headers ...]): where LOCKSTEP_PRECOMPILE is on, the headers that most
# sources of `target` include are parsed once. Off by default: a compiler cache does better.
function(lockstep_precompile target)
  if(NOT LOCKSTEP_PRECOMPILE)
    return()
  endif()
  target_precompile_headers(${target} PRIVATE
    <algorithm> <filesystem> <fstream> <functional> <map> <memory> <optional> <span> <string> <vector> ${ARGN})
  get_target_property(libraries ${target} LINK_LIBRARIES)
  if("nlohmann_json::nlohmann_json" IN_LIST libraries OR ARGN)
    target_precompile_headers(${target} PRIVATE <nlohmann/json.hpp>)
  endif()
  if("fmt::fmt" IN_LIST libraries)
    target_precompile_headers(${target} PRIVATE <fmt/format.h>)
  endif()
endfunction()

# lockstep_test(graph_test SOURCES a_test.cpp LIBS lockstep_graph)
function(lockstep_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    LOCKSTEP_SOURCE_DIR="${PROJECT_SOURCE_DIR}" LOCKSTEP_BINARY_DIR="${PROJECT_BINARY_DIR}")
  lockstep_precompile(${name} <gtest/gtest.h>)
  lockstep_cold(${name})
  add_test(NAME ${name} COMMAND ${name})
endfunction()

# lockstep_arch_list(list.cpp llama gpt2): the source that registers these architectures. A program
# that has one of its own registers those instead of all.
function(lockstep_arch_list file)
  set(declarations "")
  set(entries "")
  foreach(arch IN LISTS ARGN)
    string(APPEND declarations "extern const LockstepArchitecture lockstep_architecture_${arch};\n")
    string(APPEND entries "    &lockstep_architecture_${arch},\n")
  endforeach()
  configure_file(${PROJECT_SOURCE_DIR}/src/archs/arch_list.cpp.in ${file} @ONLY)
endfunction()
