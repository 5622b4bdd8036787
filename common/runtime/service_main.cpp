#include "common/runtime/service_main.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <iostream>

#include "common/observability/http.h"
#include "common/runtime/clock.h"
#include "common/runtime/load_config.h"
#include "common/runtime/version.h"

namespace gema::runtime {
namespace {

struct Options {
  std::string config_file;
  std::string data_dir = "var";
  std::string instance;
  bool check_config = false;
  bool print_config = false;
};

// Names a process, a file and a socket: nothing that could leave the directory.
bool is_instance_name(const std::string& name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  };
  return !name.empty() && name.size() <= 32 && std::all_of(name.begin(), name.end(), allowed);
}

Result<void> make_directories(const Environment& environment) {
  ::umask(0077);
  for (const auto& dir :
       {environment.common.run_dir(), environment.state_dir(), environment.spool_dir()}) {
    std::error_code error;
    std::filesystem::create_directories(dir, error);
    if (error) {
      return Error{Errc::kPermanent,
                   fmt::format("cannot make the directory {}: {}", dir.string(), error.message())};
    }
  }
  return {};
}

// One process of a name in a data directory: two would share a spool, and the second would take the
// first one's sockets over without a word. The kernel releases the lock with the process.
Result<void> take_lock(const Environment& environment) {
  const auto path = environment.common.run_dir() / (environment.instance + ".lock");
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    return Error{Errc::kPermanent,
                 fmt::format("cannot open {}: {}", path.string(), std::strerror(errno))};
  }
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd);
    return Error{Errc::kPermanent, fmt::format("another {} runs here already (it holds {})",
                                               environment.instance, path.string())};
  }
  return {};  // held until the process ends
}

int serve(const Options& options, const ServiceHooks& hooks, const config::Common& common) {
  const std::string instance = options.instance.empty() ? hooks.name : options.instance;
  obs::log_setup(instance, common.log_level);
  std::signal(SIGPIPE, SIG_IGN);  // hiredis and libpq write to sockets that may be gone
  Loop loop;
  obs::Metrics metrics(hooks.name);
  obs::Health health;
  health.set_waiting("start", "not started yet");  // or /readyz would say "ready" until start() ran
  const Environment environment{instance, common, loop, metrics, health};
  auto fail = [&](const Error& error) {
    std::cerr << fmt::format("gema-{}: {}\n", instance, error.message);
    return 2;
  };
  if (auto made = make_directories(environment); !made) return fail(made.error());
  if (auto locked = take_lock(environment); !locked) return fail(locked.error());
  auto server = obs::HealthServer::start((common.run_dir() / (instance + ".http.sock")).string(),
                                         health, metrics);
  if (!server) return fail(server.error());
  obs::log_info("starting", {{"version", kVersion}, {"pid", static_cast<int>(getpid())}});
  if (auto started = hooks.start(environment); !started) {
    hooks.stop();
    return fail(started.error());
  }
  health.clear_waiting("start");
  loop.run([&](Now now) {
    (*server)->beat(now.mono);
    auto wakeup = hooks.turn(now);
    // A quiet process still beats, so that a hang can be told from idleness.
    const MonoTime beat_by = now.mono + 2s;
    return wakeup && *wakeup < beat_by ? wakeup : std::optional(beat_by);
  });
  obs::log_info("stopping");
  hooks.stop();
  obs::log_info("stopped");
  return 0;
}

}  // namespace

int run_service(int argc, char** argv, const ServiceHooks& hooks) {
  Options options;
  CLI::App cli(fmt::format("gema-{}: {}.", hooks.name, hooks.summary));
  cli.add_option("--config", options.config_file,
                 "Configuration file. Default: DIR/gema.yaml, if there is one.");
  cli.add_option("--data-dir", options.data_dir, "Directory of everything Gema keeps (DIR).")
      ->capture_default_str();
  cli.add_option("--instance", options.instance,
                 "Name of this process where there are several, such as prober-2.");
  cli.add_flag("--check-config", options.check_config,
               "Say what is wrong with the configuration, and stop. Exit code 2 if anything is.");
  cli.add_flag("--print-config", options.print_config,
               "Print the configuration in force, secrets masked, and stop.");
  cli.set_version_flag("--version", fmt::format("gema-{} {}", hooks.name, kVersion));
  try {
    cli.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return cli.exit(e) == 0 ? 0 : 2;
  }
  if (!options.instance.empty() && !is_instance_name(options.instance)) {
    std::cerr << fmt::format(
        "gema-{}: --instance = {}: must be 1 to 32 of a-z, 0-9 and \"-\", such as prober-2\n",
        hooks.name, options.instance);
    return 2;
  }
  config::Common common;
  common.data_dir = options.data_dir;
  std::vector<config::Spec> specs = config::Common::describe(common);
  specs.push_back(*hooks.own);
  if (!load_config(fmt::format("gema-{}", hooks.name), options.config_file, common, specs))
    return 2;
  if (options.print_config) {
    std::cout << config::print(specs);
    return 0;
  }
  if (options.check_config) {
    std::cout << fmt::format("gema-{}: the configuration is good\n", hooks.name);
    return 0;
  }
  return serve(options, hooks, common);
}

}  // namespace gema::runtime
