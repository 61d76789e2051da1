# fastlstm::fastlstm is the static library. fastlstm::avx2, and so on with the other instruction sets, is the library
# with the kernels of that set alone: see fastlstm/only.h.
if(TARGET fastlstm::fastlstm)
  return()
endif()
get_filename_component(_fastlstm "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(EXISTS "${_fastlstm}/lib/fastlstm.lib")
  set(_fastlstm_library "${_fastlstm}/lib/fastlstm.lib")
else()
  set(_fastlstm_library "${_fastlstm}/lib/libfastlstm.a")
endif()
if(NOT EXISTS "${_fastlstm_library}")
  set(fastlstm_FOUND FALSE)
  set(fastlstm_NOT_FOUND_MESSAGE "There is no ${_fastlstm_library}.")
  return()
endif()
add_library(fastlstm::fastlstm STATIC IMPORTED)
set_target_properties(fastlstm::fastlstm PROPERTIES
  IMPORTED_LOCATION "${_fastlstm_library}"
  IMPORTED_LINK_INTERFACE_LANGUAGES C
  INTERFACE_INCLUDE_DIRECTORIES "${_fastlstm}/include")
if(NOT WIN32)
  set_target_properties(fastlstm::fastlstm PROPERTIES INTERFACE_LINK_LIBRARIES m)
endif()
foreach(_fastlstm_set portable base avx2 avx512 neon)
  add_library(fastlstm::${_fastlstm_set} INTERFACE IMPORTED)
  set_target_properties(fastlstm::${_fastlstm_set} PROPERTIES
    INTERFACE_LINK_LIBRARIES fastlstm::fastlstm
    INTERFACE_COMPILE_DEFINITIONS FASTLSTM_ONLY=${_fastlstm_set})
endforeach()
