# cmake --install BUILD --prefix DIR gathers a folder that runs on another machine with a glibc as
# new as this one's: bin/, and in lib/ every shared library but glibc's and CUDA's, found through
# $ORIGIN. It is what a release contains.
#
#   --component programs   what a user runs (the default component)
#   --component tests      bin/ of the tests that a GPU machine should run
set(TIDAL_PROGRAMS tidal-server tidal-gateway tidal-generate tidal-bench)
# RPATH, not the newer RUNPATH: a RUNPATH is not followed for what libraries need themselves.
set_target_properties(${TIDAL_PROGRAMS} PROPERTIES
  INSTALL_RPATH "$ORIGIN/../lib" LINK_OPTIONS "-Wl,--disable-new-dtags")

# CUDA's driver and libraries are the machine's own, as is glibc.
set(TIDAL_MACHINE_LIBRARIES
    "ld-linux.*" "libc\\.so.*" "libm\\.so.*" "libdl\\.so.*" "libpthread\\.so.*" "librt\\.so.*"
    "libresolv\\.so.*" "libcuda\\..*" "libcudart.*" "libcublas.*" "libcudnn.*" "libnvrtc.*"
    "libnccl.*")

install(TARGETS ${TIDAL_PROGRAMS} RUNTIME_DEPENDENCY_SET tidal_programs
        RUNTIME DESTINATION bin COMPONENT programs)
install(RUNTIME_DEPENDENCY_SET tidal_programs
        PRE_EXCLUDE_REGEXES ${TIDAL_MACHINE_LIBRARIES}
        LIBRARY DESTINATION lib COMPONENT programs)
install(DIRECTORY models/tidal-nano DESTINATION models COMPONENT programs)

if(TIDAL_BUILD_TESTS)
  get_property(tests GLOBAL PROPERTY TIDAL_DEVICE_TESTS)
  if(tests)
    set_target_properties(${tests} PROPERTIES
      INSTALL_RPATH "$ORIGIN/../lib" LINK_OPTIONS "-Wl,--disable-new-dtags")
    install(TARGETS ${tests} RUNTIME_DEPENDENCY_SET tidal_tests
            RUNTIME DESTINATION bin COMPONENT tests EXCLUDE_FROM_ALL)
    install(RUNTIME_DEPENDENCY_SET tidal_tests
            PRE_EXCLUDE_REGEXES ${TIDAL_MACHINE_LIBRARIES}
            LIBRARY DESTINATION lib COMPONENT tests EXCLUDE_FROM_ALL)
  endif()
endif()
