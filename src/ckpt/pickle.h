#pragma once
// Pickle: the tree that a Python pickle describes, for the readers of PyTorch files. It executes nothing: a
// pickle may name only globals of the reader's allow-list, and calling one yields a node that says so. Known
// are the opcodes that Python's own pickler writes for such data in protocols 2 to 5 (format:
// Lib/pickletools.py of CPython); all others are refused.
#include <cstdint>
#include <deque>
#include <span>
#include <string_view>
#include <vector>

namespace orrery {

enum class PickleKind : uint8_t {
  none,
  boolean,        // integer: 0 or 1
  integer,        // integer
  large_integer,  // text: more than 8 bytes, little-endian two's complement
  real,           // real
  text,           // text
  bytes,          // text
  list,           // items
  tuple,          // items
  dict,           // items: key, value, key, value ...
  global,         // text: "module name", an entry of the allow-list
  object,         // callable(*arguments), and then __setstate__(*state) unless null
  persistent      // arguments: the parts of a persistent id
};

struct PickleNode {
  PickleKind kind = PickleKind::none;
  union {
    int64_t integer = 0;
    double real;
  };
  std::string_view text;  // into the pickle's bytes, or the allow-list
  std::vector<const PickleNode*> items;
  const PickleNode* callable = nullptr;   // a global
  const PickleNode* arguments = nullptr;  // a tuple
  const PickleNode* state = nullptr;

  bool is(PickleKind other) const { return kind == other; }
  // An object made by calling this global.
  bool is_call(std::string_view global) const {
    return kind == PickleKind::object && callable->text == global;
  }
};

class Pickle {
 public:
  // Interprets the pickle at the beginning of `bytes`, which must outlive this object. `allowed` holds
  // "module name" entries and outlives it too. Throws Error for anything malformed, unknown opcodes, globals
  // that are not allowed, more nodes than 2^20 and one for four bytes (at most 2^24; equal small numbers
  // share one), more than 2^22 values on the stack, and a memo of more values than it made. The tree may be
  // deep, and lists and dicts may contain themselves: who walks it keeps count.
  Pickle(std::string_view bytes, std::span<const std::string_view> allowed);

  const PickleNode& root() const { return *root_; }
  size_t size() const { return size_; }  // bytes of the pickle
  const std::deque<PickleNode>& nodes() const { return nodes_; }

 private:
  friend class PickleMachine;
  std::deque<PickleNode> nodes_;
  const PickleNode* root_ = nullptr;
  size_t size_ = 0;
};

// The value under a text key of a dict, or null. For records: Error if it is not a dict, has over 64 keys, or
// this key twice (Python would take the last).
const PickleNode* find_item(const PickleNode& dict, std::string_view key);
// The same; Error if it is absent or of another kind.
const PickleNode& get_item(const PickleNode& dict, std::string_view key, PickleKind kind);
// Integers of a tuple or list (or of a torch.Size); none may be missing, of another kind or more than `most`.
std::vector<int64_t> integers_of(const PickleNode& sequence, size_t most);
std::string_view name_of(PickleKind kind);

}  // namespace orrery
