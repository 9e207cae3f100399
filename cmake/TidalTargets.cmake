# The two helpers every folder uses, and the compiler settings they share.
add_library(tidal_options INTERFACE)
target_include_directories(tidal_options INTERFACE ${CMAKE_SOURCE_DIR})
# -pthread, as some packages ask for it and precompiled headers must be compiled as what uses them.
set(tidal_cxx_options -Wall -Wextra -Wno-sign-compare -pthread)
if(TIDAL_WERROR)
  list(APPEND tidal_cxx_options -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  list(APPEND tidal_cxx_options -Wthread-safety)
endif()
if(TIDAL_SANITIZE)
  list(APPEND tidal_cxx_options -fsanitize=${TIDAL_SANITIZE} -fno-omit-frame-pointer
       -fno-sanitize-recover=all)
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    # Instrumented code is too opaque for this warning: g++ 12 sees an empty boost::optional read.
    list(APPEND tidal_cxx_options -Wno-maybe-uninitialized)
    if(TIDAL_SANITIZE MATCHES thread)
      # Abseil's flags have a fence, which the sanitizer does not model; main reads them alone.
      list(APPEND tidal_cxx_options -Wno-tsan)
    endif()
  endif()
  # Indices past the size of a container but within its capacity, which no sanitizer sees.
  target_compile_definitions(tidal_options INTERFACE _GLIBCXX_ASSERTIONS)
  target_link_options(tidal_options INTERFACE -fsanitize=${TIDAL_SANITIZE})
endif()
if(CMAKE_UNITY_BUILD)
  list(APPEND tidal_cxx_options -Wno-subobject-linkage)  # a joined file's classes are its own
endif()
if(TIDAL_BUILD_FUZZERS)
  # libFuzzer is guided by what runs in the code under test, so all of it is instrumented.
  list(APPEND tidal_cxx_options -fsanitize=fuzzer-no-link)
  target_link_options(tidal_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
target_compile_options(tidal_options INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:${tidal_cxx_options}>"
  "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wno-sign-compare>")
target_link_libraries(tidal_options INTERFACE Threads::Threads)

# What most files include, parsed once. Files include what they use all the same: presets odr and
# clang compile without. A folder that is compiled with other flags unsets TIDAL_HEADERS.
if(TIDAL_SANITIZE MATCHES thread)
  set(CMAKE_DISABLE_PRECOMPILE_HEADERS ON)  # libraries differ in what their headers may know of it
endif()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/empty.cc CONTENT "")
add_library(tidal_headers OBJECT ${CMAKE_BINARY_DIR}/empty.cc)
target_link_libraries(tidal_headers PRIVATE tidal_options absl::statusor absl::strings)
target_precompile_headers(tidal_headers PRIVATE
  <algorithm> <functional> <memory> <optional> <string> <string_view> <utility> <vector>
  <absl/status/statusor.h> <absl/strings/str_cat.h>)
set(TIDAL_HEADERS tidal_headers)

# tidal_library(NAME SOURCES a.cc ... DEPS target ...)
function(tidal_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC tidal_options ${ARG_DEPS})
  if(TIDAL_HEADERS)
    target_precompile_headers(${name} REUSE_FROM ${TIDAL_HEADERS})
  endif()
endfunction()

# tidal_test(NAME SOURCES a_test.cc ... DEPS target ... [TIMEOUT seconds] [DEVICE])
# One program; each of its cases is one ctest test. Runs in the source folder. DEVICE: a GPU machine
# should run it too, so it is installed with the component "tests".
function(tidal_test name)
  cmake_parse_arguments(ARG "DEVICE" "TIMEOUT" "SOURCES;DEPS" ${ARGN})
  if(ARG_DEVICE)
    set_property(GLOBAL APPEND PROPERTY TIDAL_DEVICE_TESTS ${name})
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE tidal_options ${ARG_DEPS}
                        GTest::gtest GTest::gmock GTest::gtest_main)
  target_precompile_headers(${name} REUSE_FROM tidal_test_headers)
  gtest_discover_tests(${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR} DISCOVERY_TIMEOUT 60
                       PROPERTIES TIMEOUT ${ARG_TIMEOUT})
endfunction()
