// The program that fault_gpu_test.cpp runs under mpirun: nccl_fault_ranks MODE RANK. All ranks work through
// collectives on their GPUs; rank RANK fails in the way MODE names. Time-out of collectives: 2 s.
#include <ATen/Context.h>
#include <ATen/cuda/Sleep.h>
#include <ATen/ops/full.h>
#include <c10/cuda/CUDAFunctions.h>

#include <chrono>
#include <iostream>
#include <thread>

#include "parallel/comm_nccl.h"

namespace orrery {
namespace {

constexpr int64_t kMinuteOfCycles = int64_t{100} << 30;

void nap() {
  std::this_thread::sleep_for(std::chrono::seconds(60));
}

void say_now() {
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::cout << std::fixed << "failing at " << now << std::endl;
}

void misbehave(std::string_view mode, bool culprit, Comm& comm, at::Tensor& x) {
  if (mode == "slow") {  // in time, though earlier work takes longer than the time-out on all ranks
    at::cuda::sleep(int64_t{6} << 30);
    return;
  }
  if (culprit) say_now();
  if (mode == "late" && culprit) nap();
  if (mode == "gpu_held_up" && culprit) at::cuda::sleep(kMinuteOfCycles);
  if (mode == "throw" && culprit) {
    const Work work = comm.all_reduce(x, ReduceOp::sum, "gradients 1");
    throw Error("loss is not finite", Exit::bad_data);
  }
  if (mode == "throw") nap();
}

int body(World& world, std::string_view mode, int culprit) {
  const c10::InferenceMode inference;
  if (static_cast<int>(at::getNumGPUs()) < world.local_size()) {
    if (world.is_first()) std::cout << "fewer GPUs than ranks" << std::endl;
    return 0;
  }
  const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(world.local_rank()));
  c10::cuda::set_device(device.index());
  const auto comm = nccl_comm(world, world.comm(), device);
  at::Tensor x = at::full({100000}, 1.0, at::TensorOptions(device).dtype(at::kFloat));
  for (int64_t step = 0; step < 3; ++step) {
    world.set_step(step);
    comm->all_reduce(x, ReduceOp::mean, "gradients 0").wait();
    x.sum().item<float>();
  }
  misbehave(mode, world.rank() == culprit, *comm, x);
  comm->all_reduce(x, ReduceOp::sum, "gradients 1").wait();
  // The first use of min: CUDA may load its kernel now and hold a lock until the GPU has done what it has.
  return x.min().item<float>() == static_cast<float>(world.size()) ? 0 : 1;
}

}  // namespace
}  // namespace orrery

int main(int, char** argv) {
  using namespace orrery;
  const std::string mode = argv[1];
  const int culprit = std::atoi(argv[2]);
  return run_world({.timeout_s = 2}, [&](World& world) { return body(world, mode, culprit); });
}
