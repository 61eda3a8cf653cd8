#pragma once
// Every MPI call of the program is in mpi_link.cpp; this is what the rest of src/parallel sees of it. After
// start() one thread at a time uses an Exchange or a Mailbox (MpiEngine's); abort() may be called from
// anywhere.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::mpi {

// Throws Error (rank, call, MPI's text; Exit::peer_lost) unless code is MPI_SUCCESS.
void mpi_check(int code, std::string_view call);

// Whether a launcher (mpirun, srun with PMI) started this process. If not, MPI is left alone: a singleton
// MPI_Init would need the launcher's daemon and its temporary folders.
bool launched();

std::string library_version();  // may be called before start()

struct Layout {
  int rank = 0;
  std::vector<int> node_of = {0};  // for each rank its node, numbered in the order of their lowest ranks
};
Layout start();  // MPI_Init_thread and what ranks must know of each other; Error if not possible
void finish();   // MPI_Finalize
void abort(int code) noexcept;  // ends all ranks; the launcher's exit code is this one

int max_tag();

// Messages of one stage of a collective, posted together. Ranks are world ranks.
class Exchange {
 public:
  Exchange(int tag, int64_t max_message_bytes);
  Exchange(Exchange&&) noexcept;
  Exchange& operator=(Exchange&&) noexcept;
  ~Exchange();  // unfinished requests are abandoned, which is right only if the program ends
  void send(int peer, const void* data, int64_t bytes);
  void receive(int peer, void* data, int64_t bytes);
  // Whether all messages have come and gone. Throws Error if a message had another size than expected.
  bool done();

 private:
  struct Requests;
  std::unique_ptr<Requests> requests_;
};

// Small messages between any two ranks, outside the order of collectives.
class Mailbox {
 public:
  struct Letter {
    int from;
    std::string bytes;
  };
  Mailbox();
  ~Mailbox();
  void post(int peer, std::string bytes);  // returns at once, whatever the peer does
  std::optional<Letter> poll();

 private:
  struct Outgoing;
  std::unique_ptr<Outgoing> outgoing_;
};

}  // namespace orrery::mpi
