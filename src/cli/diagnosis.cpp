#include "cli/diagnosis.h"

#include <cmath>

#include "base/error.h"

namespace orrery::cli {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20, kGiB = int64_t{1} << 30;

std::string gibibytes(int64_t bytes) {
  return text_of(std::round(static_cast<double>(bytes) / kGiB * 10) / 10, " GiB");
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

Finding processor(const MachineFacts& f) {
  const std::string vectors = f.avx512 ? "AVX-512" : f.avx2 ? "AVX2" : "no AVX2";
  const std::string found = text_of(f.cores, f.cores == 1 ? " core, " : " cores, ", vectors,
                                    f.bf16 ? ", bfloat16" : "", f.cpu.empty() ? "" : ", " + f.cpu);
  if (!f.avx2)
    return {Verdict::hint, "processor", found, "training on this processor is several times slower"};
  return {Verdict::ok, "processor", found, ""};
}

Finding threads(const MachineFacts& f) {
  const std::string found = text_of(f.threads, " a rank");
  if (f.threads > f.cores) {
    return {Verdict::hint, "threads", found,
            text_of("more than cores: set OMP_NUM_THREADS to ", f.cores, " or less")};
  }
  return {Verdict::ok, "threads", found, ""};
}

Finding memory(const MachineFacts& f) {
  const std::string found = gibibytes(f.memory_bytes) + ", " + gibibytes(f.memory_free_bytes) + " free";
  if (f.memory_bytes < kGiB)
    return {Verdict::missing, "memory", found, "at least 1 GiB is needed for the smallest model"};
  if (f.memory_free_bytes < 4 * kGiB) {
    return {Verdict::hint, "memory", found,
            "the quick start wants 4 GiB free: end other programs, or lower train.batch"};
  }
  return {Verdict::ok, "memory", found, ""};
}

Finding shared_memory(const MachineFacts& f) {
  const std::string found = gibibytes(f.shared_memory_bytes) + " in /dev/shm";
  if (f.shared_memory_bytes < 64 * kMiB) {
    return {Verdict::hint, "shared memory", found,
            "ranks of one machine talk through it: mount a larger tmpfs (docker run --shm-size=1g)"};
  }
  return {Verdict::ok, "shared memory", found, ""};
}

Finding limits(const MachineFacts& f) {
  const std::string locked = f.locked_bytes < 0 ? "any memory" : text_of(f.locked_bytes / kMiB, " MiB");
  const std::string files = f.open_files < 0 ? "any number of" : std::to_string(f.open_files);
  const std::string found = text_of(files, " open files, ", locked, " may be locked");
  if (f.open_files >= 0 && f.open_files < 1024) {
    return {Verdict::hint, "limits", found, "decoder threads and ranks need files: ulimit -n 4096"};
  }
  if (f.has_infiniband && f.locked_bytes >= 0 && f.locked_bytes < kGiB) {
    return {
        Verdict::hint, "limits", found,
        "InfiniBand registers memory: ulimit -l unlimited (in /etc/security/limits.conf, and for slurmd)"};
  }
  return {Verdict::ok, "limits", found, ""};
}

Finding gpus(const MachineFacts& f, Device device) {
  const Verdict bad = device == Device::cuda ? Verdict::missing : Verdict::hint;
  const std::string found = f.gpus.empty() ? "none" : joined(f.gpus);
  if (f.cuda_devices > 0) return {Verdict::ok, "GPUs", text_of(f.cuda_devices, " usable: ", found), ""};
  if (!f.gpus.empty() && !f.cuda_build) {
    return {bad, "GPUs", found, "this build has no CUDA: cmake --preset cuda && cmake --build --preset cuda"};
  }
  if (!f.gpus.empty()) {
    return {
        bad, "GPUs", found,
        text_of("the driver lists them but CUDA finds none (CUDA 13 wants driver 580 or newer): ", f.driver)};
  }
  if (device == Device::cuda) return {bad, "GPUs", found, "no NVIDIA driver lists a GPU: check nvidia-smi"};
  return {Verdict::ok, "GPUs", found + " (training runs on the processor)", ""};
}

Finding mpi(const MachineFacts& f) {
  if (!f.has_mpirun) {
    return {Verdict::hint, "MPI", f.mpi,
            "no mpirun in PATH, so only one rank can be started: apt install openmpi-bin"};
  }
  return {Verdict::ok, "MPI", f.mpi + " (try two ranks: mpirun -n 2 orrery doctor)", ""};
}

Finding films(const MachineFacts& f) {
  if (f.ffmpeg.empty()) {
    return {Verdict::missing, "FFmpeg", "not in this build", "configure without -DORRERY_FFMPEG=OFF"};
  }
  if (f.missing_codecs.empty()) {
    return {Verdict::ok, "FFmpeg", f.ffmpeg + ", reads h264 hevc av1 vp9, writes h264 by libx264", ""};
  }
  bool needed = false;
  for (const auto& codec : f.missing_codecs)
    needed |= codec.starts_with("h264") || codec.starts_with("libx264");
  return {needed ? Verdict::missing : Verdict::hint, "FFmpeg",
          f.ffmpeg + ", lacks: " + joined(f.missing_codecs),
          "install an FFmpeg with these codecs (Debian's libavcodec59 has all)"};
}

Finding folder(const MachineFacts& f) {
  const std::string found = f.run_dir.string() + ", " + gibibytes(f.run_dir_free_bytes) + " free";
  if (!f.run_dir_writable)
    return {Verdict::missing, "run folder", found, "you may not write there: choose another train.run_dir"};
  if (f.run_dir_free_bytes < kGiB) {
    return {Verdict::hint, "run folder", found,
            "checkpoints of the tiny model take about 100 MiB each, of 2b 30 GiB: make room"};
  }
  return {Verdict::ok, "run folder", found, ""};
}

}  // namespace

std::vector<Finding> diagnose(const MachineFacts& facts, Device device) {
  return {processor(facts),
          threads(facts),
          memory(facts),
          shared_memory(facts),
          limits(facts),
          gpus(facts, device),
          mpi(facts),
          films(facts),
          {Verdict::ok, "HDF5", facts.hdf5, ""},
          {Verdict::ok, "LibTorch", facts.libtorch, ""},
          folder(facts)};
}

}  // namespace orrery::cli
