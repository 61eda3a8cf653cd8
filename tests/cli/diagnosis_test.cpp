#include "cli/diagnosis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace orrery::cli {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

MachineFacts good() {
  MachineFacts f;
  f.cpu = "Fast 9000";
  f.cores = 8;
  f.threads = 8;
  f.avx2 = f.avx512 = f.bf16 = true;
  f.memory_bytes = 64 * kGiB;
  f.memory_free_bytes = 32 * kGiB;
  f.shared_memory_bytes = 32 * kGiB;
  f.open_files = 4096;
  f.locked_bytes = -1;
  f.mpi = "Open MPI v4.1.4";
  f.ffmpeg = "5.1.9";
  f.hdf5 = "1.10.8";
  f.libtorch = "2.11.0";
  f.has_mpirun = true;
  f.run_dir = "/runs";
  f.run_dir_writable = true;
  f.run_dir_free_bytes = 100 * kGiB;
  return f;
}

Finding finding(const std::vector<Finding>& all, const std::string& what) {
  for (const auto& one : all) {
    if (one.what == what) return one;
  }
  throw Error("no finding about " + what);
}

// The machine with one thing changed is judged so, and the way to mend it is told.
void expect(const std::string& what, Verdict verdict, const std::string& mend, Device device,
            const std::function<void(MachineFacts&)>& change) {
  MachineFacts facts = good();
  change(facts);
  const auto all = diagnose(facts, device);
  const Finding found = finding(all, what);
  EXPECT_EQ(found.verdict, verdict) << what << ": " << found.found;
  EXPECT_THAT(found.mend, testing::HasSubstr(mend));
  for (const auto& other : all) EXPECT_TRUE(other.what == what || other.verdict == Verdict::ok) << other.what;
}

TEST(Diagnosis, a_good_machine_needs_no_mending) {
  for (const auto& one : diagnose(good(), Device::cpu)) {
    EXPECT_EQ(one.verdict, Verdict::ok) << one.what;
    EXPECT_EQ(one.mend, "");
    EXPECT_NE(one.found, "");
  }
}

TEST(Diagnosis, what_a_run_needs_is_missing) {
  expect("memory", Verdict::missing, "1 GiB", Device::cpu, [](auto& f) { f.memory_bytes = kGiB / 2; });
  expect("FFmpeg", Verdict::missing, "ORRERY_FFMPEG", Device::cpu, [](auto& f) { f.ffmpeg = ""; });
  expect("FFmpeg", Verdict::missing, "install", Device::cpu,
         [](auto& f) { f.missing_codecs = {"libx264 encoder"}; });
  expect("FFmpeg", Verdict::missing, "install", Device::cpu,
         [](auto& f) { f.missing_codecs = {"h264 decoder"}; });
  expect("run folder", Verdict::missing, "train.run_dir", Device::cpu,
         [](auto& f) { f.run_dir_writable = false; });
  expect("GPUs", Verdict::missing, "nvidia-smi", Device::cuda, [](auto&) {});
  expect("GPUs", Verdict::missing, "preset cuda", Device::cuda, [](auto& f) { f.gpus = {"H100"}; });
}

TEST(Diagnosis, what_makes_a_run_worse_is_hinted_at) {
  expect("processor", Verdict::hint, "slower", Device::cpu, [](auto& f) { f.avx2 = f.avx512 = false; });
  expect("threads", Verdict::hint, "OMP_NUM_THREADS", Device::cpu, [](auto& f) { f.threads = 9; });
  expect("memory", Verdict::hint, "train.batch", Device::cpu, [](auto& f) { f.memory_free_bytes = kGiB; });
  expect("shared memory", Verdict::hint, "shm-size", Device::cpu,
         [](auto& f) { f.shared_memory_bytes = 1 << 20; });
  expect("limits", Verdict::hint, "ulimit -n", Device::cpu, [](auto& f) { f.open_files = 256; });
  expect("limits", Verdict::hint, "ulimit -l", Device::cpu, [](auto& f) {
    f.has_infiniband = true;
    f.locked_bytes = 8 << 20;
  });
  expect("MPI", Verdict::hint, "openmpi-bin", Device::cpu, [](auto& f) { f.has_mpirun = false; });
  expect("FFmpeg", Verdict::hint, "install", Device::cpu,
         [](auto& f) { f.missing_codecs = {"av1 decoder"}; });
  expect("run folder", Verdict::hint, "room", Device::cpu, [](auto& f) { f.run_dir_free_bytes = 0; });
  expect("GPUs", Verdict::hint, "preset cuda", Device::cpu, [](auto& f) { f.gpus = {"H100"}; });
  expect("GPUs", Verdict::hint, "driver", Device::cpu, [](auto& f) {
    f.gpus = {"H100"};
    f.cuda_build = true;
  });
}

TEST(Machine, facts_of_this_one_are_plausible) {
  const MachineFacts f = look_at_machine(testing::TempDir() + "not/yet/there");
  EXPECT_GE(f.cores, 1);
  EXPECT_GE(f.threads, 1);
  EXPECT_GT(f.memory_bytes, kGiB / 2);
  EXPECT_GT(f.memory_free_bytes, 0);
  EXPECT_LE(f.memory_free_bytes, f.memory_bytes);
  EXPECT_TRUE(f.run_dir_writable) << f.run_dir;
  EXPECT_GT(f.run_dir_free_bytes, 0);
  EXPECT_THAT(f.mpi, testing::HasSubstr("MPI"));
  EXPECT_THAT(f.hdf5, testing::StartsWith("1."));
  EXPECT_THAT(f.libtorch, testing::StartsWith("2."));
  EXPECT_FALSE(look_at_machine("/proc/self").run_dir_writable);
}

}  // namespace
}  // namespace orrery::cli
