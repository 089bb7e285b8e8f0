# The installed SDK: headers to compile ports against, and lockstep_port() to do it.
#   find_package(Lockstep REQUIRED)
#   lockstep_port(my_model my_model.cpp)      # -> my_model.so
if(NOT TARGET Lockstep::sdk)
  add_library(Lockstep::sdk INTERFACE IMPORTED)
  get_filename_component(LOCKSTEP_PREFIX "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
  target_include_directories(Lockstep::sdk INTERFACE ${LOCKSTEP_PREFIX}/include)
  target_compile_features(Lockstep::sdk INTERFACE cxx_std_20)
endif()

function(lockstep_port slug)
  add_library(${slug} MODULE ${ARGN})
  target_link_libraries(${slug} PRIVATE Lockstep::sdk)
  set_target_properties(${slug} PROPERTIES PREFIX "" SUFFIX ".so" CXX_VISIBILITY_PRESET hidden
                                           CXX_EXTENSIONS OFF)
endfunction()
