#include "parallel/comm_nccl.h"

#include <ATen/Context.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <exception>

#include "parallel/comm_mpi.h"
#include "parallel/cuda/nccl_calls.h"
#include "parallel/cuda/nccl_watch.h"

namespace orrery {
namespace {

struct NcclPending final : Work::Pending {
  NcclPending(c10::cuda::CUDAEvent finished, at::Tensor out, at::Tensor in)
      : finished(std::move(finished)), out(std::move(out)), in(std::move(in)) {}
  void wait() override { finished.block(c10::cuda::getCurrentCUDAStream(finished.device_index())); }
  bool ready() override { return finished.query(); }

  c10::cuda::CUDAEvent finished;
  at::Tensor out, in;  // held until the current stream is ordered after the call
};

class NcclComm final : public Comm {
 public:
  NcclComm(std::shared_ptr<NcclWatch> watch, std::unique_ptr<MpiComm> host, at::Device device);
  ~NcclComm() override;
  std::unique_ptr<Comm> split(int64_t colour, int64_t key, std::string name) override;

 protected:
  Work start(Collective call) override;
  c10::DeviceType device() const override { return c10::DeviceType::CUDA; }

 private:
  void open();

  const std::shared_ptr<NcclWatch> watch_;
  const std::unique_ptr<MpiComm> host_;  // for set-up; the calls take their places in its sequence
  const at::Device device_;
  const c10::cuda::CUDAStream stream_;
  std::shared_ptr<NcclWatch::Group> group_;
  ncclComm_t comm_ = nullptr;
  at::Tensor token_;  // what a barrier reduces
};

// For the ranks of host, which is MPI's or a single rank.
std::unique_ptr<Comm> make(std::shared_ptr<NcclWatch> watch, std::unique_ptr<Comm> host, at::Device device) {
  if (host->size() == 1) return single_rank_comm(host->name(), c10::DeviceType::CUDA);
  std::unique_ptr<MpiComm> mpi(dynamic_cast<MpiComm*>(host.release()));
  return std::make_unique<NcclComm>(std::move(watch), std::move(mpi), device);
}

NcclComm::NcclComm(std::shared_ptr<NcclWatch> watch, std::unique_ptr<MpiComm> host, at::Device device)
    : Comm(host->rank(), host->size(), host->name()),
      watch_(std::move(watch)),
      host_(std::move(host)),
      device_(device),
      stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device.index())),
      group_(watch_->add_group(name(), host_->queue())) {}

// At the first call: a communicator takes hundreds of megabytes, and not all groups of a mesh are used.
void NcclComm::open() {
  token_ = at::zeros({1}, at::TensorOptions(device_).dtype(at::kFloat));
  const int64_t number = watch_->add(*group_, "set-up of NCCL");
  comm_ = open_communicator(*host_);
  group_->progress.finish_on_host(number);
  watch_->set_comm(*group_, comm_);
}

// While an exception unwinds, peers may never join what is under way, and to close a communicator would wait
// for it: it is left to the end of the process, which is near.
NcclComm::~NcclComm() {
  watch_->set_comm(*group_, nullptr);
  if (comm_ && std::uncaught_exceptions() == 0) {
    try {
      const c10::cuda::CUDAGuard guard(device_);
      close_communicator(comm_, stream_);
    } catch (...) {
      watch_->give_up();
    }
  }
  watch_->remove_group(group_);
}

std::unique_ptr<Comm> NcclComm::split(int64_t colour, int64_t key, std::string name) {
  return make(watch_, host_->split(colour, key, std::move(name)), device_);
}

Work NcclComm::start(Collective call) {
  const std::string title = text_of(name_of(call.kind), " '", call.label, "'");
  for (const at::Tensor& tensor : {call.out, call.in})
    if (tensor.defined())
      require(tensor.device() == device_, title, " of ", name(), ": tensor is on ", tensor.device(),
              ", this communicator on ", device_);
  const c10::cuda::CUDAGuard guard(device_);
  if (!comm_) open();
  if (call.kind == Collective::Kind::barrier) call.out = token_;
  c10::cuda::CUDAEvent inputs, finished;
  inputs.record(c10::cuda::getCurrentCUDAStream(device_.index()));
  inputs.block(stream_);
  const int64_t number = watch_->add(*group_, title);
  group_->progress.mark_reached(number, stream_);
  issue(call, comm_, rank(), stream_);  // the first one connects to the peers, which may take its time
  group_->progress.mark_finished(number, stream_);
  finished.record(stream_);
  return Work(std::make_unique<NcclPending>(std::move(finished), std::move(call.out), std::move(call.in)));
}

}  // namespace

std::unique_ptr<Comm> nccl_comm(World& world, Comm& host, at::Device device) {
  const auto gpus = static_cast<int>(at::getNumGPUs());
  require(device.is_cuda() && device.has_index() && device.index() < gpus, "collectives of ", host.name(),
          " on ", device, ": this rank sees ", gpus, gpus == 1 ? " GPU" : " GPUs");
  if (host.size() == 1) return single_rank_comm(host.name(), c10::DeviceType::CUDA);
  const auto* mpi = dynamic_cast<MpiComm*>(&host);
  require(mpi != nullptr, "collectives of ", host.name(), ": NCCL is set up over a Comm in host memory");
  auto watch = std::make_shared<NcclWatch>(world, mpi->engine());
  return make(std::move(watch), host.split(0, host.rank(), host.name()), device);
}

}  // namespace orrery
