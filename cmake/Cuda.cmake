# The CUDA language and the targets cuda (runtime, for kernels and their launchers), nccl, cudnn and cublas. Libraries and
# headers are the wheels' ones, those that LibTorch loads, never a toolkit's own copy in another version.
if(NOT CMAKE_CUDA_COMPILER)
  file(GLOB toolkits /usr/local/cuda-13*/bin)
  find_program(CMAKE_CUDA_COMPILER nvcc HINTS /usr/local/cuda/bin ${toolkits} ${site}/nvidia/cu13/bin)
endif()
if(NOT CMAKE_CUDA_COMPILER)
  message(FATAL_ERROR "nvcc not found: run launch/setup.sh cuda, or set CMAKE_CUDA_COMPILER")
endif()

set(CMAKE_CUDA_ARCHITECTURES OFF)  # CMake 3.25 knows no 90a: orrery_flags says what to compile for
set(CMAKE_CUDA_RUNTIME_LIBRARY None)
set(CMAKE_CUDA_FLAGS_RELEASE "-O3")
set(ORRERY_CUDA_ARCHS "80;90a;100" CACHE STRING "Real architectures to compile kernels for")
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # nor that nvcc speaks C++20
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
if(NOT CMAKE_CUDA_COMPILER_VERSION MATCHES "^13\\.")
  message(FATAL_ERROR "${CMAKE_CUDA_COMPILER} is CUDA ${CMAKE_CUDA_COMPILER_VERSION}, wanted 13: LibTorch is built for it")
endif()
foreach(arch ${ORRERY_CUDA_ARCHS})
  target_compile_options(orrery_flags INTERFACE
    "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-gencode arch=compute_${arch},code=sm_${arch}>")
endforeach()
if(90a IN_LIST ORRERY_CUDA_ARCHS)  # for is_hopper()
  set_source_files_properties(src/ops/cuda/launch.cpp PROPERTIES COMPILE_DEFINITIONS ORRERY_SM90A)
endif()
target_compile_options(orrery_flags INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Xcompiler=-Wall,-Wextra,-fPIC>")

# site_library(TARGET FOLDER FILES...): an imported target for the wheel nvidia/FOLDER with its headers.
function(site_library name folder)
  add_library(${name} INTERFACE)
  target_include_directories(${name} SYSTEM INTERFACE ${site}/nvidia/${folder}/include)
  foreach(file ${ARGN})
    find_file(ORRERY_${file} ${file} PATHS ${site}/nvidia/${folder}/lib NO_DEFAULT_PATH REQUIRED)
    target_link_libraries(${name} INTERFACE ${ORRERY_${file}})
  endforeach()
endfunction()
site_library(cuda cu13 libcudart.so.13)
site_library(cublas cu13 libcublasLt.so.13)
site_library(cudnn cudnn libcudnn.so.9)
site_library(nvrtc cu13 libnvrtc.so.13)
site_library(nccl nccl libnccl.so.2)
if(NOT EXISTS ${site}/nvidia/cu13/include/crt)  # a wheel of its own, which brings nothing that a toolkit lacks
  find_path(ORRERY_CRT crt/host_defines.h PATHS ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES} NO_DEFAULT_PATH REQUIRED)
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/crt)  # holds that folder alone: the toolkit's other headers stay out
  file(CREATE_LINK ${ORRERY_CRT}/crt ${CMAKE_BINARY_DIR}/crt/crt SYMBOLIC)
  target_include_directories(cuda SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/crt)
endif()
find_path(ORRERY_CUDNN_FRONTEND cudnn_frontend.h PATHS ${CMAKE_SOURCE_DIR}/.deps/include)
if(NOT ORRERY_CUDNN_FRONTEND)
  message(FATAL_ERROR "cudnn_frontend.h is not here: launch/setup.sh installs these headers into .deps/include; to a host without a network carry that folder")
endif()
target_include_directories(cudnn SYSTEM INTERFACE ${ORRERY_CUDNN_FRONTEND})
target_link_libraries(cudnn INTERFACE nvrtc)  # cudnn-frontend refers to it, and cuDNN compiles kernels with it
