#include "parallel/comm_mpi.h"

#include <ATen/ops/empty.h>

namespace orrery {
namespace {

struct MpiPending final : Work::Pending {
  MpiPending(std::shared_ptr<MpiEngine> engine, std::shared_ptr<MpiEngine::Queue> queue,
             std::shared_ptr<Operation> operation)
      : engine(std::move(engine)), queue(std::move(queue)), operation(std::move(operation)) {}
  void wait() override { engine->wait(*operation, *queue); }
  bool ready() override { return engine->ready(*operation); }

  std::shared_ptr<MpiEngine> engine;
  std::shared_ptr<MpiEngine::Queue> queue;
  std::shared_ptr<Operation> operation;
};

}  // namespace

MpiComm::MpiComm(std::shared_ptr<MpiEngine> engine, CommGroup group)
    : Comm(group.rank, group.size(), group.name), engine_(std::move(engine)), group_(std::move(group)) {
  queue_ = engine_->add_group(group_);
}

Work MpiComm::start(Collective call) {
  auto operation = engine_->start(*queue_, std::move(call));
  return Work(std::make_unique<MpiPending>(engine_, queue_, std::move(operation)));
}

std::unique_ptr<Comm> MpiComm::split(int64_t colour, int64_t key, std::string name) {
  if (size() == 1) return single_rank_comm(std::move(name));
  // A number above those in use on any rank here; ranks of different colours may share it, they share no
  // other group.
  at::Tensor mine = at::empty({3}, at::kLong), all = at::empty({size(), 3}, at::kLong);
  mine.mutable_data_ptr<int64_t>()[0] = colour;
  mine.mutable_data_ptr<int64_t>()[1] = key;
  mine.mutable_data_ptr<int64_t>()[2] = engine_->next_context();
  all_gather(all, mine, "split " + name).wait();
  const int64_t* rows = all.const_data_ptr<int64_t>();
  std::vector<std::pair<int64_t, int>> chosen;  // key, rank here
  int64_t context = 0;
  for (int r = 0; r < size(); ++r) {
    if (rows[3 * r] == colour) chosen.emplace_back(rows[3 * r + 1], r);
    context = std::max(context, rows[3 * r + 2]);
  }
  std::sort(chosen.begin(), chosen.end());
  CommGroup group{.context = static_cast<int>(context), .name = std::move(name)};
  for (const auto& [unused, r] : chosen) {
    if (r == rank()) group.rank = group.size();
    group.members.push_back(group_.members[r]);
  }
  if (group.size() == 1) return single_rank_comm(std::move(group.name));
  return std::make_unique<MpiComm>(engine_, std::move(group));
}

}  // namespace orrery
