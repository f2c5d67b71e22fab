# The rules for `cmake --install`: libraries, headers, a CMake package and a pkg-config file.

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

set(WEIR_COMPONENTS "${floors}")
list(REMOVE_ITEM WEIR_COMPONENTS weir_sys) # not for users
list(TRANSFORM WEIR_COMPONENTS REPLACE "^weir_" "")
list(JOIN WEIR_COMPONENTS " " WEIR_COMPONENTS)

if(BUILD_SHARED_LIBS)
  set(WEIR_PC_REQUIRES_PRIVATE "")
  set(WEIR_PC_LIBS "-lweir")
else()
  set(WEIR_PC_REQUIRES_PRIVATE "spdlog fmt")
  # The linker needs a library before the ones that it uses: the top floor comes first.
  set(WEIR_PC_LIBS ${floors})
  list(REMOVE_ITEM WEIR_PC_LIBS weir_sim weir_testing) # for tests only
  list(REVERSE WEIR_PC_LIBS)
  list(TRANSFORM WEIR_PC_LIBS PREPEND "-l")
  list(JOIN WEIR_PC_LIBS " " WEIR_PC_LIBS)
endif()

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

# The prefix relative to the folder of the .pc file, so that an installed tree can be moved.
set(pc_dir "${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/pkgconfig")
file(RELATIVE_PATH WEIR_PC_PREFIX "${pc_dir}" "${CMAKE_INSTALL_PREFIX}")
configure_file("${weir_SOURCE_DIR}/cmake/weir.pc.in" "${weir_BINARY_DIR}/weir.pc" @ONLY)
install(FILES "${weir_BINARY_DIR}/weir.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
