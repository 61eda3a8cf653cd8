#include "parallel/monitor.h"

#include <cstring>
#include <iostream>

namespace orrery {
namespace {

constexpr size_t kMaxText = 16 << 10;
constexpr auto kCollect = std::chrono::milliseconds(300);

struct Header {
  enum Kind : int32_t { question, answer, failure };
  Kind kind;
  int32_t value = 0;  // context of a question, code of a failure
  int64_t ticket = 0, sequence = 0;
  int64_t split = 0;  // where the second text begins
};

std::string letter(Header header, const std::string& first = {}, const std::string& second = {}) {
  const std::string a = first.substr(0, kMaxText), b = second.substr(0, kMaxText);
  header.split = static_cast<int64_t>(a.size());
  std::string bytes(sizeof(Header), '\0');
  std::memcpy(bytes.data(), &header, sizeof(Header));
  return bytes + a + b;
}

}  // namespace

std::string name_ranks(const std::vector<int>& ranks, int size) {
  std::ostringstream out;
  if (static_cast<int>(ranks.size()) == size && size > 1) {
    out << "all " << size << " ranks";
    return out.str();
  }
  out << (ranks.size() == 1 ? "rank " : "ranks ");
  constexpr size_t kMost = 16;
  const size_t shown = std::min(ranks.size(), kMost);
  for (size_t i = 0; i < shown; ++i)
    out << (i == 0 ? "" : i + 1 == ranks.size() ? " and " : ", ") << ranks[i];
  if (shown < ranks.size()) out << " and " << ranks.size() - shown << " more";
  out << " of " << size;
  return out.str();
}

std::string missing_ranks(const std::vector<int>& members, int this_rank,
                          const std::map<int, RankProgress>& known, int64_t number, const std::string& name) {
  constexpr int kMost = 16;
  std::string text;
  int missing = 0;
  for (const int rank : members) {
    if (rank == this_rank) continue;
    const auto found = known.find(rank);
    std::string why;
    if (found == known.end())
      why = "does not answer (stopped, or its host or network is lost)";
    else if (found->second.issued < number)
      why = "has not arrived; " + found->second.where;
    else if (!found->second.call.empty() && found->second.call != name)
      why = "called " + found->second.call + " instead";
    if (!why.empty() && missing++ < kMost) text += text_of(text.empty() ? "" : "; ", "rank ", rank, " ", why);
  }
  if (missing == 0) return "all ranks arrived (different sizes on the ranks, or a fault of the network?)";
  return missing <= kMost ? text : text_of(text, "; and ", missing - kMost, " more ranks");
}

Verdict judge(const std::vector<Failure>& failures, int size) {
  std::map<std::pair<bool, std::string>, std::vector<int>> groups;  // consequences sort after causes
  std::optional<Exit> code;
  for (const Failure& failure : failures) {
    const bool consequence = failure.code == Exit::peer_lost;
    groups[{consequence, failure.message}].push_back(failure.rank);
    if (!code || (*code == Exit::peer_lost && !consequence)) code = failure.code;
  }
  Verdict verdict{.text = {}, .code = code.value_or(Exit::failure)};
  for (auto& [key, ranks] : groups) {
    std::sort(ranks.begin(), ranks.end());
    verdict.text += text_of("orrery: ", name_ranks(ranks, size), ": ", key.second, "\n");
  }
  return verdict;
}

void Monitor::poll() {
  while (const auto letter = mailbox_.poll()) read(*letter);
  if (failures_.empty()) return;
  if (static_cast<int>(failures_.size()) < size() && Clock::now() - first_failure_ < kCollect) return;
  const Verdict verdict = judge(failures_, size());
  failures_.clear();
  std::cerr << verdict.text << std::flush;
  mpi::abort(static_cast<int>(verdict.code));
}

void Monitor::read(const mpi::Mailbox::Letter& mail) {
  Header header{};
  if (mail.bytes.size() < sizeof(Header)) return;
  std::memcpy(&header, mail.bytes.data(), sizeof(Header));
  const std::string text = mail.bytes.substr(sizeof(Header));
  const size_t split = std::min(text.size(), static_cast<size_t>(header.split));
  switch (header.kind) {
    case Header::question: {
      const RankProgress progress = answer_(header.value, header.sequence);
      mailbox_.post(mail.from,
                    letter({.kind = Header::answer, .ticket = header.ticket, .sequence = progress.issued},
                           progress.call, progress.where));
      return;
    }
    case Header::answer:
      answers_[header.ticket][mail.from] = {header.sequence, text.substr(0, split), text.substr(split)};
      return;
    case Header::failure:
      collect({mail.from, static_cast<Exit>(header.value), text});
      return;
  }
}

int64_t Monitor::ask(const std::vector<int>& ranks, int context, int64_t sequence) {
  const int64_t ticket = next_ticket_++;
  answers_[ticket];
  for (const int rank : ranks)
    if (rank != layout_.rank)
      mailbox_.post(
          rank, letter({.kind = Header::question, .value = context, .ticket = ticket, .sequence = sequence}));
  return ticket;
}

std::map<int, RankProgress> Monitor::answers(int64_t ticket) const {
  const auto found = answers_.find(ticket);
  return found == answers_.end() ? std::map<int, RankProgress>{} : found->second;
}

void Monitor::report(const Failure& failure) {
  if (layout_.rank == 0) return collect(failure);
  mailbox_.post(
      0, letter({.kind = Header::failure, .value = static_cast<int32_t>(failure.code)}, failure.message));
}

void Monitor::collect(Failure failure) {
  if (failures_.empty()) first_failure_ = Clock::now();
  failures_.push_back(std::move(failure));
}

}  // namespace orrery
