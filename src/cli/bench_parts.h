#pragma once
// What the parts of orrery bench share, and the parts that have a file of their own.
#include <string>
#include <vector>

#include "base/config.h"
#include "cli/commands.h"
#include "cli/options.h"

namespace orrery::cli {

constexpr const char* kJsonHelp = "file that one line of JSON is added to; empty: none";

void bind_shape(Settings& s, std::string& shape);
// Error: a text that is no shape.
void apply_shape(const std::string& text, DataConfig& data);
// check_config, but for the films, which are not there.
void check_bench(Config config);
void add_line(const std::string& file, const std::string& line);

Exit run_bench_film(const std::vector<std::string>& arguments);
Exit run_bench_vae(const std::vector<std::string>& arguments);

}  // namespace orrery::cli
