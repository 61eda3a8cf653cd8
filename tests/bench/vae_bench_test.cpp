#include "bench/vae_bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "one_thread.h"

namespace orrery {
namespace {

TEST(VaeBench, times_both_directions_layer_by_layer) {
  const test::OneThread guard;
  Config c;
  c.data.frames = 5;
  c.data.height = 16;
  c.data.width = 24;
  c.tokenizer.width = 4;
  c.tokenizer.dtype = Dtype::float32;
  c.tokenizer.encode_window = 4;
  World world;
  const VaeBench bench = bench_vae(c, world, {.warm_up = 0, .repeats = 2});
  for (const VaeFigures* figures : {&bench.encode, &bench.decode}) {
    EXPECT_EQ(figures->ms.size(), 2U);
    EXPECT_GT(figures->median_ms(), 0);
    EXPECT_LE(total_ms(figures->rows), figures->profiled_ms);
    EXPECT_GT(figures->peak_bytes, bench.weight_bytes);
    EXPECT_GT(figures->remembered_bytes, 0);
  }
  const auto row = [](const VaeFigures& figures, const std::string& label) {
    const auto found = std::find_if(figures.rows.begin(), figures.rows.end(),
                                    [&](const auto& r) { return r.label == label; });
    return found == figures.rows.end() ? TimeRow{} : *found;
  };
  // One frame, then four: 2 * 27 * 4 * 4 FLOPs a pixel.
  const TimeRow conv = row(bench.encode, "encoder.downsamples.0.residual.2.conv3d");
  EXPECT_EQ(conv.calls, 2);
  EXPECT_EQ(conv.flops, 2.0 * 27 * 4 * 4 * 5 * 16 * 24);
  EXPECT_GT(row(bench.decode, "decoder.middle.1.attention").flops, 0);
  EXPECT_THAT(describe(bench, 100), testing::HasSubstr("decoder.upsamples.14.residual.6.conv3d"));
  const auto json = nlohmann::json::parse(json_of(bench));
  EXPECT_EQ(json["encode"]["ms"].size(), 2U);
  EXPECT_EQ(json["decode"]["rows"].size(), bench.decode.rows.size());
}

}  // namespace
}  // namespace orrery
