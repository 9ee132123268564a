# Private interface target: warnings and sanitizers for our own sources. It is linked PRIVATE
# everywhere and never exported, so a user's build keeps its own warning policy.
add_library(rangecache_options INTERFACE)
target_include_directories(rangecache_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include
                                                        ${PROJECT_BINARY_DIR}/include)
target_compile_options(rangecache_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
                                                    -Wno-missing-field-initializers)
# FMT_HEADER_ONLY must not be defined, be it as 0: all of fmt would be compiled into every file.
target_compile_definitions(rangecache_options INTERFACE _FILE_OFFSET_BITS=64)
if(RANGECACHE_WERROR)
  target_compile_options(rangecache_options INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(rangecache_options INTERFACE -Wthread-safety)
else()
  # g++ 12 sees uninitialised std::variant members where there are none (GCC PR 105562, 105593).
  target_compile_options(rangecache_options INTERFACE -Wno-maybe-uninitialized)
endif()
if(RANGECACHE_SANITIZE)
  add_compile_options(-fsanitize=${RANGECACHE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${RANGECACHE_SANITIZE})
  if(RANGECACHE_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # libstdc++'s atomic_thread_fence is not modelled by tsan; the warning is about its header.
    add_compile_options(-Wno-tsan)
  endif()
else()
  add_compile_options(-fstack-protector-strong)
  if(CMAKE_BUILD_TYPE MATCHES "Rel")
    add_compile_options(-D_FORTIFY_SOURCE=2)
  endif()
  add_link_options(-Wl,-z,relro,-z,now)
endif()

# What is compiled does not depend on where the checkout lies: builds are reproducible, and ccache knows
# them again in another folder.
add_compile_options(-ffile-prefix-map=${PROJECT_SOURCE_DIR}=.)
find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(launcher ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=true ${CCACHE_PROGRAM})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
endif()

# rangecache_library(NAME SOURCES... [DEPS...]): a static part of the daemon.
function(rangecache_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE rangecache_options)
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include
                                            ${PROJECT_BINARY_DIR}/include)
endfunction()
