# The Rust crate in bridge/, built by cargo into one static library; target `mlxcpp_bridge`.
# cxx generates the C++ side: #include "mlxcpp_bridge/src/lib.rs.h".

# mlxcpp_rust_bridge(<target> CRATE <name> DIR <folder>)
function(mlxcpp_rust_bridge target)
  cmake_parse_arguments(ARG "" "CRATE;DIR" "" ${ARGN})
  file(STRINGS ${ARG_DIR}/Cargo.toml needed REGEX "^rust-version")
  string(REGEX MATCH "[0-9]+\\.[0-9]+" needed "${needed}")
  find_program(CARGO_EXECUTABLE cargo HINTS $ENV{CARGO_HOME}/bin $ENV{HOME}/.cargo/bin)
  if(NOT CARGO_EXECUTABLE)
    message(FATAL_ERROR "cargo not found; expected Rust ${needed} or newer; try tools/bootstrap")
  endif()
  execute_process(COMMAND ${CARGO_EXECUTABLE} --version OUTPUT_VARIABLE version RESULT_VARIABLE failed)
  string(REGEX MATCH "[0-9]+\\.[0-9]+" version "${version}")
  if(failed OR version VERSION_LESS needed)
    message(FATAL_ERROR "${CARGO_EXECUTABLE}: too old; expected Rust ${needed} or newer, "
      "found '${version}'; try tools/bootstrap, or install rustup")
  endif()
  set(output ${MLXCPP_CARGO_DIR})
  set(options "")
  set(flags "")
  if(MLXCPP_FUZZ)
    # Fuzzers see what they reach in Rust too. Such a build has its own folder, and with a target the
    # flags are not for build scripts.
    execute_process(COMMAND ${CARGO_EXECUTABLE} -vV OUTPUT_VARIABLE version)
    string(REGEX REPLACE ".*host: ([^\n]+).*" "\\1" triple "${version}")
    set(MLXCPP_CARGO_DIR ${MLXCPP_CARGO_DIR}-fuzz)
    set(output ${MLXCPP_CARGO_DIR}/${triple})
    set(options --target ${triple})
    string(JOIN " " flags RUSTFLAGS=-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
      -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
      -Cllvm-args=-sanitizer-coverage-trace-compares)
  endif()
  cmake_host_system_information(RESULT jobs QUERY NUMBER_OF_LOGICAL_CORES)
  set(lib ${output}/release/lib${ARG_CRATE}.a)
  set(include ${MLXCPP_CARGO_DIR}/cxxbridge)
  set(header ${include}/${ARG_CRATE}/src/lib.rs.h)
  # CC and CXX are left alone: with another compiler for each preset cargo would build the crate again and again.
  add_custom_command(
    OUTPUT ${lib} ${header}
    COMMAND ${CMAKE_COMMAND} -E env --unset=MAKEFLAGS CARGO_BUILD_JOBS=${jobs} ${flags}
            ${CARGO_EXECUTABLE} build --quiet --release --locked --lib
            --manifest-path ${ARG_DIR}/Cargo.toml --target-dir ${MLXCPP_CARGO_DIR} ${options}
    DEPENDS ${ARG_DIR}/Cargo.toml ${ARG_DIR}/Cargo.lock ${ARG_DIR}/build.rs
    DEPFILE ${output}/release/lib${ARG_CRATE}.d
    COMMENT "cargo build ${ARG_CRATE} (minutes the first time)"
    USES_TERMINAL VERBATIM)
  add_custom_target(${target}_cargo DEPENDS ${lib} ${header})
  add_library(${target} INTERFACE)
  add_library(mlxcpp::bridge ALIAS ${target})
  add_dependencies(${target} ${target}_cargo)
  target_include_directories(${target} SYSTEM INTERFACE $<BUILD_INTERFACE:${include}>)
  target_link_libraries(${target} INTERFACE
    $<BUILD_INTERFACE:${lib}> $<INSTALL_INTERFACE:$<INSTALL_PREFIX>/${CMAKE_INSTALL_LIBDIR}/lib${ARG_CRATE}.a>
    Threads::Threads ${CMAKE_DL_LIBS} $<$<PLATFORM_ID:Linux>:m>)
  if(MLXCPP_INSTALL)
    install(FILES ${lib} DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(TARGETS ${target} EXPORT mlxcpp-targets)
  endif()
endfunction()

mlxcpp_rust_bridge(mlxcpp_bridge CRATE mlxcpp_bridge DIR ${PROJECT_SOURCE_DIR}/bridge)
