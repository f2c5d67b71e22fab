# One floor of the house: one folder, one link target, one list of files.

# Everybody, weir itself included, writes #include "weir/net/tcp/tcp_server.h". In the build tree
# that spelling is served by two links; the repository's root is never an include path.
set(WEIR_INCLUDE_ROOT "${weir_BINARY_DIR}/include")
file(MAKE_DIRECTORY "${WEIR_INCLUDE_ROOT}/weir")
foreach(top IN ITEMS base net)
  file(
    CREATE_LINK "${weir_SOURCE_DIR}/${top}" "${WEIR_INCLUDE_ROOT}/weir/${top}"
    SYMBOLIC
  )
endforeach()

# weir_floor(NAME base DEPENDS ... PUBLIC_HEADERS ... SOURCES ...)
#
# Makes the library weir_<NAME> with the alias weir::<NAME>. PUBLIC_HEADERS are installed and
# checked to compile alone (target all_verify_interface_header_sets); headers that only the floor
# itself uses stand among SOURCES. Paths are relative to the calling CMakeLists.txt.
function(weir_floor)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME" "DEPENDS;PUBLIC_HEADERS;SOURCES")
  file(RELATIVE_PATH folder "${weir_SOURCE_DIR}" "${CMAKE_CURRENT_SOURCE_DIR}")

  set(headers ${arg_PUBLIC_HEADERS})
  list(TRANSFORM headers PREPEND "${WEIR_INCLUDE_ROOT}/weir/${folder}/")

  set(target weir_${arg_NAME})
  add_library(${target} ${arg_SOURCES})
  add_library(weir::${arg_NAME} ALIAS ${target})
  weir_flags(${target})
  target_sources(
    ${target}
    PUBLIC FILE_SET HEADERS BASE_DIRS "${WEIR_INCLUDE_ROOT}" FILES ${headers}
  )
  target_link_libraries(${target} PUBLIC ${arg_DEPENDS})
  set_target_properties(
    ${target}
    PROPERTIES
      EXPORT_NAME ${arg_NAME}
      VERSION ${weir_VERSION}
      SOVERSION ${weir_VERSION_MAJOR}.${weir_VERSION_MINOR}
      INSTALL_RPATH "$ORIGIN"
      VERIFY_INTERFACE_HEADER_SETS ON
  )
  set_property(GLOBAL APPEND PROPERTY WEIR_FLOORS ${target})
endfunction()
