#pragma once
// One NCCL communicator of all ranks for a suite of tests, which are skipped where GPUs are fewer than ranks.
#include <ATen/Context.h>
#include <c10/cuda/CUDAFunctions.h>
#include <gtest/gtest.h>

#include "parallel/comm_nccl.h"
#include "world.h"

namespace orrery {

class NcclTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    World& world = test_world();
    const auto gpus = static_cast<int>(at::getNumGPUs());
    if (world.size() < 2 || gpus < world.local_size()) return;
    device_ = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(world.local_rank()));
    c10::cuda::set_device(device_.index());
    nccl_ = nccl_comm(world, world.comm(), device_);
  }
  static void TearDownTestSuite() { nccl_.reset(); }
  void SetUp() override {
    if (!nccl_)
      GTEST_SKIP() << "fewer GPUs than ranks: " << at::getNumGPUs() << " for " << test_world().local_size();
  }

  static Comm& mpi() { return test_world().comm(); }
  static Comm& nccl() { return *nccl_; }
  static int rank() { return nccl_->rank(); }
  static int size() { return nccl_->size(); }
  static at::Device device() { return device_; }
  static at::TensorOptions on_device(at::ScalarType dtype) { return at::TensorOptions(device_).dtype(dtype); }

 private:
  static inline at::Device device_ = at::kCUDA;
  static inline std::unique_ptr<Comm> nccl_;
};

}  // namespace orrery
