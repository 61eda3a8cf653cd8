// The program: picks the subcommand and turns exceptions into one message and an exit code.
#include <c10/core/InferenceMode.h>

#include <array>
#include <iostream>

#include "base/error.h"
#include "base/numerics.h"
#include "base/version.h"
#include "cli/commands.h"
#include "parallel/world.h"

namespace {

using orrery::Exit;

struct Command {
  std::string_view name, summary;
  Exit (*run)(const std::vector<std::string>& arguments);
};

constexpr std::array kCommands = {
    Command{"train", "train a model on films", orrery::cli::run_train},
    Command{"encode", "encode the films of a run once, for training to read", orrery::cli::run_encode},
    Command{"generate", "make films with a trained model", orrery::cli::run_generate},
    Command{"metrics", "measure how close films are to the true ones", orrery::cli::run_metrics},
    Command{"plan", "say what memory and time a configuration takes", orrery::cli::run_plan},
    Command{"bench", "time the training step and its operations", orrery::cli::run_bench},
    Command{"ckpt", "look into, verify, convert, compare, merge and prune weights and checkpoints",
            orrery::cli::run_ckpt},
    Command{"parity", "compare modules with golden cases", orrery::cli::run_parity},
    Command{"forward", "run a module on tensors from a file", orrery::cli::run_forward},
    Command{"tokenize", "give the token ids of texts", orrery::cli::run_tokenize},
    Command{"demo-data", "render films of a small physical scene to train on", orrery::cli::run_demo_data},
    Command{"doctor", "check the machine and say how to mend it", orrery::cli::run_doctor},
    Command{"version", "print the version and what the program was built with", orrery::cli::run_version},
};

void print_usage(std::ostream& out) {
  out << "orrery " << orrery::version() << ": trains and samples video world models\n\n"
      << "usage: orrery SUBCOMMAND [arguments]      (orrery SUBCOMMAND --help tells more)\n\n";
  for (const auto& command : kCommands) {
    out << "  " << command.name << std::string(12 - command.name.size(), ' ') << command.summary << "\n";
  }
}

Exit run(const std::vector<std::string>& words) {
  const std::string name = words.empty() ? "" : words.front();
  if (name == "--help" || name == "-h" || name == "help") {
    print_usage(std::cout);
    return Exit::done;
  }
  const std::string canonical = name == "--version" ? "version" : name;
  for (const auto& command : kCommands) {
    if (command.name == canonical) return command.run({words.begin() + 1, words.end()});
  }
  if (!name.empty()) std::cerr << "orrery: unknown subcommand \"" << name << "\"\n\n";
  print_usage(std::cerr);
  return Exit::bad_input;
}

}  // namespace

int main(int argc, char** argv) {
  const c10::InferenceMode inference;
  orrery::forbid_reduced_precision();
  try {
    return static_cast<int>(run({argv + 1, argv + argc}));
  } catch (...) {
    const orrery::Ending ending = orrery::ending_of(std::current_exception());
    std::cerr << "orrery: " << ending.message << "\n";
    return static_cast<int>(ending.code);
  }
}
