#include "parallel/mpi_link.h"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <deque>

#include "base/error.h"

namespace orrery::mpi {
namespace {

constexpr int kLetterTag = 0;  // on a communicator of its own

// Set once by start(); MPI handles live as long as MPI does.
struct Handles {
  int rank = 0;
  MPI_Comm data = MPI_COMM_NULL, letters = MPI_COMM_NULL;
  int max_tag = 32767;
};
Handles handles;

void set_errors_return(MPI_Comm comm) {
  mpi_check(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

std::vector<int> nodes_of_all_ranks(int size) {
  MPI_Comm local = MPI_COMM_NULL;
  mpi_check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local),
            "MPI_Comm_split_type");
  int leader = handles.rank;
  mpi_check(MPI_Bcast(&leader, 1, MPI_INT, 0, local), "MPI_Bcast");
  mpi_check(MPI_Comm_free(&local), "MPI_Comm_free");
  std::vector<int> leaders(size), nodes(size), seen;
  mpi_check(MPI_Allgather(&leader, 1, MPI_INT, leaders.data(), 1, MPI_INT, MPI_COMM_WORLD), "MPI_Allgather");
  for (int i = 0; i < size; ++i) {
    const auto found = std::find(seen.begin(), seen.end(), leaders[i]);
    nodes[i] = static_cast<int>(found - seen.begin());
    if (found == seen.end()) seen.push_back(leaders[i]);
  }
  return nodes;
}

}  // namespace

void mpi_check(int code, std::string_view call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw Error(text_of("rank ", handles.rank, ": ", call, ": ", text), Exit::peer_lost);
}

bool launched() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "MPI_LOCALNRANKS"})
    if (std::getenv(name)) return true;
  const char* tasks = std::getenv("SLURM_STEP_NUM_TASKS");
  return tasks && std::atoi(tasks) > 1;
}

std::string library_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  mpi_check(MPI_Get_library_version(text.data(), &length), "MPI_Get_library_version");
  const std::string whole(text.data(), static_cast<size_t>(length));
  return whole.substr(0, whole.find_first_of(",\n"));  // the vendor's package name and date follow
}

Layout start() {
  int provided = 0, size = 0, has_limit = 0;
  mpi_check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  require(provided == MPI_THREAD_MULTIPLE, "the MPI library gives thread level ", provided,
          ", wanted MPI_THREAD_MULTIPLE (is it built with thread support?)");
  set_errors_return(MPI_COMM_WORLD);
  mpi_check(MPI_Comm_rank(MPI_COMM_WORLD, &handles.rank), "MPI_Comm_rank");
  mpi_check(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size");
  const auto nodes = nodes_of_all_ranks(size);
  for (MPI_Comm* comm : {&handles.data, &handles.letters}) {
    mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, comm), "MPI_Comm_dup");
    set_errors_return(*comm);
  }
  int* limit = nullptr;
  mpi_check(MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &limit, &has_limit), "MPI_Comm_get_attr");
  if (has_limit) handles.max_tag = *limit;
  return {.rank = handles.rank, .node_of = nodes};
}

void finish() {
  mpi_check(MPI_Finalize(), "MPI_Finalize");
}

void abort(int code) noexcept {
  MPI_Abort(MPI_COMM_WORLD, code);
}

int max_tag() {
  return handles.max_tag;
}

struct Exchange::Requests {
  struct Expected {
    int peer = -1;  // -1: a send
    int bytes = 0;
  };
  int tag;
  int64_t max_message_bytes;
  std::vector<MPI_Request> handles = {};
  std::vector<Expected> expected = {};
  std::vector<MPI_Status> statuses = {};
};

Exchange::Exchange(int tag, int64_t max_message_bytes)
    : requests_(new Requests{.tag = tag, .max_message_bytes = max_message_bytes}) {}
Exchange::Exchange(Exchange&&) noexcept = default;
Exchange& Exchange::operator=(Exchange&&) noexcept = default;
Exchange::~Exchange() = default;

// Both sides send at least one message, so that a difference in size is seen even if one side has nothing to
// send.
void Exchange::send(int peer, const void* data, int64_t bytes) {
  const char* at = static_cast<const char*>(data);
  do {
    const int now = static_cast<int>(std::min(bytes, requests_->max_message_bytes));
    auto& request = requests_->handles.emplace_back(MPI_REQUEST_NULL);
    requests_->expected.push_back({});
    mpi_check(MPI_Isend(at, now, MPI_BYTE, peer, requests_->tag, handles.data, &request), "MPI_Isend");
    at += now;
    bytes -= now;
  } while (bytes > 0);
}

void Exchange::receive(int peer, void* data, int64_t bytes) {
  char* at = static_cast<char*>(data);
  do {
    const int now = static_cast<int>(std::min(bytes, requests_->max_message_bytes));
    auto& request = requests_->handles.emplace_back(MPI_REQUEST_NULL);
    requests_->expected.push_back({peer, now});
    mpi_check(MPI_Irecv(at, now, MPI_BYTE, peer, requests_->tag, handles.data, &request), "MPI_Irecv");
    at += now;
    bytes -= now;
  } while (bytes > 0);
}

bool Exchange::done() {
  auto& r = *requests_;
  if (r.handles.empty()) return true;
  r.statuses.resize(r.handles.size());
  int all = 0;
  const int code = MPI_Testall(static_cast<int>(r.handles.size()), r.handles.data(), &all, r.statuses.data());
  if (code == MPI_ERR_IN_STATUS) {
    for (size_t i = 0; i < r.statuses.size(); ++i) {
      const int error = r.statuses[i].MPI_ERROR;
      if (error == MPI_SUCCESS || error == MPI_ERR_PENDING) continue;
      if (error == MPI_ERR_TRUNCATE && r.expected[i].peer >= 0)
        fail("rank ", r.expected[i].peer, " sent more than the ", r.expected[i].bytes,
             " bytes that were expected");
      mpi_check(error, r.expected[i].peer < 0 ? "send" : "receive");
    }
  }
  mpi_check(code, "MPI_Testall");
  if (!all) return false;
  for (size_t i = 0; i < r.statuses.size(); ++i) {
    int bytes = 0;
    if (r.expected[i].peer < 0) continue;
    mpi_check(MPI_Get_count(&r.statuses[i], MPI_BYTE, &bytes), "MPI_Get_count");
    require(bytes == r.expected[i].bytes, "rank ", r.expected[i].peer, " sent ", bytes, " bytes, expected ",
            r.expected[i].bytes);
  }
  r.handles.clear();
  return true;
}

struct Mailbox::Outgoing {
  struct Item {
    std::string bytes;
    MPI_Request request = MPI_REQUEST_NULL;
  };
  std::deque<std::unique_ptr<Item>> items;
};

Mailbox::Mailbox() : outgoing_(new Outgoing) {}
Mailbox::~Mailbox() {
  for (auto& item : outgoing_->items) item.release();  // MPI may still read them: a peer that never answered
}

void Mailbox::post(int peer, std::string bytes) {
  auto& item = *outgoing_->items.emplace_back(new Outgoing::Item{.bytes = std::move(bytes)});
  mpi_check(MPI_Isend(item.bytes.data(), static_cast<int>(item.bytes.size()), MPI_BYTE, peer, kLetterTag,
                      handles.letters, &item.request),
            "MPI_Isend");
}

std::optional<Mailbox::Letter> Mailbox::poll() {
  std::erase_if(outgoing_->items, [](const auto& item) {
    int sent = 0;
    mpi_check(MPI_Test(&item->request, &sent, MPI_STATUS_IGNORE), "MPI_Test");
    return sent != 0;
  });
  int found = 0, size = 0;
  MPI_Message message = MPI_MESSAGE_NULL;
  MPI_Status status;
  mpi_check(MPI_Improbe(MPI_ANY_SOURCE, kLetterTag, handles.letters, &found, &message, &status),
            "MPI_Improbe");
  if (!found) return std::nullopt;
  mpi_check(MPI_Get_count(&status, MPI_BYTE, &size), "MPI_Get_count");
  Letter letter{.from = status.MPI_SOURCE, .bytes = std::string(size, '\0')};
  mpi_check(MPI_Mrecv(letter.bytes.data(), size, MPI_BYTE, &message, &status), "MPI_Mrecv");
  return letter;
}

}  // namespace orrery::mpi
