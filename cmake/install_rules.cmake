# SPDX-License-Identifier: Apache-2.0
# cmake --install: the program, its cards, and the library as a package for find_package(moesim).
# The program finds share/moesim beside its own folder, so the installed tree can be moved.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

add_library(moesim::moesim ALIAS moesim_sim)
set_target_properties(moesim_sim PROPERTIES EXPORT_NAME moesim)
install(TARGETS moesim_sim EXPORT moesim_targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS moesim RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
if(MOESIM_HAS_GUI)
  install(TARGETS moesim-gui RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY sim/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/moesim/sim FILES_MATCHING PATTERN "*.h")
install(DIRECTORY models hardware_profiles scenarios DESTINATION ${CMAKE_INSTALL_DATADIR}/moesim)
install(EXPORT moesim_targets NAMESPACE moesim:: FILE moesim_targets.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/moesim)
configure_package_config_file(cmake/moesim-config.cmake.in ${CMAKE_BINARY_DIR}/moesim-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/moesim)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/moesim-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/moesim-config.cmake ${CMAKE_BINARY_DIR}/moesim-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/moesim)
