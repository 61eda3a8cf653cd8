#include "cli/same_run.h"

#include <algorithm>
#include <array>
#include <sstream>

#include "base/error.h"
#include "cli/options.h"

namespace orrery::cli {
namespace {

// Sections and keys that leave the run what it is, up to the order of sums.
constexpr std::array<std::string_view, 4> kFreeSections = {"parallel.", "memory.", "ckpt.", "sample."};
constexpr std::array<std::string_view, 14> kFreeKeys = {
    "train.steps", "train.micro_batch", "train.run_dir", "train.resume", "train.log_every",
    "data.max_bad_fraction", "data.workers", "data.prefetch", "numerics.device", "numerics.reduce_dtype",
    "numerics.deterministic", "numerics.tune",
    // A digest of the weights is compared (infer/make_tokenizer.h).
    "tokenizer.weights", "tokenizer.decode_window"};

bool is_free(const std::string& key) {
  return std::any_of(kFreeSections.begin(), kFreeSections.end(),
                     [&](std::string_view section) { return key.starts_with(section); }) ||
         std::find(kFreeKeys.begin(), kFreeKeys.end(), key) != kFreeKeys.end();
}

}  // namespace

void require_same_run(const std::string& stored, Config config) {
  Config before;
  const Settings was = settings_of(before), is = settings_of(config);
  std::istringstream text(stored);
  read_ini(text, "settings of the checkpoint", was);
  for (const Setting& row : is.all()) {
    const std::string old = was.find(row.key)->show();
    require(is_free(row.key) || row.show() == old, row.key, ": got \"", row.show(),
            "\", but the checkpoint that this run would go on from has \"", old,
            "\" (restore the setting, or start another run with ckpt.load and another train.run_dir)");
  }
}

}  // namespace orrery::cli
