#include "parallel/agreement.h"

#include <ATen/ops/empty.h>

#include <cstring>
#include <map>

#include "base/error.h"
#include "parallel/monitor.h"

namespace orrery {
namespace {

std::string_view line_at(std::string_view text, size_t start) {
  return text.substr(start, text.find('\n', start) - start);
}

// The first line in which a and b differ, as each has it.
std::pair<std::string, std::string> first_difference(std::string_view a, std::string_view b) {
  size_t at = 0, line = 0;
  while (at < a.size() && at < b.size() && a[at] == b[at]) {
    if (a[at] == '\n') line = at + 1;
    ++at;
  }
  return {std::string(line_at(a, std::min(line, a.size()))),
          std::string(line_at(b, std::min(line, b.size())))};
}

int64_t digest(std::string_view text) {  // FNV-1a
  uint64_t hash = 14695981039346656037u;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 1099511628211u;
  return static_cast<int64_t>(hash);
}

bool same_everywhere(Comm& comm, std::string_view what, std::string_view text) {
  at::Tensor low = at::empty({2}, at::kLong);
  int64_t* values = low.mutable_data_ptr<int64_t>();
  values[0] = digest(text);
  values[1] = static_cast<int64_t>(text.size());
  at::Tensor high = low.clone();
  comm.all_reduce(low, ReduceOp::min, text_of("digest of ", what)).wait();
  comm.all_reduce(high, ReduceOp::max, text_of("digest of ", what)).wait();
  return low.equal(high);
}

}  // namespace

void broadcast_tensors(Comm& comm, const std::vector<at::Tensor>& tensors, int root, std::string_view label) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor flat = tensors[i].contiguous();
    comm.broadcast(flat, root, text_of(label, " ", i)).wait();
    if (!flat.is_same(tensors[i])) tensors[i].copy_(flat);
  }
}

std::vector<std::string> gather_texts(Comm& comm, std::string_view what, std::string_view text) {
  const int size = comm.size();
  at::Tensor lengths = at::empty({size}, at::kLong), mine = at::empty({1}, at::kLong);
  *mine.mutable_data_ptr<int64_t>() = static_cast<int64_t>(text.size());
  comm.all_gather(lengths, mine, text_of("length of ", what)).wait();
  const int64_t* p = lengths.const_data_ptr<int64_t>();
  const Counts counts(p, p + size);
  int64_t total = 0;
  for (const int64_t count : counts) total += count;
  at::Tensor all = at::empty({total}, at::kByte), bytes = at::empty({counts[comm.rank()]}, at::kByte);
  std::memcpy(bytes.mutable_data_ptr(), text.data(), text.size());
  comm.all_gather(all, bytes, counts, text_of("text of ", what)).wait();
  std::vector<std::string> texts;
  const char* next = static_cast<const char*>(all.const_data_ptr());
  for (const int64_t count : counts) {
    texts.emplace_back(next, count);
    next += count;
  }
  return texts;
}

std::string text_of_first(Comm& comm, std::string_view what, const std::function<std::string()>& make) {
  constexpr char kMade = '+';  // else the digit of the Error's code
  std::string mine;
  if (comm.rank() == 0) try {
      mine = kMade + make();
    } catch (const Error& error) {
      mine = std::to_string(static_cast<int>(error.code())) + error.what();
    }
  const std::string first = gather_texts(comm, what, mine).front();
  if (first.front() == kMade) return first.substr(1);
  throw Error(first.substr(1), static_cast<Exit>(first.front() - '0'));
}

void require_agreement(Comm& comm, std::string_view what, std::string_view text) {
  if (comm.size() == 1 || same_everywhere(comm, what, text)) return;
  const auto texts = gather_texts(comm, what, text);
  std::map<std::string, std::vector<int>> ranks_of;
  for (int r = 0; r < comm.size(); ++r) ranks_of[texts[r]].push_back(r);
  const auto most = std::max_element(ranks_of.begin(), ranks_of.end(), [](const auto& a, const auto& b) {
    if (a.second.size() != b.second.size()) return a.second.size() < b.second.size();
    return a.second[0] > b.second[0];
  });
  std::string message = text_of(what, " differs among the ranks of ", comm.name(), ":");
  for (const auto& [other, ranks] : ranks_of) {
    if (other == most->first) continue;
    const auto [theirs, usual] = first_difference(other, most->first);
    message += text_of(" ", name_ranks(ranks, comm.size()), " has '", theirs, "', ",
                       name_ranks(most->second, comm.size()), " has '", usual, "';");
  }
  fail(message, " was every rank started with the same command and the same files?");
}

}  // namespace orrery
