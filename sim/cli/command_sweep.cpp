// SPDX-License-Identifier: Apache-2.0
// moesim sweep: one scenario, many values of some of its keys, one table.
#include <tbb/info.h>
#include <unistd.h>
#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <ostream>

#include "sim/base/error.h"
#include "sim/base/quantity_text.h"
#include "sim/cli/commands.h"
#include "sim/cli/progress_bar.h"
#include "sim/cli/scenario_arguments.h"
#include "sim/report/html_report.h"
#include "sim/study/results_database.h"

namespace moesim {
namespace {

struct SweepArguments {
  ScenarioArguments scenario;
  std::vector<std::string> varied;
  bool zip = false;
  std::uint64_t random = 0;
  std::uint64_t latin = 0;
  int jobs = 0;
  std::string database;
  std::string csv;
  std::string html;
  std::string format = "text";
  bool resume = false;
  bool mpi = false;
  bool quiet = false;
};

SweepSpace space_of(const SweepArguments& arguments, const ScenarioSpec& base) {
  if ((arguments.zip ? 1 : 0) + (arguments.random > 0 ? 1 : 0) + (arguments.latin > 0 ? 1 : 0) >
      1) {
    throw InputError("--zip", "", "axes combine in one way",
                     "give one of --zip, --random N and --latin N, or none for every combination");
  }
  const SweepMode mode = arguments.zip          ? SweepMode::zip
                         : arguments.random > 0 ? SweepMode::random
                         : arguments.latin > 0  ? SweepMode::latin
                                                : SweepMode::cartesian;
  return SweepSpace(base, arguments.varied, mode, std::max(arguments.random, arguments.latin));
}

/// Hashes of every card that the points can name, so that an edited card makes another sweep.
std::string card_hashes_of(const SweepSpace& space, const CardLibrary& cards,
                           const std::string& file) {
  std::string text;
  const auto add = [&](CardKind kind, const std::string& id, const std::string& pointer) {
    cards.path(kind, id, file, pointer);
    text += id + " " + std::to_string(cards.hash(kind, id)) + "\n";
    if (kind == CardKind::cluster) {
      for (const NodeGroup& group : cards.shared_cluster(id, file, pointer)->node_groups) {
        text += std::to_string(cards.hash(CardKind::device, group.device)) + "\n";
      }
    }
  };
  for (const auto& [pointer, kind, id] :
       {std::tuple{"/model", CardKind::model, &space.base().model},
        std::tuple{"/cluster", CardKind::cluster, &space.base().cluster}}) {
    bool varies = false;
    for (const SweepAxis& axis : space.axes()) {
      if (axis.pointer == pointer) {
        varies = true;
        for (const Json& value : axis.values) {
          add(kind, value.as_text(), pointer);
        }
      }
    }
    if (!varies) {
      add(kind, *id, pointer);
    }
  }
  return text;
}

/// The command line that runs the same points of the scenario saved beside the report.
std::string command_of(const SweepArguments& arguments) {
  std::string text = "moesim sweep scenario.json";
  for (const std::string& varied : arguments.varied) {
    text += " --vary '" + varied + "'";
  }
  text += arguments.zip ? " --zip" : "";
  text += arguments.random > 0 ? " --random " + std::to_string(arguments.random) : "";
  text += arguments.latin > 0 ? " --latin " + std::to_string(arguments.latin) : "";
  return text;
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "";
}

/// Opens the database and says how many points are done. Throws InputError when there are some and
/// nobody asked to go on.
std::uint64_t open_database(const SweepArguments& arguments, const SweepSpace& space,
                            const std::string& hashes, std::unique_ptr<ResultsDatabase>& database) {
  const bool existed = std::filesystem::exists(arguments.database);
  database = std::make_unique<ResultsDatabase>(arguments.database);
  const std::uint64_t done = database->begin_sweep(space, hashes);
  if (existed && done > 0 && !arguments.resume) {
    throw InputError(arguments.database, "",
                     "holds " + count_text(static_cast<double>(done)) + " of the " +
                         count_text(static_cast<double>(space.num_points())) +
                         " points of this sweep",
                     "add --resume to go on, or name a new file");
  }
  return done;
}

int sweep(const SweepArguments& arguments, const CommandContext& context) {
  const SweepFormat format = sweep_format_named(arguments.format);
  if (arguments.resume && arguments.database.empty()) {
    throw InputError("--resume", "", "there is nothing to go on from", "add --db FILE.sqlite");
  }
  const CardLibrary cards = CardLibrary::open(context.root);
  const NamedSpec base = spec_from(arguments.scenario, cards);
  const SweepSpace space = space_of(arguments, base.spec);
  const std::string hashes = card_hashes_of(space, cards, base.file);
  const MpiRank rank = arguments.mpi ? start_mpi() : MpiRank{};

  std::unique_ptr<ResultsDatabase> database;
  std::int64_t done = 0;
  std::optional<InputError> failure;
  if (rank.rank == 0 && !arguments.database.empty()) {
    try {
      done = static_cast<std::int64_t>(open_database(arguments, space, hashes, database));
    } catch (const InputError& error) {
      failure = error;
      done = -1;
    }
  }
  done = arguments.mpi ? from_first_rank(done) : done;
  if (failure) {
    throw *failure;
  }
  if (done < 0) {
    return 2;  // rank 0 says why
  }

  SweepOptions options;
  options.jobs = arguments.jobs > 0 ? arguments.jobs
                 : arguments.mpi    ? 1
                                    : tbb::info::default_concurrency();
  options.wants_scenarios = database != nullptr || (arguments.mpi && !arguments.database.empty());
  const PointEvaluator evaluator(space, cards, base.file, options.wants_scenarios);
  const std::vector<PointRange> chunks =
      sweep_chunks(space, static_cast<std::uint64_t>(done), options.jobs * rank.size);
  const auto start = std::chrono::steady_clock::now();
  ProgressBar progress(arguments.quiet || rank.rank != 0 ? nullptr : &context.err,
                       error_stream_is_terminal(), "points", space.num_points(),
                       static_cast<std::uint64_t>(done));
  if (database != nullptr) {
    database->begin_run(host_name(), options.jobs, rank.size);
  }
  SweepTable table;
  std::uint64_t finished = static_cast<std::uint64_t>(done);
  const ChunkSink sink = [&](SweepChunk&& chunk) {
    finished += chunk.rows.size();
    if (database != nullptr) {
      database->write(chunk);
    } else {
      append_chunk(table, space, std::move(chunk));
    }
    progress.advance_to(finished);
  };
  if (arguments.mpi) {
    run_sweep_mpi(evaluator, chunks, options, sink);
  } else {
    run_sweep(evaluator, chunks, options, sink);
  }
  if (rank.rank != 0) {
    return 0;
  }
  progress.finish();
  if (database != nullptr) {
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    database->end_run(seconds, finished - static_cast<std::uint64_t>(done));
    const bool wants_rows = !arguments.csv.empty() || !arguments.html.empty() || !arguments.quiet;
    table = wants_rows ? database->read(space) : SweepTable{};
  }
  if (!arguments.csv.empty()) {
    if (arguments.csv == "-") {
      context.out << sweep_csv(table);
    } else {
      write_text_file(arguments.csv, sweep_csv(table));
    }
  }
  if (!arguments.html.empty()) {
    write_text_file(arguments.html, html_sweep(table, base.spec, command_of(arguments)));
  }
  if (!arguments.quiet && arguments.csv != "-") {
    write_sweep(context.out, table, base.spec, format);
  }
  return 0;
}

}  // namespace

CommandBody define_sweep(CLI::App& app, const CommandContext& context) {
  auto arguments = std::make_shared<SweepArguments>();
  add_scenario_options(app, arguments->scenario);
  app.add_option("--vary", arguments->varied,
                 "a key and its values: /pointer=a,b,c or /pointer=lo:hi:n or "
                 "/pointer=log:lo:hi:n; repeat for more keys")
      ->type_name("POINTER=VALUES")
      ->allow_extra_args(false);
  app.add_flag("--zip", arguments->zip, "first values together, second ones together ...");
  app.add_option("--random", arguments->random, "so many random points of the space");
  app.add_option("--latin", arguments->latin, "so many points of a Latin hypercube");
  app.add_option("--jobs", arguments->jobs,
                 "workers; default: all cores, and one a rank with --mpi")
      ->check(CLI::Range(1, 4096));
  app.add_option("--db", arguments->database, "SQLite file that takes the results");
  app.add_flag("--resume", arguments->resume, "go on with what the database lacks");
  app.add_option("--csv", arguments->csv, "one line a point; - writes it to standard output");
  app.add_option("--html", arguments->html, "the answer with charts as one HTML file");
  app.add_option("--format", arguments->format, "of the answer: text, json, csv or markdown");
  app.add_flag("--mpi", arguments->mpi, "share the points over the ranks of mpirun or srun");
  app.add_flag("--quiet", arguments->quiet, "print nothing but errors");
  return [arguments, context] { return sweep(*arguments, context); };
}

}  // namespace moesim
