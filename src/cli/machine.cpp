#include "cli/machine.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "base/version.h"
#include "ckpt/hdf5_version.h"
#include "media/codecs.h"
#include "parallel/world.h"

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;

// The value behind "name :" in a file of such lines, as in /proc; empty: none.
std::string field(const fs::path& file, const std::string& name) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(':');
    if (!line.starts_with(name) || colon == std::string::npos) continue;
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return {};
}

bool has_word(const std::string& text, const std::string& word) {
  return (" " + text + " ").find(" " + word + " ") != std::string::npos;
}

// A limit that the container sets, or the machine's own figure. cgroup v2, then v1.
int64_t limited(int64_t machine, const char* v2, const char* v1) {
  for (const char* file : {v2, v1}) {
    std::ifstream in(file);
    int64_t value = 0;
    if (in >> value && value > 0) return std::min(machine, value);
  }
  return machine;
}

void look_at_processor(MachineFacts& facts) {
  facts.cpu = field("/proc/cpuinfo", "model name");
  const std::string flags = field("/proc/cpuinfo", "flags");
  facts.avx2 = has_word(flags, "avx2");
  facts.avx512 = has_word(flags, "avx512f");
  facts.bf16 = has_word(flags, "avx512_bf16") || has_word(flags, "amx_bf16");
  cpu_set_t set;
  CPU_ZERO(&set);
  facts.cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN);
  facts.threads = at::get_num_threads();
}

int64_t kilobytes(const std::string& text) {
  std::istringstream in(text);
  int64_t number = 0;
  in >> number;
  return number * 1024;
}

void look_at_memory(MachineFacts& facts) {
  facts.memory_bytes = limited(kilobytes(field("/proc/meminfo", "MemTotal")), "/sys/fs/cgroup/memory.max",
                               "/sys/fs/cgroup/memory/memory.limit_in_bytes");
  facts.memory_free_bytes = std::min(facts.memory_bytes, kilobytes(field("/proc/meminfo", "MemAvailable")));
  std::error_code error;
  const auto space = fs::space("/dev/shm", error);
  facts.shared_memory_bytes = error ? 0 : static_cast<int64_t>(space.capacity);
}

int64_t soft_limit(__rlimit_resource resource) {
  rlimit limit{};
  getrlimit(resource, &limit);
  return limit.rlim_cur == RLIM_INFINITY ? -1 : static_cast<int64_t>(limit.rlim_cur);
}

void look_at_gpus(MachineFacts& facts) {
  std::error_code error;
  for (const auto& gpu : fs::directory_iterator("/proc/driver/nvidia/gpus", error)) {
    facts.gpus.push_back(field(gpu.path() / "information", "Model"));
  }
  std::ifstream version("/proc/driver/nvidia/version");
  std::getline(version, facts.driver);
  facts.cuda_build = at::globalContext().hasCUDART();
  facts.cuda_devices = at::globalContext().hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0;
}

bool in_path(const std::string& program) {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (access((fs::path(folder) / program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

void look_at_libraries(MachineFacts& facts) {
  facts.libtorch = libtorch_version();
  facts.mpi = mpi_library_version();
  facts.has_mpirun = in_path("mpirun") || in_path("srun");
  facts.hdf5 = hdf5_version();
  facts.ffmpeg = ffmpeg_version();
  for (const std::string codec : {"h264", "hevc", "av1", "vp9"}) {
    if (!has_video_decoder(codec)) facts.missing_codecs.push_back(codec + " decoder");
  }
  if (!has_video_encoder("libx264")) facts.missing_codecs.push_back("libx264 encoder");
}

void look_at_folder(MachineFacts& facts, const fs::path& run_dir) {
  std::error_code error;
  facts.run_dir = fs::absolute(run_dir, error);
  while (!fs::exists(facts.run_dir, error) && facts.run_dir.has_relative_path()) {
    facts.run_dir = facts.run_dir.parent_path();
  }
  const fs::path probe = facts.run_dir / text_of(".orrery-doctor-", getpid());
  facts.run_dir_writable = std::ofstream(probe).put('x').flush().good();
  fs::remove(probe, error);
  const auto space = fs::space(facts.run_dir, error);
  facts.run_dir_free_bytes = error ? 0 : static_cast<int64_t>(space.available);
}

}  // namespace

MachineFacts look_at_machine(const fs::path& run_dir) {
  MachineFacts facts;
  look_at_processor(facts);
  look_at_memory(facts);
  facts.open_files = soft_limit(RLIMIT_NOFILE);
  facts.locked_bytes = soft_limit(RLIMIT_MEMLOCK);
  std::error_code error;
  facts.has_infiniband = fs::exists("/sys/class/infiniband", error);
  look_at_gpus(facts);
  look_at_libraries(facts);
  look_at_folder(facts, run_dir);
  return facts;
}

}  // namespace orrery::cli
