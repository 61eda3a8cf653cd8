#include "parallel/comm_nccl.h"

#include <ATen/Context.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <exception>

#include "parallel/comm_mpi.h"
#include "parallel/cuda/nccl_calls.h"
#include "parallel/cuda/nccl_watch.h"

namespace orrery {
namespace {

struct NcclPending final : Work::Pending {
  NcclPending(std::shared_ptr<NcclWatch::Call> call, at::Device device, at::Tensor out, at::Tensor in)
      : call(std::move(call)), device(device), out(std::move(out)), in(std::move(in)) {}
  void wait() override { call->finished.block(c10::cuda::getCurrentCUDAStream(device.index())); }
  bool ready() override { return call->finished.query(); }

  std::shared_ptr<NcclWatch::Call> call;
  at::Device device;
  at::Tensor out, in;
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
      group_(watch_->add_group(name(), host_->queue())) {
  try {
    open();
  } catch (...) {
    watch_->remove_group(group_);
    throw;
  }
}

void NcclComm::open() {
  const c10::cuda::CUDAGuard guard(device_);
  token_ = at::zeros({1}, at::TensorOptions(device_).dtype(at::kFloat));
  const auto setting_up = std::make_shared<NcclWatch::Call>();  // on the host: its events are never recorded
  watch_->add(*group_, setting_up, "set-up of NCCL");
  comm_ = open_communicator(*host_);
  setting_up->issued = true;
  watch_->set_comm(*group_, comm_);
}

// While an exception unwinds, peers may never join what is under way, and to close a communicator would wait
// for it: it is left to the end of the process, which is near.
NcclComm::~NcclComm() {
  watch_->set_comm(*group_, nullptr);
  if (std::uncaught_exceptions() == 0) {
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
  if (call.kind == Collective::Kind::barrier) call.out = token_;
  const c10::cuda::CUDAGuard guard(device_);
  c10::cuda::CUDAEvent inputs;
  inputs.record(c10::cuda::getCurrentCUDAStream(device_.index()));
  inputs.block(stream_);
  const auto under_way = std::make_shared<NcclWatch::Call>();
  under_way->reached.record(stream_);
  watch_->add(*group_, under_way, title);  // before NCCL's call: its first one connects to the peers
  issue(call, comm_, rank(), stream_);
  under_way->finished.record(stream_);
  under_way->issued = true;
  return Work(std::make_unique<NcclPending>(under_way, device_, std::move(call.out), std::move(call.in)));
}

}  // namespace

std::unique_ptr<Comm> nccl_comm(World& world, Comm& host, at::Device device) {
  const auto gpus = static_cast<int>(at::getNumGPUs());
  require(device.is_cuda() && device.has_index() && device.index() < gpus, "collectives of ", host.name(),
          " on ", device, ": this rank sees ", gpus, gpus == 1 ? " GPU" : " GPUs");
  if (host.size() == 1) return single_rank_comm(host.name(), c10::DeviceType::CUDA);
  const auto* mpi = dynamic_cast<MpiComm*>(&host);
  require(mpi != nullptr, "collectives of ", host.name(), ": NCCL is set up over a Comm in host memory");
  auto watch = std::make_shared<NcclWatch>(world, mpi->engine(), device);
  return make(std::move(watch), host.split(0, host.rank(), host.name()), device);
}

}  // namespace orrery
