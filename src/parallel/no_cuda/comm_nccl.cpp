// CPU builds link this in place of cuda/.
#include "parallel/comm_nccl.h"

namespace orrery {

std::unique_ptr<Comm> nccl_comm(World&, Comm& host, at::Device device) {
  fail("collectives of ", host.name(), " on ", device,
       ": this program was built without CUDA (preset cpu, wanted cuda)");
}

}  // namespace orrery
