# A floor of weir: one folder, one link target, one list of files.

# Users and weir itself write #include "weir/net/tcp/tcp_server.h". In the build tree two symbolic
# links make this possible; the root of the repository is never an include path.
set(WEIR_INCLUDE_ROOT "${weir_BINARY_DIR}/include")
file(MAKE_DIRECTORY "${WEIR_INCLUDE_ROOT}/weir")
foreach(top IN ITEMS base net)
  file(
    CREATE_LINK "${weir_SOURCE_DIR}/${top}" "${WEIR_INCLUDE_ROOT}/weir/${top}"
    SYMBOLIC
  )
endforeach()

# Sets up a library: that of one floor (static), or that of all floors (shared).
function(weir_library target)
  weir_flags(${target})
  set_target_properties(
    ${target}
    PROPERTIES
      CXX_VISIBILITY_PRESET hidden
      VISIBILITY_INLINES_HIDDEN ON
      VERIFY_INTERFACE_HEADER_SETS ON
  )
  # No public header includes spdlog or fmt, so users do not need their headers.
  target_link_libraries(${target} PUBLIC Threads::Threads PRIVATE spdlog::spdlog fmt::fmt)
endfunction()

# weir::weir, all floors under one name: the shared library, or all static libraries.
if(BUILD_SHARED_LIBS)
  add_library(weir SHARED)
  weir_library(weir)
  set_target_properties(
    weir
    PROPERTIES
      VERSION ${weir_VERSION}
      SOVERSION ${weir_VERSION_MAJOR}.${weir_VERSION_MINOR}
  )
else()
  add_library(weir INTERFACE)
endif()
add_library(weir::weir ALIAS weir)

# weir_floor(NAME base DEPENDS ... PUBLIC_HEADERS ... SOURCES ...)
#
# Makes the target weir_<NAME> with the alias weir::<NAME>: a static library, or another name for
# the shared one. PUBLIC_HEADERS are installed and checked to compile alone (target
# all_verify_interface_header_sets); headers that only the floor itself uses belong to SOURCES.
# Paths are relative to the calling CMakeLists.txt.
function(weir_floor)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME" "DEPENDS;PUBLIC_HEADERS;SOURCES")
  file(RELATIVE_PATH folder "${weir_SOURCE_DIR}" "${CMAKE_CURRENT_SOURCE_DIR}")

  set(headers ${arg_PUBLIC_HEADERS})
  list(TRANSFORM headers PREPEND "${WEIR_INCLUDE_ROOT}/weir/${folder}/")

  set(target weir_${arg_NAME})
  if(BUILD_SHARED_LIBS)
    set(library weir)
    target_sources(weir PRIVATE ${arg_SOURCES})
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE weir)
  else()
    set(library ${target})
    add_library(${target} STATIC ${arg_SOURCES})
    weir_library(${target})
    target_link_libraries(${target} PUBLIC ${arg_DEPENDS})
  endif()
  add_library(weir::${arg_NAME} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${arg_NAME})
  target_sources(
    ${library}
    PUBLIC FILE_SET HEADERS BASE_DIRS "${WEIR_INCLUDE_ROOT}" FILES ${headers}
  )
  set_property(GLOBAL APPEND PROPERTY WEIR_FLOORS ${target})
endfunction()
