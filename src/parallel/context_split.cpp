#include "parallel/context_split.h"

#include <ATen/ops/empty.h>

#include <functional>
#include <string>

#include "base/error.h"

namespace orrery {
namespace {

// Group sizes up to the number of heads that divide the frames: "1, 2, 3 and 4".
std::string possible_sizes(int64_t latent_frames, int64_t heads) {
  std::vector<int64_t> sizes;
  for (int64_t c = 1; c <= std::min(latent_frames, heads); ++c)
    if (latent_frames % c == 0) sizes.push_back(c);
  std::string text;
  for (size_t i = 0; i < sizes.size(); ++i)
    text += text_of(i == 0 ? "" : i + 1 == sizes.size() ? " and " : ", ", sizes[i]);
  return text;
}

constexpr int64_t kWide = 16;  // bytes

// The elements of x that make sixteen bytes seen as one, which copies of strided views do not take apart.
// Undefined where x does not lie so.
at::Tensor widened(const at::Tensor& x) {
  const int64_t item = static_cast<int64_t>(x.itemsize());
  const auto is_whole = [&](int64_t elements) { return elements * item % kWide == 0; };
  if (x.dim() == 0 || x.stride(-1) != 1 || !is_whole(x.size(-1)) || !is_whole(x.storage_offset()) ||
      reinterpret_cast<uintptr_t>(x.const_data_ptr()) % kWide != 0)
    return {};
  for (int64_t dim = 0; dim + 1 < x.dim(); ++dim)
    if (!is_whole(x.stride(dim))) return {};
  return x.view(at::kComplexDouble);
}

using PairUp = std::function<void(const at::Tensor& in_whole, const at::Tensor& in_packed)>;
void for_each_piece(const at::Tensor& whole, const at::Tensor& packed, int64_t dim, const Counts& lengths,
                    const PairUp& visit) {
  int64_t begin = 0, offset = 0;
  for (const int64_t length : lengths) {
    const at::Tensor piece = whole.narrow(dim, begin, length);
    visit(piece, packed.narrow(0, offset, piece.numel()).view(piece.sizes()));
    begin += length;
    offset += piece.numel();
  }
}

}  // namespace

int64_t frame_split(int64_t latent_frames, int64_t heads, int64_t context) {
  require(latent_frames > 0 && heads > 0 && context > 0, "context parallelism: ", latent_frames, " frames, ",
          heads, " heads, ", context, " ranks");
  const auto advice = [&] {
    return text_of(latent_frames, " latent frames (set by data.frames) and ", heads,
                   " heads can be shared by ", possible_sizes(latent_frames, heads), " ranks");
  };
  require(latent_frames % context == 0, "parallel.context = ", context, ": ", latent_frames,
          " latent frames do not divide among ", context, " ranks; ", advice());
  require(heads >= context, "parallel.context = ", context, ": attention has ", heads,
          " heads, so that ranks would be left without one; ", advice());
  return latent_frames / context;
}

at::Tensor local_frames(const at::Tensor& x, int64_t dim, const Comm& context) {
  require(x.defined() && dim >= 0 && dim < x.dim(), "local_frames: dimension ", dim, " of ",
          x.defined() ? x.sizes() : at::IntArrayRef());
  require(x.size(dim) % context.size() == 0, "local_frames: ", x.size(dim), " frames (dimension ", dim,
          " of ", x.sizes(), ") do not divide among the ", context.size(), " ranks of ", context.name());
  const int64_t length = x.size(dim) / context.size();
  return x.narrow(dim, context.rank() * length, length);
}

at::Tensor local_condition_frames(const at::Tensor& counts, int64_t frames_per_rank, const Comm& context) {
  require(counts.defined() && counts.scalar_type() == at::kLong && counts.dim() == 1,
          "local_condition_frames: wanted int64 (B)");
  return (counts - context.rank() * frames_per_rank).clamp(0, frames_per_rank);
}

at::Tensor gather_frames(Comm& context, const at::Tensor& local, int64_t dim) {
  require(local.defined() && dim >= 0 && dim < local.dim(), "gather_frames: dimension ", dim, " of ",
          local.defined() ? local.sizes() : at::IntArrayRef());
  std::vector<int64_t> whole = local.sizes().vec();
  whole[dim] *= context.size();
  const at::Tensor packed = at::empty({local.numel() * context.size()}, local.options());
  context.all_gather(packed, local.contiguous(), "frames").wait();
  return unpack_pieces(packed, whole, dim, Counts(context.size(), local.size(dim)));
}

bool are_dense(at::IntArrayRef whole, int64_t dim) {
  for (int64_t i = 0; i < dim; ++i)
    if (whole[i] != 1) return false;
  return true;
}

void copy_runs(const at::Tensor& to, const at::Tensor& from) {
  const at::Tensor wide_to = widened(to), wide_from = widened(from);
  if (wide_to.defined() && wide_from.defined())
    wide_to.copy_(wide_from);
  else
    to.copy_(from);
}

at::Tensor pack_pieces(const at::Tensor& x, int64_t dim, const Counts& lengths) {
  if (are_dense(x.sizes(), dim)) return x.contiguous().view(-1);
  const at::Tensor packed = at::empty({x.numel()}, x.options());
  for_each_piece(x, packed, dim, lengths,
                 [](const at::Tensor& from, const at::Tensor& to) { copy_runs(to, from); });
  return packed;
}

at::Tensor unpack_pieces(const at::Tensor& packed, at::IntArrayRef whole, int64_t dim,
                         const Counts& lengths) {
  if (are_dense(whole, dim)) return packed.view(whole);
  const at::Tensor x = at::empty(whole, packed.options());
  for_each_piece(x, packed, dim, lengths, copy_runs);
  return x;
}

}  // namespace orrery
