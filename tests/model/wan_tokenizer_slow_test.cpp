#include <gtest/gtest.h>

#include "model/wan_tokenizer.h"
#include "model/wan_vae_net.h"
#include "one_thread.h"

namespace orrery {
namespace {

// The reference stops at 197 frames (a table of 50 latent frames).
TEST(WanTokenizer, films_of_any_length_pass) {
  const test::OneThread guard;
  const WanTokenizer tokenizer(test::random_vae(at::kFloat, 2), {});
  const at::Tensor latents =
      tokenizer.encode((Rng(6, "bytes").uniform_tensor({1, 3, 205, 8, 8}) * 256).to(at::kByte));
  EXPECT_EQ(latents.sizes(), (at::IntArrayRef{1, 16, 52, 1, 1}));
  EXPECT_EQ(tokenizer.decode(latents).sizes(), (at::IntArrayRef{1, 3, 205, 8, 8}));
}

}  // namespace
}  // namespace orrery
