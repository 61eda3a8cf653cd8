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
find_package(Boost REQUIRED COMPONENTS program_options)
find_package(nlohmann_json 3 REQUIRED)
pkg_check_modules(HDF5 REQUIRED IMPORTED_TARGET hdf5-serial)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)

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
add_library(xxhash ALIAS PkgConfig::XXHASH)
add_library(boost_options ALIAS Boost::program_options)

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
