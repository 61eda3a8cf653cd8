// A checkpoint of one layout of ranks goes on in any other.
#include "train/checkpoint.h"

#include "ckpt/checkpoint_folder.h"
#include "ckpt/shard_file.h"
#include "fixtures.h"
#include "infer/make_text_encoder.h"
#include "parallel/agreement.h"
#include "train/checkpoint_saver.h"
#include "train/mesh_runs.h"

namespace orrery::test {
namespace {

namespace fs = std::filesystem;

// One folder for all ranks; the first removes it.
struct SharedFolder {
  SharedFolder() : scratch(std::make_unique<ScratchFolder>()) {
    path = gather_texts(test_world().comm(), "folder", scratch->path().string())[0];
  }
  ~SharedFolder() { test_world().comm().barrier("folder").wait(); }
  std::unique_ptr<ScratchFolder> scratch;
  fs::path path;
};

struct MeshTrainee {
  MeshTrainee(const Config& c, const Mesh& mesh, Comm& comm)
      : config(c),
        mesh(mesh),
        comm(comm),
        model(config, mesh),
        tokenizer(scene_tokenizer(config.tokenizer.channels)),
        text(make_text_encoder(config, at::kCPU)),
        step(config, model.net, model.parallel, mesh, tokenizer, *text) {}

  RunState state() { return {model.net, model.fsdp(), step, record, mesh, comm}; }
  std::vector<double> train(int64_t from, int64_t to) {
    const int64_t share = kBatch / mesh.data().size(), begin = share * mesh.data().rank();
    std::vector<double> losses;
    for (int64_t i = from; i < to; ++i) losses.push_back(step(scene_batch(i, begin, begin + share), i).loss);
    return losses;
  }
  void save(int64_t step_done) {
    CheckpointSaver saver(config, state(), "", [](const SaveReport& r) { EXPECT_EQ(r.reason, ""); });
    saver.save(step_done, true);
    EXPECT_TRUE(saver.finish());
  }
  int64_t resume() {
    Resume from = find_checkpoint(config, comm);
    return restore(from, config, state(), [](const auto&) {});
  }
  // Every tensor of the state, whole.
  std::map<std::string, at::Tensor> whole() {
    std::map<std::string, at::Tensor> out;
    for (const StateTensor& t : state_tensors(state()))
      out[t.view.name] = t.is_everywhere ? t.view.local.clone() : model.fsdp().whole(t.view).clone();
    return out;
  }

  const Config config;
  const Mesh& mesh;
  Comm& comm;
  SceneNetwork model;
  LinearTokenizer tokenizer;
  const TokenizerRecord record = record_of(tokenizer);
  std::unique_ptr<TextEncoder> text;
  TrainStep step;
};

std::vector<MeshShape> layouts() {
  std::vector<MeshShape> out;
  for (const MeshShape& shape : meshes())
    if (shape.context <= 2) out.push_back(shape);  // two latent frames
  return out;
}

void expect_same_state(const std::map<std::string, at::Tensor>& got,
                       const std::map<std::string, at::Tensor>& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, tensor] : want)
    EXPECT_TRUE(at::equal(got.at(name), tensor)) << what << ": " << name;
}

TEST(CheckpointMpi, every_layout_goes_on_in_itself_and_in_the_next_with_the_same_state) {
  Comm& comm = test_world().comm();
  const std::vector<MeshShape> all = layouts();
  for (size_t i = 0; i < all.size(); ++i) {
    const MeshShape from = all[i];
    const SharedFolder folder;
    Config config = small_config(6, kBatch);
    config.train.run_dir = folder.path;
    const Mesh mesh = mesh_of(from);
    MeshTrainee first(config, mesh, comm);
    first.train(0, 1);
    first.save(1);
    const auto want = first.whole();
    const std::vector<double> losses = first.train(1, 3);
    for (const MeshShape& to : {from, all[(i + 1) % all.size()]}) {
      const std::string what = name_of(from) + " to " + name_of(to);
      const Mesh other = mesh_of(to);
      MeshTrainee second(config, other, comm);
      EXPECT_EQ(second.resume(), 1);
      expect_same_state(second.whole(), want, what);
      const std::vector<double> rest = second.train(1, 3);
      const bool is_same = from.replicate == to.replicate && from.shard == to.shard;
      for (size_t i = 0; i < losses.size(); ++i) {
        if (is_same)
          EXPECT_EQ(rest[i], losses[i]) << what;
        else
          EXPECT_NEAR(rest[i], losses[i], 2e-6 * losses[i]) << what;
      }
    }
  }
}

TEST(CheckpointMpi, each_row_is_written_once_and_a_rank_alone_reads_it_back) {
  Comm& comm = test_world().comm();
  const SharedFolder folder;
  Config config = small_config(6, kBatch);
  config.train.run_dir = folder.path;
  const Mesh mesh = mesh_of({1, comm.size(), 1});
  MeshTrainee sharded(config, mesh, comm);
  sharded.train(0, 1);
  sharded.save(1);
  const auto want = sharded.whole();
  const Mesh replicas = mesh_of({comm.size(), 1, 1});
  MeshTrainee replicated(config, replicas, comm);
  EXPECT_EQ(replicated.resume(), 1);
  replicated.save(2);
  const Alone alone;
  MeshTrainee single(config, alone.mesh, *alone.comm);
  EXPECT_EQ(single.resume(), 2);
  expect_same_state(single.whole(), want, "alone");
  const CheckpointFolder checkpoints(folder.path);
  for (const int64_t step : {1, 2}) {
    EXPECT_EQ(verify_checkpoint(checkpoints.path_of(step)), std::vector<std::string>{});
    int64_t bytes = 0, whole = 0;
    const Manifest manifest = read_manifest(checkpoints.path_of(step));
    for (const auto& [name, t] : manifest.tensors) {
      whole += t.bytes();
      for (const ManifestPiece& p : t.pieces) bytes += p.rows * t.row_bytes();
    }
    EXPECT_EQ(bytes, whole);
    EXPECT_EQ(manifest.files.size(), static_cast<size_t>(comm.size()) + 1);
  }
  comm.barrier("end of reading").wait();
}

TEST(CheckpointMpi, a_rank_reads_its_rows_and_no_more_than_a_block_around_them) {
  const SharedFolder folder;
  const std::vector<float> data(6 << 20, 1.5f);  // 24 MiB
  if (test_world().rank() == 0) {
    Manifest m = write_shard_file(
        folder.path / "rank_00000.h5",
        {{"w", at::kFloat, {6 << 10, 1 << 10}, 0, 6 << 10, reinterpret_cast<const char*>(data.data())}},
        [](int64_t) { return true; });
    write_file(folder.path / kManifestName, manifest_text(m));
  }
  test_world().comm().barrier("written").wait();
  const Checkpoint checkpoint(folder.path);
  const RowRange mine = shard_rows(6 << 10, test_world().rank(), test_world().size());
  EXPECT_EQ(checkpoint.rows("w", mine.begin, mine.end).sum().item<double>(),
            1.5 * static_cast<double>(mine.size() << 10));
  EXPECT_LE(checkpoint.bytes_read(), mine.size() * 4096 + 2 * (1 << 20));
}

}  // namespace
}  // namespace orrery::test
