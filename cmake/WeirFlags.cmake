# Flags for all targets of weir: the language, the warnings, the sanitizers.

set(
  WEIR_WARNINGS
  -Wall
  -Wextra
  -Wpedantic
  -Wconversion
  -Wsign-conversion
  -Wshadow
  -Wold-style-cast
  -Wnon-virtual-dtor
  -Woverloaded-virtual
  -Wnull-dereference
  -Wcast-align
  -Wcast-qual
  -Wdouble-promotion
  -Wformat=2
  -Wimplicit-fallthrough
  -Wextra-semi
  -Wundef
)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND WEIR_WARNINGS -Wduplicated-cond -Wduplicated-branches -Wlogical-op)
  if(WEIR_SANITIZE)
    # For sanitized code, GCC warns about unset values and null pointers that do not exist, and
    # about fences, which TSan does not model; weir does not depend on fences.
    list(APPEND WEIR_WARNINGS -Wno-maybe-uninitialized -Wno-null-dereference -Wno-tsan)
  endif()
elseif(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # weir gives options as designated initialisers of some fields; Clang's -Wextra warns that the
  # other fields are missing.
  list(APPEND WEIR_WARNINGS -Wthread-safety -Wno-missing-designated-field-initializers)
endif()

if(WEIR_SANITIZE)
  add_compile_options(
    -fsanitize=${WEIR_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1
  )
  add_link_options(-fsanitize=${WEIR_SANITIZE})
  # The vptr check probes memory with a pipe and reports a wrong object if no descriptor is left.
  # ASan finds most of these errors.
  if(WEIR_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize=vptr)
  endif()
  if(WEIR_SANITIZE MATCHES "integer")
    add_compile_options(-fsanitize-ignorelist=${CMAKE_CURRENT_LIST_DIR}/integer_ignorelist.txt)
  endif()
endif()

if(WEIR_COVERAGE)
  add_compile_options(--coverage -fprofile-update=atomic)
  add_link_options(--coverage)
endif()

# weir_flags(target): C++23 without extensions, position-independent code. Warnings are on only if
# weir is the top-level project.
function(weir_flags target)
  target_compile_features(${target} PUBLIC cxx_std_23)
  set_target_properties(
    ${target}
    PROPERTIES
      CXX_EXTENSIONS OFF
      POSITION_INDEPENDENT_CODE ON
      COMPILE_WARNING_AS_ERROR ${WEIR_WERROR}
  )
  if(WEIR_SANITIZE MATCHES "address")
    target_compile_definitions(${target} PUBLIC WEIR_POISON=1)
  endif()
  if(weir_IS_TOP_LEVEL)
    target_compile_options(${target} PRIVATE ${WEIR_WARNINGS})
  endif()
endfunction()

# weir_program(name SOURCES ... [LIBS ...]): one executable, in <build>/bin.
function(weir_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBS")
  add_executable(${name} ${arg_SOURCES})
  weir_flags(${name})
  target_link_libraries(${name} PRIVATE ${arg_LIBS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${weir_BINARY_DIR}/bin")
endfunction()

# weir_install_tool(name): installs a program, which finds shared libraries of the same prefix.
# `cmake --install` with `--component tools` installs only the tools.
function(weir_install_tool name)
  if(NOT WEIR_INSTALL)
    return()
  endif()
  file(
    RELATIVE_PATH to_libraries "/prefix/${CMAKE_INSTALL_BINDIR}" "/prefix/${CMAKE_INSTALL_LIBDIR}"
  )
  set_target_properties(${name} PROPERTIES INSTALL_RPATH "$ORIGIN/${to_libraries}")
  install(TARGETS ${name} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT tools)
endfunction()
