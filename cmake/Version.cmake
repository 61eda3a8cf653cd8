# Writes build/<preset>/version.cpp (base/version.h) at every build, changing the file only when its text changes: a new
# commit recompiles that one file.
# Used twice: included by CMakeLists.txt, and run as a script (cmake -P) by the target it makes.
if(CMAKE_SCRIPT_MODE_FILE)
  execute_process(COMMAND git -C ${SOURCE} rev-parse --short=12 HEAD
    OUTPUT_VARIABLE COMMIT RESULT_VARIABLE failed OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(failed)
    set(COMMIT unknown)  # an unpacked archive, or no git
  else()
    execute_process(COMMAND git -C ${SOURCE} status --porcelain --untracked-files=no OUTPUT_VARIABLE changes ERROR_QUIET)
    if(changes)
      string(APPEND COMMIT " with changes")
    endif()
  endif()
  configure_file(${CMAKE_CURRENT_LIST_DIR}/version.cpp.in ${OUTPUT} @ONLY)
  return()
endif()

file(STRINGS ${site}/torch/include/torch/headeronly/version.h lines REGEX "TORCH_VERSION_(MAJOR|MINOR|PATCH) [0-9]")
string(REGEX REPLACE "[^0-9;]" "" numbers "${lines}")
string(REPLACE ";" "." LIBTORCH "${numbers}")
set(version_file ${CMAKE_BINARY_DIR}/version.cpp)
string(STRIP "${CMAKE_BUILD_TYPE}" build_type)
if(ORRERY_SANITIZE)
  string(APPEND build_type " with sanitizers")
endif()
add_custom_target(orrery_version
  COMMAND ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR} -DOUTPUT=${version_file} -DVERSION=${PROJECT_VERSION}
    "-DBUILD_TYPE=${build_type}" -DLIBTORCH=${LIBTORCH} -P ${CMAKE_CURRENT_LIST_FILE}
  BYPRODUCTS ${version_file} VERBATIM)
target_sources(orrery_base PRIVATE ${version_file})
add_dependencies(orrery_base orrery_version)
