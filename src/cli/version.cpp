// orrery version: what the program is and what it was built with.
#include "base/version.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <iostream>

#include "cli/commands.h"
#include "cli/options.h"

namespace orrery::cli {
namespace {

std::string cuda() {
  if (at::globalContext().hasCUDA()) return at::detail::getCUDAHooks().showConfig();  // asks the driver
  return at::detail::getCUDAHooks().hasCUDART() ? "in this build, but no usable GPU here"
                                                : "not in this build";
}

}  // namespace

Exit run_version(const std::vector<std::string>& arguments) {
  const Usage usage = {.command = "version",
                       .summary = "prints the program's version and what it was built with."};
  if (parse_arguments(arguments, {}, usage).help) {
    std::cout << help_text({}, usage);
    return Exit::done;
  }
  std::cout << "orrery " << version() << "\n"
            << "commit    " << git_commit() << "\n"
            << "build     " << build_type() << ", g++ " << __VERSION__ << "\n"
            << "LibTorch  " << libtorch_version() << " (CPU kernels: " << at::get_cpu_capability() << ")\n"
            << "CUDA      " << cuda() << "\n";
  return Exit::done;
}

}  // namespace orrery::cli
