#include "ckpt/torch_writer.h"

#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/printable.h"
#include "ckpt/byte_view.h"
#include "ckpt/torch_names.h"
#include "ckpt/zip_writer.h"

namespace orrery {
namespace {

constexpr const char* kFolder = "archive/";  // torch.save names it after the file; torch.load takes any

// Opcodes of pickle protocol 2, the one that torch.save writes.
class PickleText {
 public:
  void op(std::string_view code) { bytes_ += code; }
  void text(std::string_view value) {
    op("X");
    number(static_cast<uint32_t>(value.size()));
    op(value);
  }
  void integer(int64_t value) {
    if (value >= 0 && value < 256) {
      op("K");
      number(static_cast<uint8_t>(value));
    } else if (value >= INT32_MIN && value <= INT32_MAX) {
      op("J");
      number(static_cast<int32_t>(value));
    } else {
      op("\x8a\x08");
      number(value);
    }
  }
  void tuple(const std::vector<int64_t>& values) {
    op("(");
    for (const int64_t value : values) integer(value);
    op("t");
  }
  // "module name"
  void global(std::string_view name) {
    std::string lines(name);
    lines[lines.find(' ')] = '\n';
    op("c" + lines + "\n");
  }
  const std::string& bytes() const { return bytes_; }

 private:
  template <class T>
  void number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  std::string bytes_;
};

int64_t elements_of(const TensorSpec& spec) {
  int64_t elements = 1;
  for (const int64_t size : spec.shape) elements *= size;
  return elements;
}

// _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks), or _v3 with the dtype behind where
// no typed storage has it.
void put_tensor(PickleText& out, const TensorSpec& spec, size_t key) {
  const TorchDtype& dtype = *find_torch_dtype(spec.dtype);
  const bool typed = !dtype.storage.empty();
  const int64_t elements = elements_of(spec);
  out.global(typed ? "torch._utils _rebuild_tensor_v2" : "torch._utils _rebuild_tensor_v3");
  out.op("((");
  out.text("storage");
  out.global(typed ? dtype.storage : kUntypedStorage);
  out.text(std::to_string(key));
  out.text("cpu");
  out.integer(typed ? elements : elements * static_cast<int64_t>(c10::elementSize(spec.dtype)));
  out.op("tQ");
  out.integer(0);
  out.tuple(spec.shape);
  out.tuple(row_major_strides(spec.shape));
  out.op("\x89");  // requires_grad: False
  out.global("collections OrderedDict");
  out.op(")R");
  if (!typed) out.global(dtype.name);
  out.op("tR");
}

std::string pickle_of(const std::vector<TensorSpec>& specs) {
  PickleText out;
  out.op("\x80\x02}(");
  for (size_t i = 0; i < specs.size(); ++i) {
    out.text(specs[i].name);
    put_tensor(out, specs[i], i);
  }
  out.op("u.");
  return out.bytes();
}

void check_specs(const std::vector<TensorSpec>& specs) {
  std::set<std::string> names;
  for (const TensorSpec& spec : specs) {
    require(names.insert(spec.name).second, ".pt: two tensors are named ", printable(spec.name));
    require(find_torch_dtype(spec.dtype) != nullptr, ".pt: tensor ", printable(spec.name),
            ": no storage for ", spec.dtype);
    checked_extent(spec.shape);
    try {
      static_cast<void>(nlohmann::json(spec.name).dump());
    } catch (const nlohmann::json::exception&) {
      fail(".pt: the name ", printable(spec.name), " is not UTF-8");
    }
  }
}

}  // namespace

TorchWriter::TorchWriter(const std::filesystem::path& path, std::vector<TensorSpec> specs)
    : WeightWriter(path, std::move(specs)) {
  check_specs(specs_);
  zip_ = std::make_unique<ZipWriter>(path);
  const std::string folder = kFolder;
  zip_->add(folder + "data.pkl", pickle_of(specs_));
  zip_->add(folder + ".format_version", "1");
  zip_->add(folder + ".storage_alignment", "64");
  zip_->add(folder + "byteorder", "little");
}

TorchWriter::~TorchWriter() = default;

void TorchWriter::append(const TensorSpec& spec, const at::Tensor& part) {
  if (left_ == 0) {
    left_ = static_cast<uint64_t>(elements_of(spec)) * c10::elementSize(spec.dtype);
    zip_->begin(kFolder + ("data/" + std::to_string(begun_++)), left_);
  }
  zip_->append({static_cast<const char*>(part.const_data_ptr()), part.nbytes()});
  left_ -= part.nbytes();
}

void TorchWriter::finish() {
  zip_->add(std::string(kFolder) + "version", "3\n");
  zip_->publish();
}

void save_torch(const std::filesystem::path& path, const std::map<std::string, at::Tensor>& tensors) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors) {
    require(tensor.defined(), path.string(), ": tensor ", printable(name), " is undefined");
    specs.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
  }
  TorchWriter writer(path, std::move(specs));
  for (const auto& [name, tensor] : tensors) writer.write(tensor);
  writer.publish();
}

}  // namespace orrery
