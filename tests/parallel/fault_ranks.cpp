// The program that tests/parallel/fault_test.cpp runs under mpirun: fault_ranks MODE RANK. All ranks work
// through collectives; rank RANK fails in the way MODE names. Time-out of collectives: 2 s.
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <thread>

#include "parallel/world.h"

namespace orrery {
namespace {

void say_when(std::string_view mode) {
  if (mode == "none") return;
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::cout << std::fixed << "failing at " << now << std::endl;
}

void misbehave(World& world, std::string_view mode) {
  Comm& comm = world.comm();
  if (mode == "throw") throw Error("frame 12 of clip.mp4 cannot be decoded", Exit::bad_data);
  if (mode == "throw_unknown") throw 42;
  if (mode == "throw_in_thread")
    std::thread([] { throw Error("worker met a bad file", Exit::bad_data); }).join();
  if (mode == "throw_with_work_under_way") {
    at::Tensor a = at::zeros({1000}, at::kFloat), b = a.clone();
    const Work first = comm.all_reduce(a, ReduceOp::sum, "gradients 1");
    throw Error("loss is not finite", Exit::bad_data);
  }
  if (mode == "exit") std::exit(7);
  if (mode == "exit_0") std::exit(0);
  if (mode == "kill") ::raise(SIGKILL);
  if (mode == "segfault") ::raise(SIGSEGV);
  if (mode == "stop") ::raise(SIGSTOP);
  if (mode == "sleep") std::this_thread::sleep_for(std::chrono::seconds(60));
  if (mode == "other_collective") comm.barrier("epoch").wait();
  if (mode == "other_size")
    comm.all_reduce(at::zeros({999}, at::kFloat), ReduceOp::sum, "gradients 1").wait();
}

int body(World& world, std::string_view mode, int culprit) {
  Comm& comm = world.comm();
  const auto half = comm.split(world.rank() / 2, 0, "half");
  for (int64_t step = 0; step < 3; ++step) {
    world.set_step(step);
    at::Tensor x = at::full({100000}, 1.0, at::kFloat);
    comm.all_reduce(x, ReduceOp::sum, "gradients 0").wait();
    half->all_reduce(x, ReduceOp::max, "norm").wait();
  }
  if (world.rank() == culprit) say_when(mode);
  if (mode == "all_throw") throw Error("train.lr = fast is not a number", Exit::bad_input);
  if (mode == "return") return world.rank() == culprit ? 0 : (comm.barrier("checkpoint").wait(), 0);
  if (world.rank() == culprit) misbehave(world, mode);
  comm.all_reduce(at::zeros({1000}, at::kFloat), ReduceOp::sum, "gradients 1").wait();
  return 0;
}

}  // namespace
}  // namespace orrery

int main(int, char** argv) {
  using namespace orrery;
  const std::string mode = argv[1];
  const int culprit = std::atoi(argv[2]);
  if (mode == "throw_past_world") {
    try {
      World world({.timeout_s = 2});
      if (world.rank() == culprit) say_when(mode);
      if (world.rank() == culprit) throw Error("past the World", Exit::bad_data);
      world.comm().barrier("wait").wait();
    } catch (const Error& e) {
      std::cerr << e.what() << std::endl;
    }
    return 1;
  }
  return run_world({.timeout_s = 2}, [&](World& world) { return body(world, mode, culprit); });
}
