#pragma once
// Facts about the machine and the libraries that the program found on it. Gathered once by `orrery doctor`.
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace orrery::cli {

struct MachineFacts {
  std::string cpu;                                  // "AMD EPYC"
  int64_t cores = 0;                                // that this process may use
  int64_t threads = 0;                              // that LibTorch uses
  bool avx2 = false, avx512 = false, bf16 = false;  // bf16: AVX-512 or AMX instructions for bfloat16
  int64_t memory_bytes = 0, memory_free_bytes = 0;
  int64_t shared_memory_bytes = 0;  // of /dev/shm, which MPI ranks of one machine talk through
  int64_t open_files = 0;           // limit of this process
  int64_t locked_bytes = 0;         // the same; negative: no limit
  bool has_infiniband = false;
  std::vector<std::string> gpus;  // that the driver lists
  bool cuda_build = false;
  int64_t cuda_devices = 0;  // that this program can use
  std::string driver;        // of NVIDIA; empty: none
  std::string mpi, ffmpeg, hdf5, libtorch;
  bool has_mpirun = false;
  std::vector<std::string> missing_codecs;  // "h264 decoder", "libx264 encoder"
  std::filesystem::path run_dir;            // or its nearest existing parent
  bool run_dir_writable = false;
  int64_t run_dir_free_bytes = 0;
};

MachineFacts look_at_machine(const std::filesystem::path& run_dir);

}  // namespace orrery::cli
