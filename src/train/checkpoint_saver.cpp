#include "train/checkpoint_saver.h"

#include <ATen/ops/empty.h>
#include <c10/core/Event.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>
#include <thread>

#include "base/error.h"
#include "base/progress.h"
#include "ckpt/atomic_file.h"
#include "ckpt/checkpoint_folder.h"
#include "ckpt/fault_point.h"
#include "ckpt/file_io.h"
#include "ckpt/shard_file.h"
#include "parallel/agreement.h"

namespace orrery {

namespace fs = std::filesystem;

struct CheckpointSaver::Piece {
  StateTensor tensor;  // view narrowed to the rows that this rank writes
  int64_t rows, bytes, offset;
};

// What a writer's thread is given.
struct CheckpointSaver::Job {
  int64_t step;
  fs::path folder;
  std::vector<Piece> pieces;
  int64_t bytes;      // of the buffer
  c10::Event queued;  // on a GPU: training's work before the save
  std::promise<void> staged;
};

namespace {

constexpr int64_t kAlign = 64;  // of small pieces in the buffer: views of any dtype
constexpr int64_t kMaxIndexBytes = int64_t{1} << 30;

// What the ranks tell each other in poll().
enum Status : int64_t { kUnderWay = 0, kFailed = 1, kDone = 2 };

template <class T>
bool is_ready(const std::future<T>& future) {
  return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

std::string message_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "unknown exception";
  }
}

void copy_to_host(const at::Tensor& source, at::Tensor bytes) {
  if (source.is_cpu() && source.is_contiguous()) {  // one thread: training needs the others
    std::memcpy(bytes.data_ptr(), source.const_data_ptr(), static_cast<size_t>(source.nbytes()));
  } else {
    bytes.view(source.scalar_type()).view(source.sizes()).copy_(source, /*non_blocking=*/true);
  }
}

at::Tensor page_aligned(int64_t bytes, bool is_pinned) {
  const at::Tensor memory =
      at::empty({bytes + kPageBytes}, at::TensorOptions().dtype(at::kByte).pinned_memory(is_pinned));
  const auto beyond = static_cast<int64_t>(reinterpret_cast<uintptr_t>(memory.data_ptr()) % kPageBytes);
  return memory.narrow(0, (kPageBytes - beyond) % kPageBytes, bytes);
}

// On busy cores training goes first. Linux: the priority is that of this thread alone.
void let_others_go_first() {
  constexpr int kNice = 10;
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice);
}

}  // namespace

CheckpointSaver::CheckpointSaver(const Config& config, const RunState& run, std::string config_text,
                                 Report report)
    : config_(config), run_(run), config_text_(std::move(config_text)), report_(std::move(report)) {
  const auto now = std::chrono::system_clock::now().time_since_epoch().count();
  nonce_ = gather_texts(run_.comm, "name of saves", text_of(::getpid(), "x", now))[0];
}

CheckpointSaver::~CheckpointSaver() {
  cancelled_ = true;  // the futures' destructors join their threads
  if (staged_.valid()) staged_.wait();
  if (writing_.valid()) writing_.wait();
  if (publishing_.valid()) publishing_.wait();
}

std::string CheckpointSaver::file_stem(int rank) const {
  const std::string digits = std::to_string(rank);
  return "rank_" + std::string(5 - std::min<size_t>(5, digits.size()), '0') + digits;
}

// Replicas hold the same rows: each writes its part of them. What all ranks hold is the first one's to write.
std::vector<CheckpointSaver::Piece> CheckpointSaver::pieces() const {
  const Comm& replicas = run_.mesh.replicate();
  std::vector<Piece> out;
  int64_t offset = 0;
  for (StateTensor t : state_tensors(run_)) {
    at::Tensor& local = t.view.local;
    const int64_t rows = local.dim() == 0 ? 1 : local.size(0);
    RowRange mine = shard_rows(rows, replicas.rank(), replicas.size());
    if (t.is_everywhere) mine = {0, run_.comm.rank() == 0 ? rows : 0};
    if (mine.size() == 0 || local.numel() == 0) continue;
    if (local.dim() > 0) local = local.narrow(0, mine.begin, mine.size());
    t.view.begin += mine.begin;
    const auto bytes = static_cast<int64_t>(local.nbytes());
    if (bytes >= kFromPageBytes) offset = (offset + kPageBytes - 1) / kPageBytes * kPageBytes;
    out.push_back({std::move(t), mine.size(), bytes, offset});
    offset += (bytes + kAlign - 1) / kAlign * kAlign;
  }
  return out;
}

// Copies the rows to the buffer: on a stream of its own, after what training had queued when the save began.
void CheckpointSaver::stage(Job& job) {
  // Whatever happens, the optimizer must not wait for ever.
  const struct Release {
    std::promise<void>& staged;
    ~Release() { staged.set_value(); }
  } release{job.staged};
  fault_point("stage");
  const at::Device device = run_.fsdp.device();
  const bool is_cuda = device.type() == at::kCUDA;
  if (!buffer_.defined() || buffer_.numel() < job.bytes) buffer_ = page_aligned(job.bytes, is_cuda);
  const auto copy = [&] {
    for (const Piece& p : job.pieces) copy_to_host(p.tensor.view.local, buffer_.narrow(0, p.offset, p.bytes));
  };
  if (!is_cuda) return copy();
  const c10::impl::VirtualGuardImpl impl(device.type());
  const c10::Stream stream = impl.getNewStream(device);
  job.queued.block(stream);
  const c10::StreamGuard guard(stream);
  copy();
  impl.synchronizeStream(stream);
}

void CheckpointSaver::write(const Job& job) const {
  let_others_go_first();
  fs::create_directories(job.folder);
  std::vector<PieceToWrite> writes;
  for (const Piece& p : job.pieces)
    writes.push_back({p.tensor.view.name, p.tensor.view.local.scalar_type(), p.tensor.view.shape,
                      p.tensor.view.begin, p.rows,
                      static_cast<const char*>(buffer_.const_data_ptr()) + p.offset});
  const std::string stem = file_stem(run_.comm.rank());
  const auto may_write = [this, began_s = steady_seconds(), written = int64_t{0}](int64_t size) mutable {
    written += size;
    return keep_pace(written, began_s);
  };
  Manifest part = write_shard_file(job.folder / (stem + ".h5"), writes, may_write);
  part.step = job.step;
  fault_point("index.write");
  write_whole(job.folder / (stem + ".json"), manifest_text(part));
}

// Waits until `bytes` since began_s are within ckpt.max_mib_s; false: the save is given up. It sleeps for as
// long as it can: a thread that wakes often slows down the core's other one.
bool CheckpointSaver::keep_pace(int64_t bytes, double began_s) const {
  constexpr double kMib = 1 << 20, kLongestSleep_s = 0.1;  // how late a cancelled save may notice
  const double rate = config_.ckpt.max_mib_s * kMib;
  while (rate > 0 && !cancelled_) {
    const double left_s = static_cast<double>(bytes) / rate - (steady_seconds() - began_s);
    if (left_s <= 0) break;
    std::this_thread::sleep_for(std::chrono::duration<double>(std::min(left_s, kLongestSleep_s)));
  }
  return !cancelled_;
}

void CheckpointSaver::begin(int64_t step) {
  folder_ = CheckpointFolder(config_.train.run_dir).making(step, nonce_);
  const at::Device device = run_.fsdp.device();
  auto job = std::make_shared<Job>(Job{step, folder_, pieces(), 0, c10::Event(device.type()), {}});
  if (!job->pieces.empty()) job->bytes = job->pieces.back().offset + job->pieces.back().bytes;
  for (Piece& p : job->pieces)  // small, and changed by forward
    if (p.tensor.is_everywhere) p.tensor.view.local = p.tensor.view.local.clone();
  if (device.type() == at::kCUDA)
    job->queued.record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
  auto staged = job->staged.get_future();
  writing_ = std::async(std::launch::async, [this, job] {
    const c10::InferenceMode inference;
    stage(*job);
    write(*job);
  });
  staged_ = std::move(staged);
}

void CheckpointSaver::save(int64_t step, bool must_save) {
  const double start = steady_seconds();
  if (is_busy() && !must_save && config_.ckpt.when_busy == WhenBusy::skip) {
    report_({.outcome = SaveReport::Outcome::skipped,
             .step = step,
             .reason = text_of("that of step ", current_.step, " is still being written")});
    return;
  }
  wait();
  const double queued_ms = 1e3 * (steady_seconds() - start);
  began_s_ = steady_seconds();
  current_ = {.step = step};
  stage_ = Stage::writing;
  try {
    begin(step);
  } catch (...) {  // out of memory or threads: the save fails on all ranks, at the next poll
    failure_ = message_of(std::current_exception());
  }
  current_.queued_ms = queued_ms;
  current_.blocked_ms = 1e3 * (steady_seconds() - start) - queued_ms;
}

void CheckpointSaver::before_update() {
  if (!staged_.valid()) return;
  const double start = steady_seconds();
  staged_.get();
  current_.blocked_ms += 1e3 * (steady_seconds() - start);
}

// In the thread of the first rank: puts the ranks' parts together.
SaveReport CheckpointSaver::publish(const fs::path& folder, int64_t step) const {
  const c10::InferenceMode inference;
  const CheckpointFolder checkpoints(config_.train.run_dir);
  const MeshShape& mesh = run_.mesh.shape();
  Manifest manifest{.step = step,
                    .seed = config_.train.seed,
                    .mesh = {mesh.replicate, mesh.shard, mesh.context},
                    .texts = {{"config", config_text_},
                              {"run", nlohmann::ordered_json{{"data_cursor", step},
                                                             {"random_streams", "by seed, purpose and step"}}
                                          .dump()}}};
  for (int rank = 0; rank < run_.comm.size(); ++rank) {
    const fs::path index = folder / (file_stem(rank) + ".json");
    merge_manifest(manifest,
                   parse_manifest(read_whole(index, kMaxIndexBytes), index.string(), Coverage::part),
                   index.string());
    fs::remove(index);
  }
  for (const ManifestFile& file : manifest.files)
    require(fs::file_size(folder / file.name) == static_cast<uint64_t>(file.bytes), folder.string(), ": ",
            file.name, " has another size than its rank wrote (is the folder shared by all hosts?)");
  save_tokenizer(folder, run_.tokenizer);
  manifest.files.push_back(stored_file(folder / "tokenizer.safetensors"));
  SaveReport report{.step = step, .reason = checkpoints.publish(folder, manifest)};
  for (const ManifestFile& file : manifest.files) report.bytes += file.bytes;
  try {
    for (const fs::path& old : checkpoints.surplus(config_.ckpt.keep, config_.ckpt.keep_every))
      checkpoints.remove(old);
  } catch (const std::exception& error) {
    report.reason +=
        text_of(report.reason.empty() ? "" : "; ", "an old checkpoint could not be removed: ", error.what());
  }
  return report;
}

// Takes the result of a thread that has ended; its failure is kept until all ranks have settled.
int64_t CheckpointSaver::settle() {
  try {
    if (writing_.valid()) {
      if (!is_ready(writing_)) return kUnderWay;
      writing_.get();
    }
    if (publishing_.valid()) {
      if (!is_ready(publishing_)) return kUnderWay;
      const SaveReport published = publishing_.get();
      current_.bytes = published.bytes;
      current_.reason = published.reason;
    }
  } catch (...) {
    failure_ = message_of(std::current_exception());
  }
  return failure_.empty() ? kDone : kFailed;
}

void CheckpointSaver::start_publishing() {
  try {
    publishing_ = std::async(
        std::launch::async, [this, folder = folder_, step = current_.step] { return publish(folder, step); });
  } catch (...) {
    failure_ = message_of(std::current_exception());
  }
}

void CheckpointSaver::poll() {
  if (!is_busy()) return;
  at::Tensor all = at::empty({run_.comm.size()}, at::kLong), mine = at::empty({1}, at::kLong);
  mine.fill_(settle());
  run_.comm.all_gather(all, mine, "state of the checkpoint").wait();
  const std::span<const int64_t> states(all.const_data_ptr<int64_t>(), static_cast<size_t>(all.numel()));
  const auto any = [&](int64_t status) {
    return std::find(states.begin(), states.end(), status) != states.end();
  };
  if (any(kUnderWay)) return;
  if (any(kFailed)) return fail_all();
  if (stage_ == Stage::writing) {
    stage_ = Stage::publishing;
    if (run_.comm.rank() == 0) start_publishing();
    return;
  }
  stage_ = Stage::idle;
  last_failed_ = false;
  current_.write_ms = 1e3 * (steady_seconds() - began_s_);
  report_(current_);
}

// Nobody writes any more: the folder can go.
void CheckpointSaver::fail_all() {
  const auto reasons = gather_texts(run_.comm, "failure of the checkpoint", failure_);
  current_.outcome = SaveReport::Outcome::failed;
  current_.reason.clear();
  for (size_t rank = 0; rank < reasons.size(); ++rank)
    if (!reasons[rank].empty())
      current_.reason += text_of(current_.reason.empty() ? "rank " : "; rank ", rank, ": ", reasons[rank]);
  std::error_code error;
  if (run_.comm.rank() == 0) fs::remove_all(folder_, error);
  if (error) current_.reason += text_of("; ", folder_.string(), " remains: ", error.message());
  failure_.clear();
  stage_ = Stage::idle;
  last_failed_ = true;
  current_.write_ms = 1e3 * (steady_seconds() - began_s_);
  report_(current_);
}

// Ranks wait for each other in poll, and for their own thread between two polls.
void CheckpointSaver::wait() {
  while (is_busy()) {
    constexpr auto kPause = std::chrono::milliseconds(20);
    if (writing_.valid()) {
      writing_.wait_for(kPause);
    } else if (publishing_.valid()) {
      publishing_.wait_for(kPause);
    }
    poll();
  }
}

bool CheckpointSaver::finish() {
  wait();
  return !last_failed_;
}

}  // namespace orrery
