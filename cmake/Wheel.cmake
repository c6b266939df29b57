# Pinned wheels: cmake/wheels/<name>.txt is a pip requirement file with exactly one package, its version and hashes.

# mlxcpp_wheel_version(<name> <variable>): the pinned version.
function(mlxcpp_wheel_version name variable)
  set(pin ${PROJECT_SOURCE_DIR}/cmake/wheels/${name}.txt)
  if(NOT EXISTS ${pin})
    message(FATAL_ERROR "${name}: no such pin in cmake/wheels")
  endif()
  set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${pin})
  file(STRINGS ${pin} line REGEX "^[a-z0-9-]+==" LIMIT_COUNT 1)
  string(REGEX REPLACE "^[a-z0-9-]+==([^ ]+).*" "\\1" version "${line}")
  set(${variable} ${version} PARENT_SCOPE)
endfunction()

# mlxcpp_wheel(<name> <variable>): downloads and unpacks the wheel when it is not there; sets the variable to its folder.
function(mlxcpp_wheel name variable)
  mlxcpp_wheel_version(${name} version)
  set(folder ${MLXCPP_DEPS_DIR}/${name}-${version})
  set(${variable} ${folder} PARENT_SCOPE)
  if(EXISTS ${folder})
    return()
  endif()
  file(MAKE_DIRECTORY ${MLXCPP_DEPS_DIR})
  file(LOCK ${MLXCPP_DEPS_DIR}/lock GUARD FUNCTION TIMEOUT 900)
  if(EXISTS ${folder})  # another configure run was faster
    return()
  endif()
  message(STATUS "Fetching ${name} ${version}")
  find_program(MLXCPP_PYTHON NAMES python3 python REQUIRED)
  set(download ${MLXCPP_DEPS_DIR}/.download-${name})
  file(REMOVE_RECURSE ${download} ${folder}.new)
  execute_process(
    COMMAND ${MLXCPP_PYTHON} -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all:
            --require-hashes --dest ${download} --requirement ${PROJECT_SOURCE_DIR}/cmake/wheels/${name}.txt
    RESULT_VARIABLE failed)
  file(GLOB wheel ${download}/*.whl)
  if(failed OR NOT wheel)
    message(FATAL_ERROR "${name} ${version}: pip could not download the pinned wheel (see above); "
      "try tools/bootstrap, or -DMLX_DIR=<an MLX ${version}>")
  endif()
  file(ARCHIVE_EXTRACT INPUT ${wheel} DESTINATION ${folder}.new)
  file(REMOVE_RECURSE ${download})
  file(RENAME ${folder}.new ${folder})  # last, so that a folder with this name is complete
endfunction()
