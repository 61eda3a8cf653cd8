#include "parallel/head_exchange.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/memory.h"
#include "parallel/context_split.h"

namespace orrery {
namespace {

const int64_t kTokens = 1, kHeads = 2;  // dimensions of (B,S,n,d)

Counts dealt_out(int64_t heads, int64_t places) {
  Counts counts(places, heads / places);
  for (int64_t i = 0; i < heads % places; ++i) ++counts[i];
  return counts;
}

int64_t sum(const Counts& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

}  // namespace

std::vector<HeadRanges> head_groups(int64_t heads, int64_t ranks, int64_t groups) {
  require(ranks > 0 && heads >= ranks && groups > 0, "ulysses: ", heads, " heads for ", ranks, " ranks in ",
          groups, " groups; each rank needs one head at least");
  const Counts of_ranks = dealt_out(heads, ranks);
  const int64_t used = std::min(groups, of_ranks.back());
  std::vector<HeadRanges> out(used);
  int64_t begin = 0;
  for (const int64_t of_rank : of_ranks) {
    const Counts of_groups = dealt_out(of_rank, used);
    for (int64_t g = 0; g < used; ++g) {
      out[g].push_back({begin, of_groups[g]});
      begin += of_groups[g];
    }
  }
  return out;
}

Counts HeadExchange::lengths() const {
  Counts out;
  for (const HeadRange& range : heads_) out.push_back(range.length);
  return out;
}

Counts HeadExchange::counts(const Journey& j, const Counts& lengths) const {
  Counts out = lengths;
  for (int64_t& count : out) count *= j.batch * j.tokens * j.channels;
  return out;
}

std::vector<at::Tensor> HeadExchange::pieces_of(const Journey& j) const {
  std::vector<at::Tensor> out;
  int64_t offset = 0;
  for (const int64_t count : counts(j, j.lengths)) {
    out.push_back(j.received.narrow(0, offset, count).view({j.batch, j.tokens, -1, j.channels}));
    offset += count;
  }
  return out;
}

// One after the other as a collective sends them; what this rank keeps is left out.
at::Tensor HeadExchange::sent_pieces(const std::vector<at::Tensor>& pieces) const {
  int64_t elements = 0;
  for (const at::Tensor& piece : pieces) elements += piece.numel();
  const MemoryTag tag(MemoryUse::communication);
  const at::Tensor sent = at::empty({elements}, pieces[0].options());
  int64_t offset = 0;
  for (size_t r = 0; r < pieces.size(); ++r) {
    const int64_t count = pieces[r].numel();
    if (static_cast<int>(r) != comm_.rank())
      copy_runs(sent.narrow(0, offset, count).view(pieces[r].sizes()), pieces[r]);
    offset += count;
  }
  return sent;
}

void HeadExchange::launch(Journey& j, const std::vector<at::Tensor>& pieces, const Counts& sent_lengths,
                          const std::string& label) {
  const Counts out_counts = counts(j, j.lengths);
  j.received = at::empty({sum(out_counts)}, pieces[0].options());
  j.own = pieces[comm_.rank()];
  if (!j.sent.defined()) j.sent = sent_pieces(pieces);
  j.work = comm_.exchange_with_others(j.received, j.sent, out_counts, counts(j, sent_lengths), label);
}

// pieces (B,S,n',d), one for each rank.
void HeadExchange::launch_heads(Journey& j, const std::vector<at::Tensor>& pieces, const std::string& label) {
  const int rank = comm_.rank();
  const at::Tensor& own = pieces[rank];
  j.batch = own.size(0), j.tokens = own.size(kTokens), j.channels = own.size(3);
  j.lengths = Counts(comm_.size(), heads_[rank].length);
  launch(j, pieces, lengths(), label);
  if (j.batch > 1) return;
  copy_runs(pieces_of(j)[rank], j.own);  // tokens of ranks lie one after the other: this is its place
  j.own.reset();
}

void HeadExchange::send_heads(Kind kind, const at::Tensor& x, const std::string& label) {
  std::vector<at::Tensor> pieces;
  for (const HeadRange& range : heads_) pieces.push_back(x.narrow(kHeads, range.begin, range.length));
  launch_heads(journey(kind) = {}, pieces, label);
}

void HeadExchange::send_split(Kind kind, const at::Tensor& x, const std::string& label) {
  Journey& j = journey(kind) = {};
  j.sent = x.view(-1);
  launch_heads(j, x.unbind(), label);
}

at::Tensor HeadExchange::tokens(Kind kind) {
  Journey j = std::exchange(journey(kind), {});
  j.work.wait();
  j.sent.reset();
  const std::vector<int64_t> shape = {j.batch, comm_.size() * j.tokens, j.lengths[0], j.channels};
  if (!j.own.defined()) return j.received.view(shape);
  std::vector<at::Tensor> pieces = pieces_of(j);
  pieces[comm_.rank()] = std::move(j.own);
  const at::Tensor whole = at::empty(shape, j.received.options());
  for (size_t r = 0; r < pieces.size(); ++r)
    copy_runs(whole.narrow(kTokens, static_cast<int64_t>(r) * j.tokens, j.tokens), pieces[r]);
  return whole;
}

void HeadExchange::send_tokens(Kind kind, const at::Tensor& y, const std::string& label) {
  Journey& j = journey(kind) = {};
  j.batch = y.size(0), j.tokens = y.size(kTokens) / comm_.size(), j.channels = y.size(3);
  j.lengths = lengths();
  std::vector<at::Tensor> pieces;
  for (int64_t r = 0; r < comm_.size(); ++r) pieces.push_back(y.narrow(kTokens, r * j.tokens, j.tokens));
  if (j.batch == 1) j.sent = y.contiguous().view(-1);  // dense pieces as it is
  launch(j, pieces, Counts(comm_.size(), y.size(kHeads)), label);
}

void HeadExchange::heads(Kind kind, const at::Tensor& x) {
  Journey j = std::exchange(journey(kind), {});
  j.work.wait();
  j.sent.reset();
  std::vector<at::Tensor> pieces = pieces_of(j);
  pieces[comm_.rank()] = std::move(j.own);
  for (size_t r = 0; r < pieces.size(); ++r)
    copy_runs(x.narrow(kHeads, heads_[r].begin, heads_[r].length), pieces[r]);
}

at::Tensor HeadExchange::split(Kind kind) {
  Journey j = std::exchange(journey(kind), {});
  copy_runs(pieces_of(j)[comm_.rank()], j.own);  // while the others are on their way
  j.work.wait();
  return j.received.view({comm_.size(), j.batch, j.tokens, j.lengths[0], j.channels});
}

}  // namespace orrery
