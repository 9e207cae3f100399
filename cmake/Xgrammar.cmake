# xgrammar, compiled from its source distribution: nothing packages it as a C++ library.
#
# TIDAL_XGRAMMAR   folder of its sources; default: where tools/fetch_xgrammar.sh puts them
#
# Makes the target xgrammar.
set(TIDAL_XGRAMMAR ${CMAKE_SOURCE_DIR}/build/third_party/xgrammar CACHE PATH
    "Folder of xgrammar's sources")
if(NOT EXISTS ${TIDAL_XGRAMMAR}/include/xgrammar/xgrammar.h)
  message(FATAL_ERROR "${TIDAL_XGRAMMAR} does not hold xgrammar's sources: run "
                      "tools/fetch_xgrammar.sh, or name their folder as TIDAL_XGRAMMAR")
endif()
file(GLOB_RECURSE xgrammar_sources ${TIDAL_XGRAMMAR}/cpp/*.cc)
list(FILTER xgrammar_sources EXCLUDE REGEX /tvm_ffi/)  # for Python
add_library(xgrammar STATIC ${xgrammar_sources})
# As C++20, like the rest: the standard library defines some of its templates otherwise for C++17.
# Debian 12's clang takes its variants of unfinished types for C++17 only.
set_target_properties(xgrammar PROPERTIES UNITY_BUILD OFF)
if(CMAKE_CXX_COMPILER_ID STREQUAL Clang AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 15)
  set_target_properties(xgrammar PROPERTIES CXX_STANDARD 17)
endif()
# Theirs to keep free of warnings. -O3 gains nothing that could be measured.
target_compile_options(xgrammar PRIVATE -w $<$<CONFIG:Release>:-O2>)
if(TIDAL_SANITIZE)
  target_compile_options(xgrammar PRIVATE -fsanitize=${TIDAL_SANITIZE} -fno-omit-frame-pointer)
endif()
# What it would print goes to server/grammar/xgrammar_border.cc.
target_compile_definitions(xgrammar PRIVATE XGRAMMAR_LOG_CUSTOMIZE=1
  PUBLIC XGRAMMAR_ENABLE_CPPTRACE=0 XGRAMMAR_ENABLE_INTERNAL_CHECK=0)
target_include_directories(xgrammar SYSTEM PUBLIC
  ${TIDAL_XGRAMMAR}/include ${TIDAL_XGRAMMAR}/3rdparty/picojson
  ${TIDAL_XGRAMMAR}/3rdparty/dlpack/include)
