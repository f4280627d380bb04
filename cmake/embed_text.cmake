# SPDX-License-Identifier: Apache-2.0
# cmake -DOUT=x.cpp "-DFILES=name=path|name=path" -P embed_text.cmake: a source file with the text of each file as
# moesim::embedded::NAME. Chart.js and the report page become part of the program, so a report needs nothing beside it.
set(text "// Made by cmake/embed_text.cmake; edit the embedded files instead.\n#include <string_view>\n\nnamespace moesim::embedded {\n")
string(REPLACE "|" ";" pairs "${FILES}")
foreach(pair IN LISTS pairs)
  string(REGEX MATCH "^([a-z_]+)=(.*)$" matched "${pair}")
  set(name "${CMAKE_MATCH_1}")
  set(path "${CMAKE_MATCH_2}")
  file(READ "${path}" content)
  string(APPEND text "extern const std::string_view ${name};\nconst std::string_view ${name} = R\"moesim_text(${content})moesim_text\";\n")
endforeach()
string(APPEND text "}  // namespace moesim::embedded\n")
file(WRITE "${OUT}" "${text}")
