#pragma once
// StoredTensor: where a tensor of a pickle lies in its file, and the step from a pickle's node to it. The
// parts of the PyTorch readers that know how torch and numpy pickle tensors.
#include <functional>
#include <map>

#include "base/shard.h"
#include "ckpt/byte_view.h"
#include "ckpt/pickle.h"

namespace orrery {

struct StoredTensor {
  ByteView storage;
  TensorLayout layout;
  bool big_endian = false;

  at::Tensor rows(RowRange rows) const;  // as WeightFile::rows
};

struct StorageId {
  at::ScalarType dtype;  // kByte for an untyped one
  std::string key;       // letters, digits and _
  int64_t elements;
  uint64_t bytes;
};
// The parts of a persistent id ("storage", class, key, location, elements). Error: anything else.
StorageId storage_id(const PickleNode& persistent);

// Turns nodes of one pickle into tensors.
class TensorNodes {
 public:
  // Finds the bytes of a storage: exactly as many as its id says.
  using FindStorage = std::function<ByteView(const StorageId&)>;
  // Reads a storage out of a nested legacy file (torch.storage._load_from_bytes).
  using LoadStorage = std::function<std::pair<ByteView, at::ScalarType>(const ByteView& file)>;

  // owner: of the pickle's bytes.
  TensorNodes(std::shared_ptr<const void> owner, FindStorage find, LoadStorage load)
      : owner_(std::move(owner)), find_(std::move(find)), load_(std::move(load)) {}

  // Is the node a torch tensor, a parameter or a numpy array?
  static bool is_tensor(const PickleNode& node);
  // Error: malformed, or reaching outside its storage.
  StoredTensor tensor(const PickleNode& node);

 private:
  struct Storage {
    ByteView bytes;
    at::ScalarType dtype;
    bool untyped;
  };
  StoredTensor torch_tensor(const PickleNode& node);
  Storage storage(const PickleNode& node);
  StoredTensor numpy_array(const PickleNode& node);
  StoredTensor numpy_scalar(const PickleNode& node);
  ByteView bytes_of(const PickleNode& node);

  std::shared_ptr<const void> owner_;
  FindStorage find_;
  LoadStorage load_;
  std::map<const PickleNode*, ByteView> encoded_;  // results of _codecs.encode, each made once
  std::map<const PickleNode*, Storage> loaded_;    // nested files, each read once
};

}  // namespace orrery
