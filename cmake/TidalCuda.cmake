# Finds CUDA. Sets TIDAL_HAS_CUDA; without nvcc everything else builds.
#
# TIDAL_CUDA           AUTO (default: ON where nvcc is found), ON, OFF
# TIDAL_CUDA_ARCHITECTURES   what to compile for; the back end needs 80 or later
# TIDAL_CUDA_HEAD_DIMS   what to compile decode attention for: most models have 64 or 128; the tests
#                        add their own
set(TIDAL_CUDA AUTO CACHE STRING "Build the CUDA back end: AUTO, ON or OFF")
set(TIDAL_CUDA_ARCHITECTURES "80-real;90a-real" CACHE STRING "CUDA architectures to compile for")
set(TIDAL_CUDA_HEAD_DIMS "64;128" CACHE STRING
    "head_dim of the models to run on a GPU: multiples of 16 up to 256")

set(TIDAL_HAS_CUDA OFF)
if(TIDAL_SANITIZE OR TIDAL_CUDA STREQUAL OFF)
  message(STATUS "CUDA back end: off")
  return()
endif()

include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(TIDAL_CUDA STREQUAL ON)
    message(FATAL_ERROR "TIDAL_CUDA=ON, but there is no nvcc: set CUDACXX to its path")
  endif()
  message(STATUS "CUDA back end: off, there is no nvcc")
  return()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES ${TIDAL_CUDA_ARCHITECTURES})
endif()
enable_language(CUDA)
find_package(CUDAToolkit 12.4 REQUIRED)
# CMake 3.25 does not know nvcc's C++20.
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
if(CCACHE_PROGRAM)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()
set(TIDAL_HAS_CUDA ON)
message(STATUS "CUDA back end: on, for ${CMAKE_CUDA_ARCHITECTURES}")
