# Builds launch/ceilings/*.json into the library plan, so that the program needs no file beside it.
file(GLOB ceilings_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/launch/ceilings/*.json)
set(ceilings_rows "")
foreach(file ${ceilings_files})
  get_filename_component(name ${file} NAME_WE)
  file(READ ${file} json)
  string(APPEND ceilings_rows "      {\"${name}\", R\"json(${json})json\"},\n")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/ceilings_table.cpp @ONLY CONTENT
  "#include \"plan/ceilings.h\"

namespace orrery {

const std::vector<BuiltInCeilings>& built_in_ceilings() {
  static const std::vector<BuiltInCeilings> table = {
@ceilings_rows@  };
  return table;
}

}  // namespace orrery
")
target_sources(orrery_plan PRIVATE ${CMAKE_BINARY_DIR}/ceilings_table.cpp)
