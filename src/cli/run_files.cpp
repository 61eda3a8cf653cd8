#include "cli/run_files.h"

#include <unistd.h>

#include <chrono>
#include <ctime>
#include <filesystem>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "base/version.h"
#include "ckpt/atomic_file.h"
#include "cli/options.h"

namespace orrery::cli {
namespace {

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::ostringstream text;
  text << std::put_time(&parts, "%Y-%m-%dT%H:%M:%SZ");
  return text.str();
}

std::string host_name() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

}  // namespace

void open_run_folder(const TrainConfig& config) {
  const std::filesystem::path folder = config.run_dir, metrics = folder / "metrics.jsonl";
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  require(!error && access(folder.c_str(), W_OK) == 0, "train.run_dir: ", folder.string(),
          " cannot be written (", error ? error.message() : "permission denied", ")");
  const bool used = std::filesystem::exists(metrics) && std::filesystem::file_size(metrics) > 0;
  require(config.resume != "never" || !used, "train.run_dir: ", folder.string(),
          " holds an earlier run and train.resume is never: choose another folder, or go on with "
          "train.resume=auto");
}

void write_run_files(const Config& config, const std::vector<std::string>& arguments, int64_t ranks) {
  Config copy = config;
  const std::filesystem::path folder = config.train.run_dir;
  write_whole(folder / "config.ini", "# orrery " + std::string(version()) + ", commit " +
                                         std::string(git_commit()) + "\n\n" + ini_of(settings_of(copy)));
  const nlohmann::ordered_json run = {
      {"version", version()},      {"commit", git_commit()}, {"libtorch", libtorch_version()},
      {"seed", config.train.seed}, {"ranks", ranks},         {"host", host_name()},
      {"started", utc_now()},      {"arguments", arguments}};
  // Arguments and host names may hold any bytes: those that are no UTF-8 are replaced.
  write_whole(folder / "run.json", run.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace orrery::cli
