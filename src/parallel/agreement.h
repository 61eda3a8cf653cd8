#pragma once
// What ranks must agree on: the same settings and choices, the same bits. Called by the trainer and the
// program.
#include <functional>
#include <string>
#include <vector>

#include "parallel/comm.h"

namespace orrery {

// Overwrites the tensors of all other ranks with root's; any strides.
void broadcast_tensors(Comm& comm, const std::vector<at::Tensor>& tensors, int root, std::string_view label);

// The texts of all ranks, in rank order, on every rank. Collective.
std::vector<std::string> gather_texts(Comm& comm, std::string_view what, std::string_view text);

// What `make` returns on the first rank, which alone calls it: what all would read from the same large files.
// Its Error is thrown on every rank. Collective.
std::string text_of_first(Comm& comm, std::string_view what, const std::function<std::string()>& make);

// Throws the same Error on every rank unless text is the same everywhere: it names the ranks that differ from
// most and the first line in which they do. what: "configuration".
void require_agreement(Comm& comm, std::string_view what, std::string_view text);

}  // namespace orrery
