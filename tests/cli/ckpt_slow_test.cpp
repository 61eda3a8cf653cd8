// A file of the size and with the names of the released 2B model, its values made up, through import,
// resharding and export, and the memory that they take.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <set>

#include "base/error.h"
#include "base/rng.h"
#include "ckpt/key_rules.h"
#include "ckpt/row_parts.h"
#include "ckpt/weight_writer.h"
#include "cli/program.h"
#include "fixtures.h"
#include "model/presets.h"

namespace orrery::cli {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20, kGiB = int64_t{1} << 30;

// Of tests/keys/dit_2b.txt: "KEY 256x2048 bf16" lines.
std::vector<TensorSpec> released_tensors() {
  std::vector<TensorSpec> specs;
  std::ifstream in(ORRERY_SOURCE_DIR "/tests/keys/dit_2b.txt");
  for (std::string key, shape, dtype; in >> key >> shape >> dtype;) {
    TensorSpec spec{"net." + key, dtype == "int64" ? at::kLong : at::kBFloat16, {}};
    std::istringstream sizes(shape == "scalar" ? "" : shape);
    for (std::string size; std::getline(sizes, size, 'x');) spec.shape.push_back(std::stoll(size));
    specs.push_back(std::move(spec));
  }
  return specs;
}

// Row r of a tensor is a piece of one random block; which piece, its name and r say.
class MadeUpValues {
 public:
  at::Tensor rows(const TensorSpec& spec, RowRange rows) const {
    std::vector<int64_t> shape = spec.shape;
    if (!shape.empty()) shape[0] = rows.size();
    if (spec.dtype == at::kLong) return at::full(shape, 7, at::kLong);
    const int64_t row = row_elements(spec.shape);
    at::Tensor out = at::empty({rows.size(), row}, at::kBFloat16);
    const size_t name = std::hash<std::string>()(spec.name) % 65536;
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const int64_t shift = (static_cast<int64_t>(name) * 31 + r * 127) % kShifts;
      std::memcpy(static_cast<char*>(out[r - rows.begin].mutable_data_ptr()),
                  block_.const_data_ptr<at::BFloat16>() + shift, static_cast<size_t>(row) * 2);
    }
    return out.view(shape);
  }

 private:
  static constexpr int64_t kShifts = 100003, kLongestRow = int64_t{1} << 17;
  const at::Tensor block_ =
      Rng(1, "test.made_up").normal_elements(0, kShifts + kLongestRow).to(at::kBFloat16);
};

void write_model(const std::filesystem::path& path) {
  const MadeUpValues values;
  const auto writer = make_weight_writer(WeightFormat::pt, path, released_tensors());
  for (const TensorSpec& spec : writer->specs())
    for (const RowRange rows : row_parts(spec.shape, kPartElements)) writer->write(values.rows(spec, rows));
  writer->publish();
}

struct Ended {
  int code;            // -1: killed
  int64_t peak_bytes;  // largest resident memory
};

Ended in_child(const std::function<int()>& action) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(action());
  int status = 0;
  rusage usage{};
  if (::wait4(child, &status, 0, &usage) != child) return {-1, 0};
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, usage.ru_maxrss << 10};
}

Ended run_measured(std::vector<std::string> arguments) {
  return in_child([&] {
    std::vector<char*> words;
    std::string program = ORRERY_PROGRAM;
    words.push_back(program.data());
    for (std::string& argument : arguments) words.push_back(argument.data());
    words.push_back(nullptr);
    ::execv(words[0], words.data());
    return 127;
  });
}

// The rows that a rank of four trains, filled from the file; 0 if every value is right.
int load_shard(const std::filesystem::path& path, int rank, int64_t* bytes) {
  std::map<std::string, TensorSpec> specs;
  for (TensorSpec& spec : released_tensors()) specs.emplace(spec.name, spec);
  const DiT net(dit_preset("2b"));
  LoadRequest request;
  for (const Parameter* const p : net.parameters()) {
    std::vector<int64_t> shape = p->shape();
    const RowRange rows = shard_rows(shape[0], rank, 4);
    shape[0] = rows.size();
    request.parameters.push_back({p->key(), p->shape(), rows.begin, at::empty(shape, at::kBFloat16)});
    if (bytes) *bytes += static_cast<int64_t>(request.parameters.back().local.nbytes());
  }
  for (const Buffer* const b : net.buffers())
    request.buffers.push_back({b->key(), b->value().sizes().vec(), 0, at::empty_like(b->value())});
  if (bytes) return 0;
  load_shards(*open_weights(path), request);
  const MadeUpValues values;
  for (const ShardView& shard : request.parameters) {
    const TensorSpec& spec = specs.at("net." + shard.name);
    for (const RowRange part : row_parts(shard.local.sizes().vec(), kPartElements)) {
      const RowRange rows{shard.begin + part.begin, shard.begin + part.end};
      if (part.size() > 0 &&
          !at::equal(shard.local.narrow(0, part.begin, part.size()), values.rows(spec, rows)))
        return 1;
    }
  }
  return 0;
}

std::string sum_line(const TensorSpec& spec) {
  const MadeUpValues values;
  int64_t sum = 0;
  for (const RowRange rows : row_parts(spec.shape, kPartElements)) {
    const at::Tensor part = values.rows(spec, rows);
    const auto* const data = static_cast<const unsigned char*>(part.const_data_ptr());
    for (size_t i = 0; i < part.nbytes(); ++i) sum += data[i];
  }
  std::string shape;
  for (const int64_t size : spec.shape) shape += (shape.empty() ? "" : "x") + std::to_string(size);
  return text_of(spec.name, spec.dtype == at::kLong ? " int64 " : " bfloat16 ",
                 shape.empty() ? "scalar" : shape, " ", sum, "\n");
}

void expect_pytorch_reads(const std::string& file) {
  const std::string command = "python3 " ORRERY_SOURCE_DIR "/tests/cli/torch_manifest.py " + file;
  FILE* const pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::set<std::string> lines;
  for (std::array<char, 4096> buffer; std::fgets(buffer.data(), buffer.size(), pipe);)
    lines.insert(buffer.data());
  const int status = pclose(pipe);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
    GTEST_SKIP() << "python3 has no torch to load the file with";
  EXPECT_EQ(status, 0);
  const std::vector<TensorSpec> specs = released_tensors();
  EXPECT_EQ(lines.size(), specs.size());
  for (const TensorSpec& spec : specs) EXPECT_EQ(lines.count(sum_line(spec)), 1u) << spec.name;
}

TEST(CkptSlow, a_2b_model_is_imported_resharded_and_exported_in_little_memory) {
  const test::ScratchFolder folder;
  if (std::filesystem::space(folder.path()).available < 14 * static_cast<uint64_t>(kGiB))
    GTEST_SKIP() << "14 GiB of disk are not free";
  at::set_num_threads(1);  // a forked child would wait for ever for its parent's OpenMP threads
  const std::string pt = (folder / "model.pt").string(), imported = (folder / "model.safetensors").string(),
                    exported = (folder / "out.pt").string();
  write_model(pt);

  const Ended import = run_measured({"ckpt", "import", "--preset=2b", pt, imported});
  EXPECT_EQ(import.code, 0);
  EXPECT_LT(import.peak_bytes, kGiB);
  const Ended diff = run_measured({"ckpt", "diff", pt, imported});
  EXPECT_EQ(diff.code, 0);
  EXPECT_LT(diff.peak_bytes, kGiB);
  const Ended again = run_measured({"ckpt", "export", "--format=pt", imported, exported});
  EXPECT_EQ(again.code, 0);
  EXPECT_LT(again.peak_bytes, kGiB);
  std::cout << "peak MiB: import " << import.peak_bytes / kMiB << ", diff " << diff.peak_bytes / kMiB
            << ", export " << again.peak_bytes / kMiB << "\n";

  for (const std::string& file : {pt, imported}) {
    for (int rank = 0; rank < 4; ++rank) {
      int64_t shard = 0;
      load_shard(file, rank, &shard);
      const Ended loaded = in_child([&] { return load_shard(file, rank, nullptr); });
      EXPECT_EQ(loaded.code, 0) << file << " " << rank;
      EXPECT_LE(loaded.peak_bytes, shard + kGiB) << file << " " << rank;
      std::cout << "rank " << rank << " of 4: shard " << shard / kMiB << " MiB, peak "
                << loaded.peak_bytes / kMiB << " MiB\n";
    }
  }
  expect_pytorch_reads(exported);
}

}  // namespace
}  // namespace orrery::cli
