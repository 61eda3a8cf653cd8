// What nccl_comm refuses where it cannot work; the collectives themselves: comm_nccl_test.cpp.
#include <ATen/Context.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "parallel/comm_nccl.h"

namespace orrery {

TEST(NcclRefusal, names_what_is_missing_where_there_is_no_gpu) {
  if (at::hasCUDA()) GTEST_SKIP() << "this machine has a GPU";
  World world;
  EXPECT_THAT([&] { nccl_comm(world, world.comm(), at::Device(at::kCUDA, 0)); },
              testing::ThrowsMessage<Error>(
                  testing::AllOf(testing::HasSubstr("collectives of world on cuda:0: "),
                                 testing::AnyOf(testing::HasSubstr("built without CUDA"),
                                                testing::HasSubstr("this rank sees 0 GPUs")))));
}

}  // namespace orrery
