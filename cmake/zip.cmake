# libzip as the target mlxcpp_zip. Used by the build and, installed beside it, by mlxcppConfig.cmake: the package
# that Debian's libzip-dev brings for CMake asks for tools that are not in it.
if(NOT TARGET mlxcpp_zip)
  find_path(MLXCPP_ZIP_INCLUDE zip.h)
  find_library(MLXCPP_ZIP_LIBRARY zip)
  if(NOT MLXCPP_ZIP_INCLUDE OR NOT MLXCPP_ZIP_LIBRARY)
    message(FATAL_ERROR "libzip not found; expected its development files (libzip-dev); try tools/bootstrap")
  endif()
  add_library(mlxcpp_zip INTERFACE IMPORTED GLOBAL)
  target_include_directories(mlxcpp_zip SYSTEM INTERFACE ${MLXCPP_ZIP_INCLUDE})
  target_link_libraries(mlxcpp_zip INTERFACE ${MLXCPP_ZIP_LIBRARY})
endif()
