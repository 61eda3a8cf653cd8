# Imported targets for everything that is not ours. LibTorch is the PyPI wheel unpacked by launch/setup.sh into
# .deps/ (or an installed torch package given by ORRERY_SITE_PACKAGES); find_package(Torch) is not used because it
# asks for a CUDA toolkit even where only the CPU side is linked.
set(ORRERY_SITE_PACKAGES ${CMAKE_SOURCE_DIR}/.deps CACHE PATH "Folder that holds torch/ and nvidia/ as the wheels lay them out")
set(site ${ORRERY_SITE_PACKAGES})
if(NOT EXISTS ${site}/torch/include/ATen/ATen.h)
  message(FATAL_ERROR "LibTorch not found in ${site}/torch: run launch/setup.sh, or set ORRERY_SITE_PACKAGES")
endif()

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(MPI REQUIRED COMPONENTS CXX)
set(Boost_USE_STATIC_LIBS ON)  # a carried program needs no Boost of the same version there
find_package(Boost QUIET CONFIG COMPONENTS program_options)
find_package(nlohmann_json 3 QUIET)
pkg_check_modules(HDF5 REQUIRED IMPORTED_TARGET hdf5-serial)
pkg_check_modules(XXHASH QUIET IMPORTED_TARGET libxxhash)
pkg_check_modules(ICU REQUIRED IMPORTED_TARGET icu-uc icu-i18n)

# dependency(NAME TARGET HEADER [LIBRARY]): the library NAME is TARGET where its package was found, else the header and
# the library as they lie in the system's folders: not every machine that has them has the package too.
function(dependency name target header)
  if(TARGET ${target})
    add_library(${name} ALIAS ${target})
    return()
  endif()
  find_path(ORRERY_${name}_INCLUDE ${header} REQUIRED)
  add_library(${name} INTERFACE)
  target_include_directories(${name} SYSTEM INTERFACE ${ORRERY_${name}_INCLUDE})
  if(ARGN)
    find_library(ORRERY_${name}_LIBRARY ${ARGN} REQUIRED)
    target_link_libraries(${name} INTERFACE ${ORRERY_${name}_LIBRARY})
  endif()
endfunction()
dependency(boost_options Boost::program_options boost/program_options.hpp boost_program_options)
dependency(json nlohmann_json::nlohmann_json nlohmann/json.hpp)
dependency(xxhash PkgConfig::XXHASH xxhash.h xxhash)
dependency(sentencepiece sentencepiece::none sentencepiece_processor.h sentencepiece)  # its package names the trainer too

add_library(aten INTERFACE)
target_include_directories(aten SYSTEM INTERFACE ${site}/torch/include)
set(torch_libraries torch_cpu c10)
if(ORRERY_CUDA)
  list(APPEND torch_libraries torch_cuda c10_cuda)
endif()
foreach(name ${torch_libraries})
  list(APPEND torch_link ${site}/torch/lib/lib${name}.so)
endforeach()
# --no-as-needed: nothing names a symbol of libtorch_cuda, and without it CUDA tensors have no backend.
target_link_libraries(aten INTERFACE -Wl,--no-as-needed ${torch_link} -Wl,--as-needed Threads::Threads)

add_library(mpi INTERFACE)
target_link_libraries(mpi INTERFACE MPI::MPI_CXX)
target_compile_definitions(mpi INTERFACE OMPI_SKIP_MPICXX)
add_library(hdf5 ALIAS PkgConfig::HDF5)
add_library(icu ALIAS PkgConfig::ICU)

if(ORRERY_FFMPEG)
  pkg_check_modules(FFMPEG REQUIRED IMPORTED_TARGET libavformat libavcodec libavutil libswscale)
  add_library(ffmpeg ALIAS PkgConfig::FFMPEG)
else()
  message(WARNING "ORRERY_FFMPEG=OFF: this program can neither read nor write films; whatever needs them fails by name")
  add_library(ffmpeg INTERFACE)
endif()

if(ORRERY_CUDA)
  include(Cuda)
endif()
