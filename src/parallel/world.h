#pragma once
// World: this process's place among the ranks of a run, and how a run ends. One object a process, made first
// and destroyed last; without mpirun it is a single rank and MPI is not touched.
//
//   int main() { return run_world({}, [](World& world) { ...; return 0; }); }
#include <functional>
#include <memory>

#include "base/error.h"
#include "parallel/comm.h"

namespace orrery {

class MpiEngine;

struct WorldOptions {
  double timeout_s = 600;  // of each wait for a collective
  int64_t max_message_bytes = int64_t{1}
                              << 30;  // larger pieces travel in several messages; results do not change
  int64_t round_bytes = 32 << 20;     // staging memory of one reduction; results do not change
};

class World {
 public:
  explicit World(WorldOptions options = {});
  // Waits for all ranks. While an exception unwinds it ends all ranks instead (prefer run_world, which knows
  // the exception's message). Comms made from it end with it.
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(node_of_.size()); }
  bool is_first() const { return rank_ == 0; }
  int local_rank() const;  // among the ranks of this node
  int local_size() const;
  int num_nodes() const;
  int node_of(int rank) const { return node_of_.at(rank); }

  Comm& comm() { return *comm_; }  // all ranks, host memory
  void set_step(int64_t step);     // named in messages about collectives
  void set_timeout(double seconds);

  // Prints the message once with the ranks that report it within a moment, and ends all ranks with the code
  // as the launcher's exit status. A cause (any other code) goes before its consequence (Exit::peer_lost).
  [[noreturn]] void abort(Exit code, const std::string& message) noexcept;

 private:
  int rank_ = 0;
  std::vector<int> node_of_ = {0};
  std::shared_ptr<MpiEngine> engine_;  // none without MPI
  std::unique_ptr<Comm> comm_;
  int exceptions_;  // under way at construction
};

// Makes a World, runs body and turns an exception into World::abort with its message and exit code.
// std::terminate and exit() on any rank end all ranks too.
int run_world(const WorldOptions& options, const std::function<int(World&)>& body);

std::string mpi_library_version();  // "Open MPI v4.1.4"; needs no World

// Exit code and text for an exception that nobody handled.
struct Ending {
  Exit code;
  std::string message;
};
Ending ending_of(std::exception_ptr exception);

}  // namespace orrery
