// The table of modules. An explicit list: objects that registered themselves would be dropped from a static
// library.
#include "parity/dit.h"
#include "parity/ops.h"
#include "parity/registry.h"

namespace orrery {

std::span<const CaseModule> case_modules() {
  static constexpr CaseModule modules[] = {
      {"dit", run_dit},
      {"op_rope", run_op_rope},
      {"op_patchify", run_op_patchify},
      {"op_timestep_embed", run_op_timestep_embed},
      {"op_adaln", run_op_adaln},
      {"op_gated_add", run_op_gated_add},
      {"op_rms_norm", run_op_rms_norm},
      {"op_attention", run_op_attention},
      {"op_attention_jvp", run_op_attention_jvp},
  };
  return modules;
}

CaseRunner find_case_module(std::string_view name) {
  for (const CaseModule& module : case_modules())
    if (module.name == name) return module.run;
  return nullptr;
}

}  // namespace orrery
