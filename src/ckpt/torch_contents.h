#pragma once
// TorchContents: what torch.save, or a plain pickle.dump of tensors and numpy arrays, put into a file. For
// TorchFile and DcpFolder.
#include <map>

#include "ckpt/stored_tensor.h"
#include "ckpt/weight_file.h"

namespace orrery {

// Names are paths: the keys of dicts and the indexes of lists and tuples, joined by '.'; a lone tensor has
// the empty name.
struct TorchContents {
  std::map<std::string, StoredTensor> tensors;
  WeightLeaves leaves;
};

// Reads torch.save's zip, its legacy form, or a plain pickle, told apart by the first bytes. Nothing but the
// pickle and the headers is read here. Throws Error for anything malformed, a global outside torch_globals(),
// an object of no known kind, more than 64 levels, a container that appears so often that walking it would
// not end, two values of one path, more than 2^20 values, 64 MiB of their names and texts, or tensors that
// together have more bytes than 64 MiB and 16 times the file (by strides of 0, or many on one storage).
TorchContents read_torch(const ByteView& file);

}  // namespace orrery
