// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/router_program.h"

#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <mutex>

#include "sim/base/error.h"
#include "sim/base/json.h"

extern char** environ;

namespace moesim {
namespace {

constexpr std::size_t kLongestAnswer = 256u << 20;

}  // namespace

LineProgram::LineProgram(std::vector<std::string> command) : command_(std::move(command)) {
  MOESIM_CHECK(!command_.empty(), "a program has a name");
  int ends[2];
  // A socket rather than two pipes: writing to a program that has ended is then an error, not a
  // signal.
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw InputError(command_[0], "", "cannot be started: " + std::string(std::strerror(errno)));
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  std::vector<char*> arguments;
  for (std::string& word : command_) {
    arguments.push_back(word.data());
  }
  arguments.push_back(nullptr);
  pid_t process = -1;
  const int error =
      posix_spawnp(&process, command_[0].c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    throw InputError(command_[0], "", "cannot be started: " + std::string(std::strerror(error)));
  }
  socket_ = ends[0];
  process_ = process;
}

LineProgram::~LineProgram() {
  shutdown(socket_, SHUT_WR);
  close(socket_);
  for (int i = 0; i < 100; ++i) {
    int status = 0;
    if (waitpid(process_, &status, WNOHANG) != 0) {
      return;
    }
    const timespec pause = {0, 10000000};
    nanosleep(&pause, nullptr);
  }
  kill(process_, SIGKILL);
  int status = 0;
  waitpid(process_, &status, 0);
}

std::string LineProgram::ask(std::string_view line, double timeout_s) {
  std::string request(line);
  request += '\n';
  std::size_t sent = 0;
  const auto fail = [&](const std::string& what) {
    throw InputError(command_[0], "", what, "a program that answers each line with one line");
  };
  while (true) {
    if (sent == request.size()) {
      const std::size_t end = received_.find('\n');
      if (end != std::string::npos) {
        std::string answer = received_.substr(0, end);
        received_.erase(0, end + 1);
        return answer;
      }
    }
    pollfd waiting = {.fd = socket_,
                      .events = static_cast<short>(POLLIN | (sent < request.size() ? POLLOUT : 0)),
                      .revents = 0};
    const int ready = poll(&waiting, 1, static_cast<int>(timeout_s * 1e3));
    if (ready == 0) {
      fail("does not answer");
    }
    if (ready < 0) {
      if (errno == EINTR) {
        continue;
      }
      fail("cannot be reached");
    }
    if ((waiting.revents & POLLOUT) != 0 && sent < request.size()) {
      const ssize_t n =
          send(socket_, request.data() + sent, request.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n > 0) {
        sent += static_cast<std::size_t>(n);
      } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        fail("ended before its answer");
      }
    }
    if ((waiting.revents & (POLLIN | POLLHUP)) != 0) {
      char piece[65536];
      const ssize_t n = recv(socket_, piece, sizeof piece, MSG_DONTWAIT);
      if (n > 0) {
        received_.append(piece, static_cast<std::size_t>(n));
        if (received_.size() > kLongestAnswer) {
          fail("answers too much");
        }
      } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        fail("ended before its answer");
      }
    }
  }
}

namespace {

class ProgramRouter final : public Router {
 public:
  explicit ProgramRouter(const RouterOptions& options)
      : options_(options), program_(options.command) {}

  RoutedTokens route(const GateScores& scores, std::uint64_t draw) const override {
    Json request = Json::object();
    request.set("schema", "moesim/router/1");
    request.set("tokens", scores.tokens);
    request.set("experts", static_cast<std::int64_t>(scores.experts));
    request.set("top_k", options_.top_k);
    request.set("draw", draw);
    Json ids = Json::array();
    Json logits = Json::array();
    for (std::int64_t t = 0; t < scores.tokens; ++t) {
      ids.push_back(scores.token_ids[static_cast<std::size_t>(t)]);
      Json row = Json::array();
      for (const double x : scores.row(t)) {
        row.push_back(x);
      }
      logits.push_back(std::move(row));
    }
    request.set("token_ids", std::move(ids));
    request.set("logits", std::move(logits));
    std::string answer;
    {
      const std::lock_guard lock(mutex_);  // one conversation at a time
      answer = program_.ask(request.dump(-1));
    }
    return read_answer(parse_json(answer, options_.command[0]), scores);
  }

 private:
  RoutedTokens read_answer(const Json& answer, const GateScores& scores) const {
    const auto fail = [&](const std::string& pointer, const std::string& problem) {
      throw InputError(options_.command[0], pointer, problem,
                       "allowed: {\"experts\": [[...], ...]}, a list of at most top_k different "
                       "experts per token");
    };
    const Json* sets = answer.find("experts");
    if (sets == nullptr || !sets->is_array() ||
        static_cast<std::int64_t>(sets->items().size()) != scores.tokens) {
      fail("/experts", "is no list of " + std::to_string(scores.tokens) + " lists");
    }
    RoutedTokens routed{.width = static_cast<std::int32_t>(options_.top_k)};
    const std::size_t width = static_cast<std::size_t>(options_.top_k);
    routed.sets.assign(static_cast<std::size_t>(scores.tokens) * width, -1);
    for (std::size_t t = 0; t < sets->items().size(); ++t) {
      const Json& set = sets->items()[t];
      const std::string at = "/experts/" + std::to_string(t);
      if (!set.is_array() || set.items().size() > width) {
        fail(at, "is no list of at most " + std::to_string(width) + " experts");
      }
      for (std::size_t j = 0; j < set.items().size(); ++j) {
        const Json& cell = set.items()[j];
        if (!cell.is_integer() || cell.as_integer() < 0 || cell.as_integer() >= scores.experts) {
          fail(at + "/" + std::to_string(j), "is no expert");
        }
        const std::int16_t e = static_cast<std::int16_t>(cell.as_integer());
        const auto first = routed.sets.begin() + static_cast<std::ptrdiff_t>(t * width);
        if (std::find(first, first + static_cast<std::ptrdiff_t>(j), e) !=
            first + static_cast<std::ptrdiff_t>(j)) {
          fail(at + "/" + std::to_string(j), "repeats an expert of this token");
        }
        routed.sets[t * width + j] = e;
      }
    }
    return routed;
  }

  RouterOptions options_;
  mutable std::mutex mutex_;
  mutable LineProgram program_;
};

}  // namespace

std::unique_ptr<Router> make_program_router(const RouterOptions& options) {
  return std::make_unique<ProgramRouter>(options);
}

}  // namespace moesim
