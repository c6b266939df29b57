# `cmake --install`: rooms, headers, the package for find_package(mlxcpp), and the MLX of the wheel.
#
#   bin/mlxcpp                 finds libmlx by a relative RPATH, so the prefix may be moved
#   lib/libmlxcpp_*.a          lib/cmake/mlxcpp/
#   lib/mlxcpp/mlx/            the wheel as it came, because libmlx finds its own libraries from there
#   include/mlxcpp/
include(CMakePackageConfigHelpers)
set(mlxcpp_private_dir ${CMAKE_INSTALL_LIBDIR}/mlxcpp)
set(mlxcpp_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/mlxcpp)

install(TARGETS mlxcpp EXPORT mlxcpp-targets)
install(EXPORT mlxcpp-targets NAMESPACE mlxcpp:: DESTINATION ${mlxcpp_package_dir})

set(mlxcpp_carried_mlx "")
if(MLXCPP_MLX_WHEEL)
  install(DIRECTORY ${MLXCPP_MLX_WHEEL}/ DESTINATION ${mlxcpp_private_dir} USE_SOURCE_PERMISSIONS
    PATTERN *.dist-info EXCLUDE)
  set(mlxcpp_carried_mlx ${mlxcpp_private_dir}/mlx)
else()
  message(STATUS "MLX is the machine's own: it will not be installed with mlxcpp")
endif()

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/mlxcppConfig.cmake.in
  ${PROJECT_BINARY_DIR}/mlxcppConfig.cmake
  INSTALL_DESTINATION ${mlxcpp_package_dir} PATH_VARS mlxcpp_carried_mlx NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/mlxcppConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/mlxcppConfig.cmake ${PROJECT_BINARY_DIR}/mlxcppConfigVersion.cmake
  ${CMAKE_CURRENT_LIST_DIR}/zip.cmake
  DESTINATION ${mlxcpp_package_dir})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/mlxcpp)

# mlxcpp_install_program(<target>): into bin/, with the way to libmlx.
function(mlxcpp_install_program target)
  if(MLXCPP_MLX_WHEEL)
    file(RELATIVE_PATH up /${CMAKE_INSTALL_BINDIR} /${mlxcpp_private_dir}/mlx/lib)
    set(origin $<IF:$<PLATFORM_ID:Darwin>,@loader_path,$ORIGIN>)
    set_target_properties(${target} PROPERTIES INSTALL_RPATH ${origin}/${up})
  else()
    set_target_properties(${target} PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
  endif()
  install(TARGETS ${target} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()
