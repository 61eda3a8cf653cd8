// The Wan2.1 autoencoder with the rows of its pictures spread over GPUs gives what one GPU gives.
#include "base/error.h"
#include "model/wan_tokenizer.h"
#include "model/wan_vae_net.h"
#include "parallel/nccl_fixture.h"
#include "parallel/row_exchange.h"
#include "relative_error.h"

namespace orrery {
namespace {

using test::relative_error;

std::unique_ptr<WanVae> network(at::ScalarType type, at::Device device) {
  auto net = test::random_vae(type, 32);
  for (Parameter* p : net->parameters()) p->variable().set_value(p->value().to(device));
  return net;
}

using WanVaeRowsNccl = NcclTest;

TEST_F(WanVaeRowsNccl, every_gpu_gets_the_whole_that_one_gives) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const WanTokenizer alone(network(type, device()), {.encode = 8, .decode = 2}),
        together(network(type, device()), {.encode = 8, .decode = 2}, row_exchange(nccl()));
    const at::Tensor film = (Rng(6, "bytes").uniform_tensor({1, 3, 9, 120, 64}) * 256)
                                .to(at::kByte)
                                .to(device());  // 15 rows: uneven
    const at::Tensor latents = alone.encode(film);
    EXPECT_LT(relative_error(together.encode(film), latents), type == at::kFloat ? 1e-5 : 2e-2) << type;
    const at::Tensor off = (together.decode(latents).to(at::kInt) - alone.decode(latents).to(at::kInt)).abs();
    EXPECT_LE(off.max().item<int>(), type == at::kFloat ? 1 : 8) << type;
    EXPECT_LT(off.to(at::kDouble).mean().item<double>(), type == at::kFloat ? 1e-2 : 0.5) << type;
  }
}

}  // namespace
}  // namespace orrery
