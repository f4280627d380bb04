// SPDX-License-Identifier: Apache-2.0
#include "sim/study/results_database.h"

#include <sqlite3.h>
#include <chrono>
#include <cmath>
#include <ctime>
#include <set>

#include "sim/base/text_hash.h"
#include "sim/run/version.h"

namespace moesim {
namespace {

constexpr int kFormat = 1;                // user_version of the file
constexpr int kApplication = 0x6d6f6573;  // "moes": application_id of the file

constexpr const char* kTables = R"(
CREATE TABLE IF NOT EXISTS results(
  key TEXT PRIMARY KEY NOT NULL, scenario TEXT NOT NULL, feasible INTEGER NOT NULL,
  simulated INTEGER NOT NULL, reasons TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sweeps(
  sweep TEXT PRIMARY KEY NOT NULL, definition TEXT NOT NULL, points INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS points(
  sweep TEXT NOT NULL, point INTEGER NOT NULL, key TEXT NOT NULL,
  PRIMARY KEY(sweep, point)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs(
  run INTEGER PRIMARY KEY, sweep TEXT NOT NULL, version TEXT NOT NULL, started TEXT NOT NULL,
  host TEXT NOT NULL, workers INTEGER NOT NULL, ranks INTEGER NOT NULL, seconds REAL,
  points INTEGER);
)";

class Statement {
 public:
  Statement(sqlite3* database, const std::string& path, const std::string& sql)
      : database_(database), path_(path) {
    check(sqlite3_prepare_v2(database, sql.c_str(), -1, &statement_, nullptr));
  }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  ~Statement() { sqlite3_finalize(statement_); }

  void bind(int index, const std::string& text) {
    sqlite3_bind_text(statement_, index, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
  }
  void bind(int index, std::int64_t value) { sqlite3_bind_int64(statement_, index, value); }
  void bind(int index, double value) {
    if (std::isnan(value)) {
      sqlite3_bind_null(statement_, index);
    } else {
      sqlite3_bind_double(statement_, index, value);
    }
  }
  /// True while there is a row.
  bool step() {
    const int code = sqlite3_step(statement_);
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
      check(code);
    }
    return code == SQLITE_ROW;
  }
  void run() {
    step();
    sqlite3_reset(statement_);
  }
  std::string text(int column) const {
    const unsigned char* text = sqlite3_column_text(statement_, column);
    return text == nullptr ? "" : reinterpret_cast<const char*>(text);
  }
  std::int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  double number(int column) const {
    return sqlite3_column_type(statement_, column) == SQLITE_NULL
               ? std::nan("")
               : sqlite3_column_double(statement_, column);
  }

 private:
  void check(int code) const {
    if (code != SQLITE_OK) {
      throw InputError(path_, "", std::string("SQLite: ") + sqlite3_errmsg(database_),
                       code == SQLITE_FULL || code == SQLITE_IOERR
                           ? "free some space, then go on with --resume"
                           : "name a results database that no other sweep is writing, or a new "
                             "file");
    }
  }

  sqlite3* database_;
  const std::string& path_;
  sqlite3_stmt* statement_ = nullptr;
};

std::string quoted(const std::string& name) {
  std::string text = "\"";
  for (const char c : name) {
    text += c == '"' ? "\"\"" : std::string(1, c);
  }
  return text + "\"";
}

}  // namespace

struct ResultsDatabase::State {
  std::string path;
  sqlite3* database = nullptr;
  std::string sweep;
  std::set<std::string> columns;            // of results
  std::vector<std::string> insert_columns;  // figures of the prepared statement
  std::unique_ptr<Statement> insert_result;
  std::unique_ptr<Statement> insert_point;
  std::int64_t run = 0;

  ~State() {
    insert_result.reset();
    insert_point.reset();
    sqlite3_close(database);
  }

  void execute(const std::string& sql) const {
    char* message = nullptr;
    if (sqlite3_exec(database, sql.c_str(), nullptr, nullptr, &message) != SQLITE_OK) {
      const std::string text = message == nullptr ? "failed" : message;
      sqlite3_free(message);
      throw InputError(path, "", "SQLite: " + text,
                       "name a results database that no other sweep is writing, or a new file");
    }
  }

  std::int64_t pragma(const std::string& name) const {
    Statement statement(database, path, "PRAGMA " + name);
    return statement.step() ? statement.integer(0) : 0;
  }

  void list_columns() {
    Statement statement(database, path, "PRAGMA table_info(results)");
    while (statement.step()) {
      columns.insert(statement.text(1));
    }
  }

  /// Figures are few and rows many: the statement is prepared again only when columns change.
  void prepare(const std::vector<std::string>& names) {
    if (insert_result != nullptr && names == insert_columns) {
      return;
    }
    for (const std::string& name : names) {
      if (columns.insert(name).second) {
        execute("ALTER TABLE results ADD COLUMN " + quoted(name) + " REAL");
      }
    }
    std::string sql = "INSERT OR IGNORE INTO results(key,scenario,feasible,simulated,reasons";
    std::string places = "?,?,?,?,?";
    for (const std::string& name : names) {
      sql += "," + quoted(name);
      places += ",?";
    }
    insert_result = std::make_unique<Statement>(database, path, sql + ") VALUES(" + places + ")");
    insert_columns = names;
  }
};

ResultsDatabase::ResultsDatabase(const std::string& path) : state_(std::make_unique<State>()) {
  state_->path = path;
  const int code = sqlite3_open_v2(path.c_str(), &state_->database,
                                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  if (code != SQLITE_OK) {
    throw InputError(path, "", std::string("cannot be opened: ") + sqlite3_errmsg(state_->database),
                     "name a file in a folder that may be written");
  }
  sqlite3_busy_timeout(state_->database, 5000);
  Statement tables(state_->database, path, "SELECT count(*) FROM sqlite_master");
  const bool is_new = tables.step() && tables.integer(0) == 0;
  if (!is_new && state_->pragma("application_id") != kApplication) {
    throw InputError(path, "", "is a database of another program", "name a new file");
  }
  if (!is_new && state_->pragma("user_version") != kFormat) {
    throw InputError(path, "", "was written by another version of this program", "name a new file");
  }
  while (tables.step()) {
  }
  state_->execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;");
  if (is_new) {
    // One transaction: a kill leaves an empty file or a whole one.
    state_->execute("BEGIN; PRAGMA application_id=" + std::to_string(kApplication) +
                    "; PRAGMA user_version=" + std::to_string(kFormat) + ";" + kTables + "COMMIT;");
  }
  state_->list_columns();
}

ResultsDatabase::~ResultsDatabase() = default;

std::uint64_t ResultsDatabase::begin_sweep(const SweepSpace& space,
                                           const std::string& card_hashes) {
  const std::string definition = space.definition();
  state_->sweep = hash_text(text_hash(version_text() + "\n" + card_hashes + "\n" + definition));
  Statement insert(state_->database, state_->path, "INSERT OR IGNORE INTO sweeps VALUES(?,?,?)");
  insert.bind(1, state_->sweep);
  insert.bind(2, definition);
  insert.bind(3, static_cast<std::int64_t>(space.num_points()));
  insert.run();
  state_->insert_point = std::make_unique<Statement>(state_->database, state_->path,
                                                     "INSERT OR IGNORE INTO points VALUES(?,?,?)");
  Statement count(state_->database, state_->path, "SELECT count(*) FROM points WHERE sweep=?");
  count.bind(1, state_->sweep);
  return count.step() ? static_cast<std::uint64_t>(count.integer(0)) : 0;
}

void ResultsDatabase::write(const SweepChunk& chunk) {
  state_->execute("BEGIN IMMEDIATE");
  try {
    state_->prepare(chunk.columns);
    Statement& result = *state_->insert_result;
    Statement& point = *state_->insert_point;
    for (const SweepRow& row : chunk.rows) {
      result.bind(1, row.key);
      result.bind(2, row.scenario);
      result.bind(3, static_cast<std::int64_t>(row.feasible));
      result.bind(4, static_cast<std::int64_t>(row.simulated));
      result.bind(5, row.reasons);
      for (std::size_t i = 0; i < row.figures.size(); ++i) {
        result.bind(static_cast<int>(i) + 6, row.figures[i]);
      }
      result.run();
      point.bind(1, state_->sweep);
      point.bind(2, static_cast<std::int64_t>(row.point));
      point.bind(3, row.key);
      point.run();
    }
    state_->execute("COMMIT");
  } catch (const InputError&) {
    sqlite3_exec(state_->database, "ROLLBACK", nullptr, nullptr, nullptr);
    throw;
  }
}

SweepTable ResultsDatabase::read(const SweepSpace& space) const {
  SweepTable table;
  Statement names(state_->database, state_->path, "PRAGMA table_info(results)");
  std::string figures;
  while (names.step()) {
    const std::string name = names.text(1);
    if (names.integer(0) >= 5) {
      table.columns.push_back(name);
      figures += ",r." + quoted(name);
    }
  }
  for (const SweepAxis& axis : space.axes()) {
    table.pointers.push_back(axis.pointer);
  }
  Statement select(state_->database, state_->path,
                   "SELECT p.point,p.key,r.scenario,r.feasible,r.simulated,r.reasons" + figures +
                       " FROM points p JOIN results r ON r.key=p.key WHERE p.sweep=?"
                       " ORDER BY p.point");
  select.bind(1, state_->sweep);
  while (select.step()) {
    SweepRow row;
    row.point = static_cast<std::uint64_t>(select.integer(0));
    row.key = select.text(1);
    row.scenario = select.text(2);
    row.feasible = select.integer(3) != 0;
    row.simulated = select.integer(4) != 0;
    row.reasons = select.text(5);
    for (std::size_t c = 0; c < table.columns.size(); ++c) {
      row.figures.push_back(select.number(static_cast<int>(c) + 6));
    }
    table.varied.push_back(space.values(row.point));
    table.rows.push_back(std::move(row));
  }
  return table;
}

void ResultsDatabase::begin_run(const std::string& host, int workers, int ranks) {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc{};
  gmtime_r(&now, &utc);
  char started[32];
  std::strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", &utc);
  const std::string when = started;
  const std::string version = version_text();
  Statement insert(state_->database, state_->path,
                   "INSERT INTO runs(sweep,version,started,host,workers,ranks) "
                   "VALUES(?,?,?,?,?,?)");
  insert.bind(1, state_->sweep);
  insert.bind(2, version);
  insert.bind(3, when);
  insert.bind(4, host);
  insert.bind(5, static_cast<std::int64_t>(workers));
  insert.bind(6, static_cast<std::int64_t>(ranks));
  insert.run();
  state_->run = sqlite3_last_insert_rowid(state_->database);
}

void ResultsDatabase::end_run(double seconds, std::uint64_t points) {
  Statement update(state_->database, state_->path,
                   "UPDATE runs SET seconds=?, points=? WHERE run=?");
  update.bind(1, seconds);
  update.bind(2, static_cast<std::int64_t>(points));
  update.bind(3, state_->run);
  update.run();
}

}  // namespace moesim
