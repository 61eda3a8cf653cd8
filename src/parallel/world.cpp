#include "parallel/world.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <new>
#include <set>

#include "parallel/comm_mpi.h"

namespace orrery {
namespace {

// std::set_terminate and on_exit take plain functions, so the process's one World must be known to them.
std::atomic<World*> live_world = nullptr;

[[noreturn]] void on_terminate() {
  Ending ending{Exit::failure, "std::terminate was called"};
  if (const auto exception = std::current_exception()) ending = ending_of(exception);
  if (World* world = live_world) world->abort(ending.code, ending.message);
  std::cerr << "orrery: " << ending.message << std::endl;
  std::_Exit(static_cast<int>(ending.code));
}

// Without this the launcher would end the other ranks with a message that does not say why.
void on_early_exit(int status, void*) {
  World* world = live_world;
  if (!world) return;
  world->abort(status == 0 ? Exit::failure : static_cast<Exit>(status),
               text_of("exit(", status, ") was called before the end of the run"));
}

void install_handlers() {
  static const bool once = [] {
    std::set_terminate(on_terminate);
    return ::on_exit(on_early_exit, nullptr) == 0;
  }();
  static_cast<void>(once);
}

}  // namespace

World::World(WorldOptions options) : exceptions_(std::uncaught_exceptions()) {
  require(options.timeout_s > 0 && options.max_message_bytes > 0 && options.max_message_bytes <= INT32_MAX &&
              options.round_bytes > 0,
          "World: time-out ", options.timeout_s, " s, messages of ", options.max_message_bytes,
          " bytes, rounds of ", options.round_bytes, " bytes (wanted: positive; messages below 2^31)");
  World* none = nullptr;
  require(live_world.compare_exchange_strong(none, this), "a second World in one process");
  try {
    if (mpi::launched()) {
      const mpi::Layout layout = mpi::start();
      rank_ = layout.rank;
      node_of_ = layout.node_of;
      engine_ = std::make_shared<MpiEngine>(
          layout, EngineOptions{options.timeout_s, options.max_message_bytes, options.round_bytes});
      CommGroup all{.name = "world", .rank = rank_};
      for (int r = 0; r < size(); ++r) all.members.push_back(r);
      comm_ = std::make_unique<MpiComm>(engine_, std::move(all));
    } else {
      comm_ = single_rank_comm("world");
    }
  } catch (...) {
    live_world = nullptr;
    throw;
  }
  install_handlers();
}

World::~World() {
  if (engine_) {
    // Peers may wait for this rank in a collective that it will never join, and so would MPI_Finalize for
    // them.
    if (std::uncaught_exceptions() > exceptions_) abort(Exit::failure, "an exception left the life of World");
    try {
      engine_->wait_until_idle();
      comm_->barrier("end of the run").wait();
      engine_->stop();
      mpi::finish();
    } catch (const Error& e) {
      abort(e.code(), e.what());
    }
  }
  live_world = nullptr;
}

int World::local_size() const {
  return static_cast<int>(std::count(node_of_.begin(), node_of_.end(), node_of_[rank_]));
}

int World::local_rank() const {
  return static_cast<int>(std::count(node_of_.begin(), node_of_.begin() + rank_, node_of_[rank_]));
}

int World::num_nodes() const {
  return static_cast<int>(std::set<int>(node_of_.begin(), node_of_.end()).size());
}

void World::set_step(int64_t step) {
  if (engine_) engine_->set_step(step);
}

void World::set_timeout(double seconds) {
  require(seconds > 0, "time-out of collectives: ", seconds, " s (wanted: positive)");
  if (engine_) engine_->set_timeout(seconds);
}

void World::abort(Exit code, const std::string& message) noexcept {
  live_world = nullptr;  // the exit handler has nothing to add
  if (engine_) engine_->fail_all(code, message);
  std::cout << std::flush;
  std::cerr << "orrery: " << message << std::endl;
  std::_Exit(static_cast<int>(code));
}

std::string mpi_library_version() {
  return mpi::library_version();
}

Ending ending_of(std::exception_ptr exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& e) {
    return {e.code(), e.what()};
  } catch (const std::bad_alloc&) {
    return {Exit::out_of_memory, "out of memory"};
  } catch (const c10::OutOfMemoryError& e) {  // on a GPU
    return {Exit::out_of_memory, e.what_without_backtrace()};
  } catch (const c10::Error& e) {
    const std::string text = e.what_without_backtrace();
    const bool memory = text.find("not enough memory") != std::string::npos ||
                        text.find("can't allocate memory") != std::string::npos;
    return {memory ? Exit::out_of_memory : Exit::failure, text};
  } catch (const std::exception& e) {
    return {Exit::failure, e.what()};
  } catch (...) {
    return {Exit::failure, "unknown exception"};
  }
}

int run_world(const WorldOptions& options, const std::function<int(World&)>& body) {
  std::optional<World> world;
  try {
    world.emplace(options);
    return body(*world);
  } catch (...) {
    const Ending ending = ending_of(std::current_exception());
    if (world) world->abort(ending.code, ending.message);
    std::cerr << "orrery: " << ending.message << std::endl;
    return static_cast<int>(ending.code);
  }
}

}  // namespace orrery
