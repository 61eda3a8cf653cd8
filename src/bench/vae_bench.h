#pragma once
// VaeBench: the Wan2.1 autoencoder on a made-up film, encode and decode timed as a tokenizer runs them, and
// then looked into, layer by layer against the least time that each could take. Weights are random. Several
// ranks share the rows of the film. Called by orrery bench vae.
#include "base/config.h"
#include "bench/device_rates.h"
#include "bench/label_times.h"
#include "model/wan_tokenizer.h"
#include "parallel/world.h"

namespace orrery {

struct VaeBenchOptions {
  int64_t warm_up = 1, repeats = 5;
};

// Encode or decode.
struct VaeFigures {
  std::vector<double> ms = {};     // of each timed call, on the slowest rank
  std::vector<TimeRow> rows = {};  // of one further call, on the first rank
  double profiled_ms = 0;          // of that call
  int64_t peak_bytes = 0;          // of tensors during the timed calls, weights too, on the first rank
  int64_t remembered_bytes = 0;    // frames that layers remember between windows; in the peak
  double median_ms() const;
  double flops() const;  // of the first rank: convolutions and attention
};

struct VaeBench {
  Config config;  // data: the film; tokenizer: width, type and windows; numerics: the device
  VaeBenchOptions options;
  int ranks = 1;
  int64_t weight_bytes = 0;
  DeviceRates rates = {};
  VaeFigures encode = {}, decode = {};
  // GPU: calls of convolutions by what ran them, and a line a kernel that was chosen.
  int64_t own = 0, fused = 0, plain = 0, refused = 0;
  std::string last_refusal = {};
  std::vector<std::string> engines = {};
};

// Collective.
VaeBench bench_vae(const Config& config, World& world, const VaeBenchOptions& options);

// Lines of text, at most `rows` rows for each direction; one line of JSON.
std::string describe(const VaeBench& bench, int64_t rows);
std::string json_of(const VaeBench& bench);

}  // namespace orrery
