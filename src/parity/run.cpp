#include "parity/run.h"

#include <ATen/Context.h>
#include <c10/util/Exception.h>

#include <cstdio>
#include <ostream>

#include "ckpt/safetensors.h"
#include "parity/compare.h"
#include "parity/registry.h"

namespace orrery {
namespace {

at::Device device_named(const std::string& name) {
  require(name == "cpu" || name == "cuda", "device is '", name, "', wanted cpu or cuda");
  require(name == "cpu" || at::hasCUDA(),
          "device cuda: this program is built without CUDA, or there is no GPU");
  return name == "cpu" ? at::Device(at::kCPU) : at::Device(at::kCUDA, 0);
}

NamedTensors run_case(const Case& c, at::Device device) {
  const CaseRunner run = find_case_module(c.module);
  require(run != nullptr, "unknown module '", c.module, "'");
  return run(c, device);
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

// Name widths are those of the longest golden cases; longer names push their line to the right.
std::string row(const std::string& name, const std::string& module, const std::string& dtype,
                const std::string& tensor, const std::string& error, const std::string& tolerance,
                const char* verdict) {
  char line[1024];
  std::snprintf(line, sizeof line, "%-40s %-22s %-9s %-46s %9s %9s  %s\n", name.c_str(), module.c_str(),
                dtype.c_str(), tensor.c_str(), error.c_str(), tolerance.c_str(), verdict);
  return line;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2e", value);
  return text;
}

std::string dtype_name(at::ScalarType type) {
  return type == at::kBFloat16 ? "bfloat16" : type == at::kDouble ? "float64" : "float32";
}

bool report(const Case& c, const std::vector<Comparison>& all, bool list_all, std::ostream& out) {
  const Comparison& w = worst(all);
  out << row(c.name, c.module, dtype_name(c.dtype), w.name, number(w.error), number(w.tolerance),
             w.passed ? "PASS" : "FAIL");
  for (const Comparison& entry : all)
    if (list_all || !entry.passed)
      out << "    " << (entry.passed ? "ok    " : "FAILED") << ' ' << entry.name << ": error "
          << number(entry.error) << ", tolerance " << number(entry.tolerance)
          << (entry.problem.empty() ? "" : ", ") << entry.problem << '\n';
  return w.passed;
}

bool check_case(const Case& c, at::Device device, bool list_all, std::ostream& out) {
  std::string problem;
  try {
    return report(c, compare(c, run_case(c, device)), list_all, out);
  } catch (const c10::Error& error) {
    problem = error.what_without_backtrace();
  } catch (const std::exception& error) {
    problem = error.what();
  }
  out << row(c.name, c.module, dtype_name(c.dtype), "-", "-", "-", "FAIL") << "    " << first_line(problem)
      << '\n';
  return false;
}

}  // namespace

Exit run_parity(const ParityOptions& options, std::ostream& out) {
  require(!options.files.empty(), "parity: no files given");
  const at::Device device = device_named(options.device);
  out << row("case", "module", "dtype", "worst tensor", "error", "tolerance", "");
  int passed = 0, failed = 0;
  bool broken = false;
  for (const auto& file : options.files) {
    std::optional<Case> c;
    try {
      c = load_case(file);
    } catch (const Error& error) {
      broken = true;
      out << row(file.stem().string(), "-", "-", "-", "-", "-", "FAIL") << "    broken file: " << error.what()
          << '\n';
    }
    const bool good = c && check_case(*c, device, options.list_all, out);
    ++(good ? passed : failed);
    out.flush();
  }
  out << passed << " passed, " << failed << " failed\n";
  return broken ? Exit::bad_input : failed > 0 ? Exit::failure : Exit::done;
}

void run_forward(const ForwardOptions& options, std::ostream& out) {
  const at::Device device = device_named(options.device);
  const Case c = load_forward_case(options.input);
  NamedTensors named;
  for (const auto& [name, tensor] : run_case(c, device)) {
    const bool has_section = name.starts_with("grads.") || name.starts_with("input_grads.") ||
                             name.starts_with("output_tangents.");
    named.emplace(has_section ? name : "outputs." + name, tensor);
  }
  save_safetensors(options.output, named,
                   {{"module", c.module}, {"config", c.config.dump()}, {"dtype", dtype_name(c.dtype)}});
  for (const auto& [key, tensor] : named)
    out << key << ' ' << tensor.scalar_type() << ' ' << tensor.sizes() << '\n';
}

}  // namespace orrery
