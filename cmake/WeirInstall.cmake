# What `cmake --install` lays down: libraries, headers, a CMake package and a pkg-config file.

include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/weir")
get_property(floors GLOBAL PROPERTY WEIR_FLOORS)

install(
  TARGETS ${floors} weir
  EXPORT weirTargets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
)
install(EXPORT weirTargets NAMESPACE weir:: DESTINATION "${package_dir}")

configure_package_config_file(
  "${weir_SOURCE_DIR}/cmake/weirConfig.cmake.in" "${weir_BINARY_DIR}/weirConfig.cmake"
  INSTALL_DESTINATION "${package_dir}"
)
# Below 1.0 a minor version may change names, so 0.1 does not serve a request for 0.2.
write_basic_package_version_file(
  "${weir_BINARY_DIR}/weirConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion
)
install(
  FILES "${weir_BINARY_DIR}/weirConfig.cmake" "${weir_BINARY_DIR}/weirConfigVersion.cmake"
  DESTINATION "${package_dir}"
)

# The linker wants a library before the ones that it needs: the top floor first.
set(WEIR_PC_LIBS "")
list(REMOVE_ITEM floors weir_testing)  # for tests only
foreach(floor IN LISTS floors)
  string(PREPEND WEIR_PC_LIBS "-l${floor} ")
endforeach()
string(STRIP "${WEIR_PC_LIBS}" WEIR_PC_LIBS)
# The prefix as seen from the folder of the .pc file, so that an installed tree may be moved.
set(pc_dir "${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/pkgconfig")
file(RELATIVE_PATH WEIR_PC_PREFIX "${pc_dir}" "${CMAKE_INSTALL_PREFIX}")
configure_file("${weir_SOURCE_DIR}/cmake/weir.pc.in" "${weir_BINARY_DIR}/weir.pc" @ONLY)
install(FILES "${weir_BINARY_DIR}/weir.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
