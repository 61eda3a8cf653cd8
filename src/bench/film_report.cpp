#include <algorithm>

#include "base/columns.h"
#include "base/error.h"
#include "bench/film_bench.h"
#include "bench/time_table.h"
#include "bench/train_bench.h"
#include "flow/sampler.h"
#include "infer/world_model.h"

namespace orrery {

std::string describe(const FilmBench& b, int64_t rows) {
  const Config& c = b.config;
  const auto [least, most] = std::minmax_element(b.step_ms.begin(), b.step_ms.end());
  const int64_t steps = flow::steps_of_levels(c.sample.sigmas, c.sample.steps);
  const double film_s = 1e-3 * b.median_ms() * static_cast<double>(steps);
  const double waits = waiting_ms(b.rows);
  return text_of(c.model.preset, ": a film of ", c.data.frames, " x ", c.data.height, " x ", c.data.width,
                 " (", tokens_of_clip(c), " tokens, ", text_tokens(c), " of text), ",
                 name_of(c.numerics.dtype), ", ", name_of(c.sample.sampler), ", guidance ", c.sample.guidance,
                 ", ", b.ranks, b.ranks == 1 ? " rank" : " ranks", ": ", b.context,
                 " share the frames, branches ", b.options.branches == 2 ? "at once" : "one after the other",
                 "\n  step, median ", fixed(b.median_ms(), 2), " ms (", fixed(*least, 2), " to ",
                 fixed(*most, 2), ") of ", b.step_ms.size(), ", slowest rank; ", steps,
                 " of them: ", fixed(film_s, 1),
                 " s without encoding and decoding\n  rank 0: ", fixed(1e-12 * b.flops(), 2),
                 " TFLOP of products and attention a step, ", fixed(1e-9 * b.flops() / b.median_ms(), 1),
                 " TFLOP/s; waits for collectives ", fixed(waits, 2), " ms\n") +
         time_table(b.rows, text_of("step (", fixed(b.profiled_ms, 2), " ms)"), rows);
}

std::string json_of(const FilmBench& b) {
  const Config& c = b.config;
  const nlohmann::ordered_json json = {
      {"preset", c.model.preset},
      {"frames", c.data.frames},
      {"height", c.data.height},
      {"width", c.data.width},
      {"tokens_of_clip", tokens_of_clip(c)},
      {"dtype", name_of(c.numerics.dtype)},
      {"device", name_of(c.numerics.device)},
      {"tune", c.numerics.tune},
      {"sampler", name_of(c.sample.sampler)},
      {"guidance", c.sample.guidance},
      {"ranks", b.ranks},
      {"context", b.context},
      {"branches", b.options.branches},
      {"step_ms", b.step_ms},
      {"median_ms", b.median_ms()},
      {"steps_of_film", flow::steps_of_levels(c.sample.sigmas, c.sample.steps)},
      {"operation_flops", b.flops()},
      {"waiting_ms", waiting_ms(b.rows)},
      {"profiled_ms", b.profiled_ms},
      {"rows", json_of(b.rows)}};
  return json.dump();
}

}  // namespace orrery
