#pragma once
// DcpFolder: a checkpoint of torch.distributed.checkpoint: .metadata, a pickle that says which piece of each
// tensor lies where, and *.distcp files, strings of small torch.save archives, one for each piece. Read with
// rank counts other than the one that wrote it. Opened through open_weights.
#include "ckpt/stored_tensor.h"
#include "ckpt/weight_file.h"

namespace orrery {

class MappedFile;

// One piece: an archive in a file of the folder.
struct DcpItem {
  std::string file;
  uint64_t begin = 0, size = 0;  // bytes
};

struct DcpChunk {
  std::vector<int64_t> offsets, sizes;  // in the whole tensor
  DcpItem item;
};

struct DcpTensor {
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  std::vector<DcpChunk> chunks;  // they cover the tensor and do not overlap; none is empty
};

struct DcpMetadata {
  std::map<std::string, DcpTensor> tensors;
  std::map<std::string, DcpItem> others;  // pickles of anything else
};

// Reads .metadata. Throws Error for malformed ones, chunks that overlap or leave a hole, pieces that are
// stored nowhere, file names that lead out of the folder, and chunks that many tensors share.
DcpMetadata read_dcp_metadata(std::string_view pickle);

class DcpFolder final : public WeightFile {
 public:
  // Maps all files. Throws Error also for a missing file, a piece beyond its end or smaller than its chunk,
  // and pieces that overlap.
  explicit DcpFolder(const std::filesystem::path& folder);

  WeightLeaves leaves() const override;
  std::vector<std::string> damage() const override;
  void release_pages() const override;

 protected:
  at::Tensor read(const std::string& name, RowRange rows) const override;

 private:
  std::vector<const DcpItem*> items() const;  // of all tensors and others
  void map_file(const DcpItem& item);
  ByteView bytes_of(const DcpItem& item) const;
  StoredTensor chunk_tensor(const DcpTensor& tensor, const DcpChunk& chunk) const;

  DcpMetadata metadata_;
  std::map<std::string, std::shared_ptr<const MappedFile>> files_;
};

}  // namespace orrery
