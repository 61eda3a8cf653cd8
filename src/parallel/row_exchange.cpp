#include "parallel/row_exchange.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include "base/error.h"
#include "base/memory.h"
#include "parallel/context_split.h"

namespace orrery {
namespace {

constexpr int64_t kRows = 3;  // the axis of (B,C,T,H,W)

// (B,T,H,W,C), in which a row is one run of a GPU's memory.
at::Tensor channels_last(const at::Tensor& x) {
  return x.permute({0, 2, 3, 4, 1});
}

class RowsOfRanks final : public RowExchange {
 public:
  explicit RowsOfRanks(Comm& comm) : comm_(comm) {}
  int64_t rank() const override { return comm_.rank(); }
  int64_t size() const override { return comm_.size(); }

  void fill(const at::Tensor& frames, int64_t above, int64_t below) const override {
    require(frames.dim() == 5 && above >= 0 && below >= 0, "rows of ranks: ", frames.sizes(), ", halo of ",
            above, " and ", below, " rows");
    const int64_t height = frames.size(kRows) - above - below;
    require(height >= std::max(above, below), "rows of ranks: ", height, " rows, of which neighbours read ",
            std::max(above, below), " (fewer ranks, or larger pictures)");
    if (size() == 1 || frames.numel() == 0) return;
    const bool has_above = rank() > 0, has_below = rank() + 1 < size();
    const auto rows = [&](int64_t begin, int64_t count) {
      return channels_last(frames.narrow(kRows, begin, count));
    };
    // One piece for each neighbour, that above first: its `below` rows are my first ones.
    const Pieces out{has_above ? rows(above, below) : at::Tensor(),
                     has_below ? rows(height, above) : at::Tensor()},
        in{has_above ? rows(0, above) : at::Tensor(), has_below ? rows(above + height, below) : at::Tensor()};
    const MemoryTag tag(MemoryUse::communication);
    const at::Tensor sent = at::empty({out.numel()}, frames.options()),
                     received = at::empty({in.numel()}, frames.options());
    out.for_each(sent, [](const at::Tensor& rows, const at::Tensor& run) { copy_runs(run, rows); });
    comm_.exchange_with_others(received, sent, counts(in), counts(out), "rows of neighbours").wait();
    in.for_each(received, [](const at::Tensor& rows, const at::Tensor& run) { copy_runs(rows, run); });
  }

  at::Tensor gather(const at::Tensor& rows, const std::vector<int64_t>& heights) const override {
    require(rows.dim() == 5 && static_cast<int64_t>(heights.size()) == size() &&
                rows.size(kRows) == heights[static_cast<size_t>(rank())],
            "rows of ranks: ", rows.sizes(), " on rank ", rank(), " of ", size(), ", wanted heights ",
            at::IntArrayRef(heights));
    if (size() == 1) return rows;
    const at::Tensor mine = channels_last(rows).contiguous();
    std::vector<int64_t> whole = mine.sizes().vec();
    const int64_t row = mine.numel() / std::max<int64_t>(whole[2], 1);
    whole[2] = 0;
    Counts pieces;
    for (const int64_t height : heights) {
      whole[2] += height;
      pieces.push_back(height * row);
    }
    const at::Tensor packed = at::empty({whole[2] * row}, mine.options());
    comm_.all_gather(packed, mine.view(-1), pieces, "rows of all ranks").wait();
    return unpack_pieces(packed, whole, 2, heights).permute({0, 4, 1, 2, 3});
  }

  void require_same(const Shape& numbers, at::Device device, std::string_view what) const override {
    if (device.is_meta()) return;  // in a plan there is one rank
    const at::Tensor mine = at::tensor(at::IntArrayRef(numbers), at::kLong).to(device);
    const at::Tensor all = at::empty({size(), mine.numel()}, mine.options());
    comm_.all_gather(all, mine, what).wait();
    const at::Tensor host = all.cpu();
    for (int64_t r = 0; r < size(); ++r) {
      const auto* begin = host.const_data_ptr<int64_t>() + r * mine.numel();
      const at::IntArrayRef theirs(begin, static_cast<size_t>(mine.numel()));
      const at::IntArrayRef first(host.const_data_ptr<int64_t>(), static_cast<size_t>(mine.numel()));
      require(theirs == first, what, ": ", theirs, " on rank ", r, " of ", comm_.name(), ", ", first,
              " on rank 0: ranks that share pictures take the same film");
    }
  }

 private:
  // Rows for, or from, the rank above and the rank below; undefined at the picture's edge.
  struct Pieces {
    at::Tensor above, below;
    int64_t numel() const { return count(above) + count(below); }
    static int64_t count(const at::Tensor& rows) { return rows.defined() ? rows.numel() : 0; }
    template <class Visit>
    void for_each(const at::Tensor& packed, const Visit& visit) const {
      const int64_t first = count(above), second = count(below);
      if (first > 0) visit(above, packed.narrow(0, 0, first).view(above.sizes()));
      if (second > 0) visit(below, packed.narrow(0, first, second).view(below.sizes()));
    }
  };
  Counts counts(const Pieces& pieces) const {
    Counts out(static_cast<size_t>(size()), 0);
    if (pieces.above.defined()) out[static_cast<size_t>(rank() - 1)] = pieces.above.numel();
    if (pieces.below.defined()) out[static_cast<size_t>(rank() + 1)] = pieces.below.numel();
    return out;
  }

  Comm& comm_;
};

}  // namespace

std::shared_ptr<const RowExchange> row_exchange(Comm& comm) {
  return std::make_shared<RowsOfRanks>(comm);
}

}  // namespace orrery
