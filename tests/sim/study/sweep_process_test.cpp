// SPDX-License-Identifier: Apache-2.0
// The program as a process: killed at random moments, and over the ranks of an MPI job, a sweep
// leaves the same database content.
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "sim/base/json.h"
#include "sim/base/random.h"

namespace moesim {
namespace {

std::string temporary(const std::string& name) {
  const std::string path = ::testing::TempDir() + "/" + name;
  for (const char* suffix : {"", "-wal", "-shm"}) {
    std::filesystem::remove(path + suffix);
  }
  return path;
}

/// Every row of every table without clock and host, as text.
std::string content(const std::string& path) {
  sqlite3* database = nullptr;
  EXPECT_EQ(sqlite3_open_v2(path.c_str(), &database, SQLITE_OPEN_READWRITE, nullptr), SQLITE_OK);
  std::string text;
  for (const char* sql :
       {"SELECT * FROM results ORDER BY key", "SELECT * FROM points ORDER BY sweep,point",
        "SELECT * FROM sweeps ORDER BY sweep", "PRAGMA table_info(results)"}) {
    sqlite3_exec(
        database, sql,
        [](void* out, int count, char** values, char**) {
          for (int i = 0; i < count; ++i) {
            *static_cast<std::string*>(out) += values[i] == nullptr ? "-" : values[i];
            *static_cast<std::string*>(out) += i + 1 < count ? '|' : '\n';
          }
          return 0;
        },
        &text, nullptr);
  }
  sqlite3_close(database);
  return text;
}

int count_lines(const std::string& text) {
  return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

pid_t start(std::vector<std::string> words) {
  std::vector<char*> argv;
  for (std::string& word : words) {
    argv.push_back(word.data());
  }
  argv.push_back(nullptr);
  pid_t child = 0;
  EXPECT_EQ(posix_spawnp(&child, argv[0], nullptr, nullptr, argv.data(), environ), 0);
  return child;
}

int finish(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

std::vector<std::string> sweep(const std::string& database) {
  return {MOESIM_PROGRAM,
          "sweep",
          std::string(MOESIM_SOURCE_DIR) + "/scenarios/mixtral_8x7b_h100.json",
          "--vary",
          "/workload/batch_per_gpu=1:250:250",
          "--vary",
          "/parallelism/tensor=1,2,3,4",
          "--vary",
          "/routing/sigma=0,0.5",
          "--db",
          database,
          "--resume",
          "--quiet"};
}

/// Rows of the sweep that a database holds so far.
int points_in(const std::string& path) {
  sqlite3* database = nullptr;
  int count = 0;
  if (sqlite3_open_v2(path.c_str(), &database, SQLITE_OPEN_READWRITE, nullptr) == SQLITE_OK) {
    sqlite3_exec(
        database, "SELECT count(*) FROM points",
        [](void* out, int, char** values, char**) {
          *static_cast<int*>(out) = std::atoi(values[0]);
          return 0;
        },
        &count, nullptr);
  }
  sqlite3_close(database);
  return count;
}

/// 10,000 points whose skewed routings differ, so that each costs a compiled deployment.
std::vector<std::string> long_sweep(const std::string& database) {
  return {MOESIM_PROGRAM,
          "sweep",
          std::string(MOESIM_SOURCE_DIR) + "/scenarios/mixtral_8x7b_h100.json",
          "--vary",
          "/routing/sigma=0.001:1:500",
          "--vary",
          "/workload/batch_per_gpu=1:20:20",
          "--db",
          database,
          "--resume",
          "--quiet"};
}

TEST(SweepProcess, KilledTwentyTimesAtRandomMomentsAndResumedLeavesTheSameContent) {
  const std::string whole = temporary("whole.sqlite");
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(finish(start(long_sweep(whole))), 0);
  const double length =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const std::string expected = content(whole);
  constexpr int kPoints = 10000;  // each a row of points, and of results as all differ
  ASSERT_EQ(points_in(whole), kPoints);
  ASSERT_GT(count_lines(expected), 2 * kPoints);

  const std::string killed = temporary("killed.sqlite");
  RandomStream random(11, "kill");
  // Twenty lives of at most an eleventh of the sweep each. What a life had begun when it was
  // killed, and its start-up, are lost, so that the twentieth kill still finds a process at work.
  constexpr int kKills = 20;
  int lives_that_wrote = 0;
  for (int i = 0; i < kKills; ++i) {
    const int before = points_in(killed);
    const pid_t child = start(long_sweep(killed));
    std::this_thread::sleep_for(std::chrono::duration<double>(random.uniform() * length / 11.0));
    kill(child, SIGKILL);
    ASSERT_TRUE(WIFSIGNALED(finish(child))) << "kill " << i << " came after the end";
    lives_that_wrote += points_in(killed) > before ? 1 : 0;
  }
  EXPECT_GE(lives_that_wrote, 3);
  EXPECT_LT(points_in(killed), kPoints);
  ASSERT_EQ(finish(start(long_sweep(killed))), 0);
  EXPECT_EQ(content(killed), expected);
}

TEST(SweepProcess, TwoMpiRanksLeaveTheSameContent) {
  if (std::system("command -v mpirun > /dev/null 2>&1") != 0) {
    GTEST_SKIP() << "mpirun is not installed (Debian: openmpi-bin)";
  }
  const std::string alone = temporary("alone.sqlite");
  ASSERT_EQ(finish(start(sweep(alone))), 0);
  const std::string shared = temporary("shared.sqlite");
  std::vector<std::string> words = sweep(shared);
  words.push_back("--mpi");
  const std::vector<std::string> launcher = {"mpirun", "--allow-run-as-root", "--oversubscribe",
                                             "-np", "2"};
  words.insert(words.begin(), launcher.begin(), launcher.end());
  if (finish(start(words)) != 0) {
    // A build without MPI refuses the option; anything else is a failure.
    std::vector<std::string> plain = sweep(temporary("refused.sqlite"));
    plain.push_back("--mpi");
    std::string line;
    for (const std::string& word : plain) {
      line += "'" + word + "' ";
    }
    const std::string said = ::testing::TempDir() + "/refused.txt";
    (void)!std::system((line + "2> '" + said + "'").c_str());
    const std::string text = read_text_file(said, 1 << 16);
    ASSERT_NE(text.find("this build has no MPI"), std::string::npos) << text;
    GTEST_SKIP() << text;
  }
  EXPECT_EQ(content(shared), content(alone));
}

}  // namespace
}  // namespace moesim
