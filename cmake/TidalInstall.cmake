# cmake --install BUILD --prefix DIR gathers a folder that runs on another machine with a glibc as
# new as this one's: bin/, and in lib/ our CUDA back end and every other shared library but glibc's
# and CUDA's, found through $ORIGIN. It is what a release contains.
#
#   --component programs   what a user runs (the default component), and its SBOM
#   --component tests      bin/ of the tests that a GPU machine should run
set(TIDAL_PROGRAMS tidal-server tidal-gateway tidal-generate tidal-bench)
set(TIDAL_SHARED_LIBRARIES)
if(TIDAL_HAS_CUDA)
  list(APPEND TIDAL_SHARED_LIBRARIES tidal_kernels_cuda)
endif()
# RPATH, not the newer RUNPATH: a RUNPATH is not followed for what libraries need themselves.
set_target_properties(${TIDAL_PROGRAMS} PROPERTIES
  INSTALL_RPATH "$ORIGIN/../lib" LINK_OPTIONS "-Wl,--disable-new-dtags")

# CUDA's driver and libraries are the machine's own, as is glibc.
set(TIDAL_MACHINE_LIBRARIES
    "ld-linux.*" "libc\\.so.*" "libm\\.so.*" "libdl\\.so.*" "libpthread\\.so.*" "librt\\.so.*"
    "libresolv\\.so.*" "libcuda\\..*" "libcudart.*" "libcublas.*" "libcudnn.*" "libnvrtc.*"
    "libnccl.*")

install(TARGETS ${TIDAL_PROGRAMS} ${TIDAL_SHARED_LIBRARIES} RUNTIME_DEPENDENCY_SET tidal_programs
        RUNTIME DESTINATION bin COMPONENT programs
        LIBRARY DESTINATION lib COMPONENT programs)
install(RUNTIME_DEPENDENCY_SET tidal_programs
        PRE_EXCLUDE_REGEXES ${TIDAL_MACHINE_LIBRARIES}
        LIBRARY DESTINATION lib COMPONENT programs)
install(DIRECTORY models/tidal-nano DESTINATION models COMPONENT programs)

# What all that is, with versions and licences: after it, as it lists what was installed. Debian's
# packages tell; elsewhere there is no such list.
find_package(Python3 COMPONENTS Interpreter)
find_program(TIDAL_DPKG_QUERY dpkg-query)
if(Python3_FOUND AND TIDAL_DPKG_QUERY)
  install(CODE "
    set(folder \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}\")
    execute_process(COMMAND \"${Python3_EXECUTABLE}\" \"${CMAKE_SOURCE_DIR}/tools/make_sbom.py\"
                            \"--install_dir=\${folder}\" \"--build_dir=${CMAKE_BINARY_DIR}\"
                            \"--output=\${folder}/share/doc/tidalserve/tidalserve.spdx.json\"
                    RESULT_VARIABLE result)
    if(NOT result EQUAL 0)
      message(WARNING \"There is no list of what was installed (SBOM): see above\")
    endif()" COMPONENT programs)
endif()

if(TIDAL_BUILD_TESTS)
  get_property(tests GLOBAL PROPERTY TIDAL_DEVICE_TESTS)
  if(tests)
    set_target_properties(${tests} PROPERTIES
      INSTALL_RPATH "$ORIGIN/../lib" LINK_OPTIONS "-Wl,--disable-new-dtags")
    install(TARGETS ${tests} ${TIDAL_SHARED_LIBRARIES} RUNTIME_DEPENDENCY_SET tidal_tests
            RUNTIME DESTINATION bin COMPONENT tests EXCLUDE_FROM_ALL
            LIBRARY DESTINATION lib COMPONENT tests EXCLUDE_FROM_ALL)
    install(RUNTIME_DEPENDENCY_SET tidal_tests
            PRE_EXCLUDE_REGEXES ${TIDAL_MACHINE_LIBRARIES}
            LIBRARY DESTINATION lib COMPONENT tests EXCLUDE_FROM_ALL)
  endif()
endif()
