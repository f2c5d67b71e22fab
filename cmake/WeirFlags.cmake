# Flags that every target of weir is built with: the language, the warnings, the sanitizers.

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
    # In the code that the sanitizers add, GCC sees unset values and null pointers that are not
    # there, and it says of TSan that it does not model fences; weir does not lean on any.
    list(APPEND WEIR_WARNINGS -Wno-maybe-uninitialized -Wno-null-dereference -Wno-tsan)
  endif()
elseif(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # Designated initialisers that leave the defaults of the other fields alone are our way to
  # give options; Clang's -Wextra counts them as missing.
  list(APPEND WEIR_WARNINGS -Wthread-safety -Wno-missing-designated-field-initializers)
endif()

if(WEIR_SANITIZE)
  add_compile_options(
    -fsanitize=${WEIR_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1
  )
  add_link_options(-fsanitize=${WEIR_SANITIZE})
  # Its probe of memory opens a pipe, and where no descriptor is left it takes that for a wrong
  # object. What it would find is mostly found by ASan.
  if(WEIR_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize=vptr)
  endif()
endif()

if(WEIR_COVERAGE)
  add_compile_options(--coverage -fprofile-update=atomic)
  add_link_options(--coverage)
endif()

# weir_flags(target): C++23 without extensions, position-independent code; warnings where weir is
# worked on, not in the build of who uses it.
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

# weir_install_tool(name): a program that `cmake --install` lays down beside the libraries, and that
# finds them there if they are shared; `--component tools` installs the tools alone.
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
