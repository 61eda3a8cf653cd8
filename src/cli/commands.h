#pragma once
// The subcommands of the program, one src/cli/NAME.cpp each: they read their arguments and call the library.
#include <string>
#include <vector>

#include "base/error.h"

namespace orrery::cli {

// arguments: what stands behind the subcommand's name. Errors are thrown.
Exit run_bench(const std::vector<std::string>& arguments);
Exit run_ckpt(const std::vector<std::string>& arguments);
Exit run_demo_data(const std::vector<std::string>& arguments);
Exit run_doctor(const std::vector<std::string>& arguments);
Exit run_generate(const std::vector<std::string>& arguments);
Exit run_metrics(const std::vector<std::string>& arguments);
Exit run_plan(const std::vector<std::string>& arguments);
Exit run_parity(const std::vector<std::string>& arguments);
Exit run_encode(const std::vector<std::string>& arguments);
Exit run_forward(const std::vector<std::string>& arguments);
Exit run_tokenize(const std::vector<std::string>& arguments);
Exit run_train(const std::vector<std::string>& arguments);
Exit run_version(const std::vector<std::string>& arguments);

}  // namespace orrery::cli
