// SPDX-License-Identifier: Apache-2.0
// moesim validate: predictions against measurements, suite by suite, group by group.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <ostream>

#include "sim/base/error.h"
#include "sim/cli/commands.h"
#include "sim/cli/validation_suites.h"

namespace moesim {
namespace {

struct ValidateArguments {
  std::vector<std::string> folders;
  std::vector<std::string> suites;
  std::string format = "text";
  bool rows = false;
  std::vector<std::string> curves;
};

/// A cell of 9 characters: a fraction as percent, a number as it is, nothing where there is none.
std::string cell(const Json& group, const char* key, double scale) {
  const Json* value = group.find(key);
  char text[32] = "        -";
  if (value != nullptr) {
    std::snprintf(text, sizeof text, scale == 100 ? "%9.2f" : "%9.4f", scale * value->as_number());
  }
  return text;
}

void print_text(std::ostream& out, const Json& groups) {
  std::size_t width = 5;
  for (const Json& group : groups.items()) {
    width = std::max(width, group.find("group")->as_text().size());
  }
  out << "suite     group" << std::string(width - 5, ' ')
      << "       n left out  median%     P90%    mean%    bias% in band%  max abs\n";
  for (const Json& group : groups.items()) {
    std::string suite = group.find("suite") != nullptr ? group.find("suite")->as_text() : "compute";
    suite.resize(std::max<std::size_t>(suite.size(), 9), ' ');
    const std::string& name = group.find("group")->as_text();
    char counts[48];
    std::snprintf(counts, sizeof counts, "%8.0f %8.0f", group.find("n")->as_number(),
                  group.find("left_out")->as_number());
    out << suite << ' ' << name << std::string(width - name.size(), ' ') << counts;
    if (group.find("n")->as_number() > 0) {
      for (const char* key : {"median_ape", "p90_ape", "mape", "bias", "band_coverage"}) {
        out << cell(group, key, 100);
      }
      out << cell(group, "max_error", 1);
    }
    out << '\n';
  }
}

}  // namespace

CommandBody define_validate(CLI::App& app, const CommandContext& context) {
  const auto arguments = std::make_shared<ValidateArguments>();
  app.add_option(
      "--data", arguments->folders,
      "folder with measured tables: compute/, routing/, offload/ ... or one of these; or "
      "samples of moesim-kernels (.jsonl)");
  std::vector<std::string> names;
  std::string doc = "which measurements, once or more often (default: all that --data holds)";
  for (const ValidationSuite& suite : validation_suites()) {
    names.emplace_back(suite.name);
    doc += "\n" + std::string(suite.name) + ": " + std::string(suite.doc);
  }
  app.add_option("--suite", arguments->suites, doc)->check(CLI::IsMember(names));
  app.add_option("--curves", arguments->curves,
                 "curve files or folders of `moesim calibrate`, tried before the shipped ones");
  app.add_flag("--rows", arguments->rows, "also every row, predicted or left out with its reason");
  app.add_option("--format", arguments->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
  return [arguments, context] {
    if (arguments->folders.empty()) {
      throw InputError("", "", "no measurements given", "--data DIR, once or more often");
    }
    const SuiteRequest request = {arguments->folders, context.root, arguments->rows,
                                  arguments->curves};
    Json groups = Json::array();
    Json rows = Json::array();
    Json problems = Json::array();
    Json absent = Json::array();
    for (const ValidationSuite& suite : validation_suites()) {
      const std::vector<std::string>& asked = arguments->suites;
      if (!asked.empty() && std::find(asked.begin(), asked.end(), suite.name) == asked.end()) {
        continue;
      }
      SuiteAnswer answer = suite.run(request);
      for (Json& group : answer.groups.items()) {
        groups.push_back(std::move(group));
      }
      for (Json& row : answer.rows.items()) {
        rows.push_back(std::move(row));
      }
      for (const std::string& problem : answer.problems) {
        problems.push_back(problem);
        context.err << problem << '\n';
      }
      for (const std::string& text : answer.absent) {
        absent.push_back(text);
        context.err << "not used: " << text << '\n';
      }
    }
    if (arguments->format == "json") {
      Json json(Json::Object{{"schema", "moesim/validation/1"}, {"groups", std::move(groups)}});
      if (arguments->rows) {
        json.set("rows", std::move(rows));
      }
      json.set("problems", std::move(problems));
      json.set("absent", std::move(absent));
      context.out << json.dump() << '\n';
    } else {
      print_text(context.out, groups);
      if (arguments->rows) {
        for (const Json& row : rows.items()) {
          context.out << row.dump() << '\n';
        }
      }
    }
    return 0;
  };
}

}  // namespace moesim
