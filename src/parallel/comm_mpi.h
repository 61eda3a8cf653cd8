#pragma once
// The MPI backend of Comm: tensors in host memory. World makes the first one, split() the others.
#include "parallel/comm.h"
#include "parallel/mpi_engine.h"

namespace orrery {

class MpiComm final : public Comm {
 public:
  MpiComm(std::shared_ptr<MpiEngine> engine, CommGroup group);
  std::unique_ptr<Comm> split(int64_t colour, int64_t key, std::string name) override;

  // For a backend that notes its calls in this group's sequence.
  const std::shared_ptr<MpiEngine>& engine() const { return engine_; }
  const std::shared_ptr<MpiEngine::Queue>& queue() const { return queue_; }

 protected:
  Work start(Collective call) override;
  c10::DeviceType device() const override { return c10::DeviceType::CPU; }

 private:
  std::shared_ptr<MpiEngine> engine_;
  CommGroup group_;
  std::shared_ptr<MpiEngine::Queue> queue_;
};

}  // namespace orrery
