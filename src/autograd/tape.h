#pragma once
// The tape: a linear list of the ops that ran, in order of execution, and of the scopes they ran in. Backward
// walks it from the end: no graph, no sort, no recursion, one fixed order of gradient sums. Without a
// Recording in scope nothing is recorded: inference is the default.
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "autograd/op.h"

namespace orrery {

class Module;

// One recorded op, or a scope mark (op == nullptr).
struct Node {
  enum class Kind { op, enter, leave };
  Kind kind = Kind::op;
  std::shared_ptr<const Op> op;
  const Module* scope = nullptr;               // innermost module call; names the op and carries the hooks
  std::vector<std::shared_ptr<Value>> inputs;  // null where neither backward nor recompute reads it
  std::vector<std::shared_ptr<GradSlot>> input_slots;  // null where the input needs no gradient
  std::vector<std::pair<Shape, at::ScalarType>> input_meta;
  std::vector<std::shared_ptr<Value>> outputs;    // null where backward does not read it
  std::vector<std::weak_ptr<Value>> all_outputs;  // filled inside recompute units only
  std::vector<std::shared_ptr<GradSlot>> output_slots;

  Node() = default;
  Node(Node&&) = delete;
  ~Node();
  std::string label() const;  // "blocks.7.mlp.layer1.linear"
  void recompute();           // runs forward again and refills every output that is in use
};

class Tape {
 public:
  size_t size() const { return nodes_.size(); }
  Node& append() { return *nodes_.emplace_back(std::make_unique<Node>()); }
  const Node& operator[](size_t i) const { return *nodes_[i]; }
  Node& operator[](size_t i) { return *nodes_[i]; }

  // Bytes of distinct storages held by the recorded values that are not leaves.
  int64_t held_bytes() const;
  // The same bytes by the label of the op that made them, with the number of a block as *:
  // "blocks.*.mlp.layer1.linear". A view counts under the label of what holds the storage first.
  std::map<std::string, int64_t> held_by_label() const;

 private:
  friend class Recording;
  // visit(bytes, holder, slot): each storage once; the node that holds it, and its variable where it is an
  // input.
  using VisitHeld = std::function<void(int64_t, const Node&, const GradSlot*)>;
  void for_each_held(const VisitHeld& visit) const;
  std::vector<std::unique_ptr<Node>> nodes_;
};

// RAII: ops run on this thread while it lives are recorded. One may be opened inside another; the inner one
// records.
class Recording {
 public:
  Recording();
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  struct Seed {
    Variable output;
    at::Tensor cotangent;
  };
  // d(loss)/d(everything that needs a gradient), added to the leaves' slots. Consumes the tape. A scalar's
  // seed is 1.
  void backward(const Variable& loss);
  void backward(const std::vector<Seed>& seeds);

  Tape& tape() { return tape_; }
  static Recording* current();

 private:
  friend class NoRecording;
  Tape tape_;
  Recording* outer_;
};

// RAII: nothing is recorded while it lives, whatever is open outside (a frozen branch, a reference network).
class NoRecording {
 public:
  NoRecording();
  ~NoRecording();
  NoRecording(const NoRecording&) = delete;
  NoRecording& operator=(const NoRecording&) = delete;

 private:
  Recording* outer_;
};

// Whether apply_op would neither record an op of these inputs nor push tangents through it.
bool has_no_derivative(const Variables& in);

// Runs the op, records it if a Recording is open and an input needs a gradient, and pushes tangents through
// its jvp. Returns the results (not the statistics).
Variables apply_op(std::shared_ptr<const Op> op, const Variables& in);

}  // namespace orrery
