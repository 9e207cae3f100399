# Finds the headers of cuDNN (9 or later) and of its C++ frontend. cuDNN itself is not linked: it is
# loaded when the program runs.
#
# TIDAL_CUDNN_FRONTEND   folder of cudnn_frontend.h; default: where tools/fetch_cudnn_frontend.sh
#                        puts it
#
# Sets CudnnFrontend_FOUND and makes the target Cudnn::Frontend.
set(TIDAL_CUDNN_FRONTEND ${CMAKE_SOURCE_DIR}/build/third_party/cudnn_frontend/include
    CACHE PATH "Folder of cudnn_frontend.h")

# Looked for at every configuration: the headers may have been fetched since.
unset(CudnnFrontend_INCLUDE_DIR CACHE)
find_path(CudnnFrontend_INCLUDE_DIR cudnn_frontend.h
          HINTS ${TIDAL_CUDNN_FRONTEND} NO_CACHE)
find_path(Cudnn_INCLUDE_DIR cudnn_graph.h HINTS ${CUDAToolkit_INCLUDE_DIRS} NO_CACHE)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(CudnnFrontend
  REQUIRED_VARS CudnnFrontend_INCLUDE_DIR Cudnn_INCLUDE_DIR)
if(CudnnFrontend_FOUND AND NOT TARGET Cudnn::Frontend)
  add_library(Cudnn::Frontend INTERFACE IMPORTED GLOBAL)
  target_include_directories(Cudnn::Frontend SYSTEM INTERFACE
    ${CudnnFrontend_INCLUDE_DIR} ${Cudnn_INCLUDE_DIR})
  # Errors are returned, and the frontend's own JSON library is not needed.
  target_compile_definitions(Cudnn::Frontend INTERFACE
    NV_CUDNN_DISABLE_EXCEPTION CUDNN_FRONTEND_SKIP_JSON_LIB)
endif()
