#include "parallel/planned_comm.h"

#include <cmath>
#include <set>

namespace orrery {
namespace {

using Kind = Collective::Kind;

struct PlannedPending final : Work::Pending {
  PlannedPending(PlanClock& clock, double end, Collective call)
      : clock(clock), end(end), call(std::move(call)) {}
  void wait() override { clock.wait_until(end); }
  bool ready() override { return clock.now() >= end; }

  PlanClock& clock;
  double end;
  Collective call;  // holds the tensors, as a real one does
};

int64_t bytes_of(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
}

double steps_of(Kind kind, int ranks) {
  if (kind == Kind::all_gather || kind == Kind::reduce_scatter) return ranks - 1;
  if (kind == Kind::all_reduce) return 2 * std::ceil(std::log2(ranks));
  return 1;
}

}  // namespace

class PlannedComm final : public Comm {
 public:
  PlannedComm(PlannedNetwork& network, const MeshGroup& group)
      : Comm(group.rank, static_cast<int>(group.members.size()), group.name), network_(network) {
    std::set<int> nodes;
    for (const int member : group.members) nodes.insert(network.node_of_.at(member));
    nodes_ = static_cast<int>(nodes.size());
  }
  std::unique_ptr<Comm> split(int64_t, int64_t, std::string name) override {
    fail("plan: ", name, " is split from ", this->name(), ", which takes the other ranks");
  }

 protected:
  Work start(Collective call) override {
    const int64_t bytes = std::max(bytes_of(call.in), bytes_of(call.out));
    const double seconds = collective_seconds(call.kind, bytes, size(), nodes_, network_.links_);
    network_.collectives_.push_back({call.kind, call.label, name(), bytes, size(), nodes_, seconds});
    free_ = std::max(free_, network_.clock_.now()) + seconds;
    return Work(std::make_unique<PlannedPending>(network_.clock_, free_, std::move(call)));
  }
  c10::DeviceType device() const override { return c10::DeviceType::Meta; }

 private:
  PlannedNetwork& network_;
  int nodes_ = 1;
  double free_ = 0;  // when the group's line is
};

void PlanClock::wait_until(double moment) {
  waited_ += std::max(0.0, moment - now_);
  now_ = std::max(now_, moment);
}

PlannedNetwork::PlannedNetwork(PlanClock& clock, const Links& links, std::vector<int> node_of)
    : clock_(clock), links_(links), node_of_(std::move(node_of)) {
  require(links.inside > 0 && links.between > 0 && links.inside_latency >= 0 && links.between_latency >= 0,
          "plan: links of ", links.inside, " and ", links.between, " bytes a second, wanted numbers > 0");
}

Mesh PlannedNetwork::mesh(int rank, MeshShape shape) {
  return Mesh(rank, node_of_, shape, [this](const MeshGroup& group) -> std::unique_ptr<Comm> {
    if (group.members.size() == 1) return single_rank_comm(group.name, c10::DeviceType::Meta);
    return std::make_unique<PlannedComm>(*this, group);
  });
}

double collective_seconds(Kind kind, int64_t bytes, int ranks, int nodes, const Links& links) {
  const double n = ranks, g = n / nodes, b = static_cast<double>(bytes);
  const double latency = steps_of(kind, ranks) * (nodes > 1 ? links.between_latency : links.inside_latency);
  const auto slower = [&](double inside, double between) {
    return std::max(g > 1 ? inside / links.inside : 0, nodes > 1 ? between / links.between : 0);
  };
  switch (kind) {
    case Kind::all_gather:
    case Kind::reduce_scatter:
      return latency + slower(b * (n - 1) / n, b * (n - 1) / n / g);
    case Kind::all_reduce:
      return latency + 2 * slower(b * (n - 1) / n, b * (n - 1) / n / g);
    case Kind::all_to_all:
      return latency + slower(b * (g - 1) / n, b * (n - g) / n);
    case Kind::broadcast:
      return latency + slower(b, b);
    case Kind::barrier:
      return latency;
  }
  fail("collective ", static_cast<int>(kind));
}

}  // namespace orrery
