# jemalloc for the command, where the system's own memory allocation can not ask for large pages (docs/cpu.md).
if(LINUX AND NOT MLXCPP_SANITIZE)
  set(default_jemalloc ON)
else()
  set(default_jemalloc OFF)
endif()
option(MLXCPP_JEMALLOC "Link jemalloc into the command" ${default_jemalloc})
unset(default_jemalloc)

if(MLXCPP_JEMALLOC)
  # The archive, so that the program runs where the library is not installed.
  find_library(MLXCPP_JEMALLOC_LIBRARY NAMES libjemalloc_pic.a libjemalloc.a jemalloc)
  if(NOT MLXCPP_JEMALLOC_LIBRARY)
    message(FATAL_ERROR "jemalloc not found; expected its development files; try tools/bootstrap, or -DMLXCPP_JEMALLOC=OFF")
  endif()
  add_library(mlxcpp_jemalloc INTERFACE)
  target_compile_definitions(mlxcpp_jemalloc INTERFACE MLXCPP_JEMALLOC)
  target_link_libraries(mlxcpp_jemalloc INTERFACE ${MLXCPP_JEMALLOC_LIBRARY} Threads::Threads ${CMAKE_DL_LIBS})
endif()
