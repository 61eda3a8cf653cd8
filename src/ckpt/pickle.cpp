#include "ckpt/pickle.h"

#include <array>
#include <bit>
#include <cstring>

#include "base/error.h"
#include "base/printable.h"

namespace orrery {
namespace {

// Metadata of a model of 14 B parameters on 256 ranks have some 10^7 nodes, eight bytes of the pickle for
// each.
constexpr size_t kMaxNodes = size_t{1} << 24, kFreeNodes = size_t{1} << 20, kBytesPerNode = 4;
// Python's pickler hands over 1000 items of a list or dict at a time, a tuple whole; other writers also a
// dict.
constexpr size_t kMaxStack = size_t{1} << 22;
constexpr size_t kMaxFields = 64;  // of a record: finding one is a linear search
constexpr size_t kMaxName = 256;   // of a module or global

enum Op : uint8_t {
  proto = 0x80,
  frame = 0x95,
  stop = '.',
  mark = '(',
  none = 'N',
  new_true = 0x88,
  new_false = 0x89,
  bin_int = 'J',
  bin_int1 = 'K',
  bin_int2 = 'M',
  long1 = 0x8a,
  bin_float = 'G',
  short_bin_string = 'U',
  bin_string = 'T',
  bin_unicode = 'X',
  short_bin_unicode = 0x8c,
  bin_unicode8 = 0x8d,
  bin_bytes = 'B',
  short_bin_bytes = 'C',
  bin_bytes8 = 0x8e,
  byte_array8 = 0x96,
  empty_list = ']',
  append = 'a',
  appends = 'e',
  empty_tuple = ')',
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  tuple = 't',
  empty_dict = '}',
  set_item = 's',
  set_items = 'u',
  bin_put = 'q',
  long_bin_put = 'r',
  memoize = 0x94,
  bin_get = 'h',
  long_bin_get = 'j',
  global = 'c',
  stack_global = 0x93,
  reduce = 'R',
  new_obj = 0x81,
  build = 'b',
  bin_pers_id = 'Q',
};

}  // namespace

// The stack machine of the format. Nodes live in the Pickle; the stack, the marks and the memo point to them.
class PickleMachine {
 public:
  PickleMachine(Pickle& pickle, std::string_view bytes, std::span<const std::string_view> allowed)
      : pickle_(pickle), bytes_(bytes), allowed_(allowed) {}

  void run() {
    require(!bytes_.empty() && static_cast<uint8_t>(bytes_[0]) == Op::proto,
            "the pickle does not begin with its protocol");
    for (;;) {
      const size_t position = at_;
      const uint8_t op = number<uint8_t>();
      if (op == Op::stop) break;
      const bool known = header(op) || value(op) || container(op) || memo(op) || call(op);
      require(known, "pickle opcode ", static_cast<int>(op), " at byte ", position, " is not known here");
    }
    require(stack_.size() == 1 && marks_.empty(), "the pickle ends with ", stack_.size(), " values and ",
            marks_.size(), " marks on its stack, wanted 1 and 0");
    pickle_.root_ = stack_.back();
    pickle_.size_ = at_;
  }

 private:
  // Bytes.
  std::string_view take(uint64_t size) {
    require(size <= bytes_.size() - at_, "the pickle wants ", size, " bytes at byte ", at_, ", it has ",
            bytes_.size() - at_, " (cut short, or no STOP?)");
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  template <class T>
  T number() {
    T out;
    std::memcpy(&out, take(sizeof out).data(), sizeof out);
    return out;
  }
  std::string_view line() {
    const size_t end = bytes_.substr(at_, kMaxName + 1).find('\n');
    require(end != bytes_.npos, "a global's name does not end");
    const std::string_view text = take(end);
    take(1);
    return text;
  }

  // Stack.
  // A node takes a hundred times the memory of its opcode.
  PickleNode& push(PickleKind kind) {
    const size_t most = std::min(kMaxNodes, kFreeNodes + at_ / kBytesPerNode);
    require(pickle_.nodes_.size() < most, "the pickle makes more values than ", most, " in ", at_,
            " bytes (a bomb?)");
    PickleNode& node = pickle_.nodes_.emplace_back();
    node.kind = kind;
    push(node);
    return node;
  }
  void push(PickleNode& node) {
    require(stack_.size() < kMaxStack, "the pickle has more than ", kMaxStack, " values on its stack");
    stack_.push_back(&node);
  }
  // None, booleans and small integers do not change: one node for all that are equal.
  void push_small(PickleKind kind, uint8_t value) {
    PickleNode*& shared = small_[static_cast<size_t>(kind)][value];
    if (shared != nullptr) return push(*shared);
    shared = &push(kind);
    shared->integer = value;
  }
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  PickleNode& top() {
    require(stack_.size() > floor(), "the pickle takes a value from an empty stack");
    return *stack_.back();
  }
  PickleNode& pop() {
    PickleNode& node = top();
    stack_.pop_back();
    return node;
  }
  std::vector<const PickleNode*> pop_to_mark() {
    require(!marks_.empty(), "the pickle takes values up to a mark that is not there");
    std::vector<const PickleNode*> items(stack_.begin() + static_cast<int64_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return items;
  }

  // Opcodes, by group; false: not of the group.
  bool header(uint8_t op) {
    if (op == Op::proto) {
      const int version = number<uint8_t>();
      require(version >= 2 && version <= 5, "pickle protocol ", version, ", wanted 2 to 5");
    } else if (op == Op::frame) {
      const uint64_t size = number<uint64_t>();
      require(size <= bytes_.size() - at_, "a pickle frame of ", size, " bytes, it has ",
              bytes_.size() - at_);
    } else {
      return false;
    }
    return true;
  }

  bool value(uint8_t op) {
    switch (op) {
      case Op::none:
        return push_small(PickleKind::none, 0), true;
      case Op::new_true:
      case Op::new_false:
        return push_small(PickleKind::boolean, op == Op::new_true), true;
      case Op::bin_int:
        return push(PickleKind::integer).integer = number<int32_t>(), true;
      case Op::bin_int1:
        return push_small(PickleKind::integer, number<uint8_t>()), true;
      case Op::bin_int2:
        return push(PickleKind::integer).integer = number<uint16_t>(), true;
      case Op::long1:
        return long_integer(take(number<uint8_t>())), true;
      case Op::bin_float:
        return push(PickleKind::real).real = std::bit_cast<double>(__builtin_bswap64(number<uint64_t>())),
               true;
      default:
        return text(op);
    }
  }

  bool text(uint8_t op) {
    switch (op) {
      case Op::short_bin_string:
      case Op::short_bin_unicode:
        return push(PickleKind::text).text = take(number<uint8_t>()), true;
      case Op::bin_string:
      case Op::bin_unicode:
        return push(PickleKind::text).text = take(number<uint32_t>()), true;
      case Op::bin_unicode8:
        return push(PickleKind::text).text = take(number<uint64_t>()), true;
      case Op::short_bin_bytes:
        return push(PickleKind::bytes).text = take(number<uint8_t>()), true;
      case Op::bin_bytes:
        return push(PickleKind::bytes).text = take(number<uint32_t>()), true;
      case Op::bin_bytes8:
      case Op::byte_array8:
        return push(PickleKind::bytes).text = take(number<uint64_t>()), true;
      default:
        return false;
    }
  }

  void long_integer(std::string_view bytes) {
    if (bytes.size() > sizeof(int64_t)) {
      push(PickleKind::large_integer).text = bytes;
      return;
    }
    uint64_t value = !bytes.empty() && bytes.back() < 0 ? UINT64_MAX : 0;
    std::memcpy(&value, bytes.data(), bytes.size());
    push(PickleKind::integer).integer = static_cast<int64_t>(value);
  }

  bool container(uint8_t op) {
    switch (op) {
      case Op::mark:
        require(marks_.size() < kMaxStack, "the pickle has more than ", kMaxStack, " marks on its stack");
        return marks_.push_back(stack_.size()), true;
      case Op::empty_list:
        return push(PickleKind::list), true;
      case Op::empty_dict:
        return push(PickleKind::dict), true;
      case Op::empty_tuple:
        return make_tuple(0), true;
      case Op::tuple1:
      case Op::tuple2:
      case Op::tuple3:
        return make_tuple(1 + static_cast<size_t>(op - Op::tuple1)), true;
      case Op::tuple: {
        auto items = pop_to_mark();
        push(PickleKind::tuple).items = std::move(items);
        return true;
      }
      case Op::append:
      case Op::set_item:
        marks_.push_back(stack_.size() - std::min<size_t>(stack_.size() - floor(), op == Op::append ? 1 : 2));
        [[fallthrough]];
      case Op::appends:
      case Op::set_items: {
        const auto items = pop_to_mark();
        const bool is_list = op == Op::append || op == Op::appends;
        extend(top(), is_list ? PickleKind::list : PickleKind::dict, items);
        return true;
      }
      default:
        return false;
    }
  }

  void make_tuple(size_t size) {
    std::vector<const PickleNode*> items(size);
    for (size_t i = size; i-- > 0;) items[i] = &pop();
    push(PickleKind::tuple).items = std::move(items);
  }

  static void extend(PickleNode& target, PickleKind kind, const std::vector<const PickleNode*>& items) {
    require(target.is(kind), "the pickle adds items to ", name_of(target.kind), ", wanted ", name_of(kind));
    require(kind == PickleKind::list || items.size() % 2 == 0, "the pickle sets a key without a value");
    target.items.insert(target.items.end(), items.begin(), items.end());
  }

  bool memo(uint8_t op) {
    switch (op) {
      case Op::memoize:
        return store(num_stored_), true;
      case Op::bin_put:
        return store(number<uint8_t>()), true;
      case Op::long_bin_put:
        return store(number<uint32_t>()), true;
      case Op::bin_get:
        return recall(number<uint8_t>()), true;
      case Op::long_bin_get:
        return recall(number<uint32_t>()), true;
      default:
        return false;
    }
  }

  // Picklers store a value once, when they have made it, and count from 0 (of Python 2: from 1).
  void store(size_t index) {
    require(index <= pickle_.nodes_.size(), "the pickle stores more values than it makes: memo ", index,
            " after ", pickle_.nodes_.size(), " values");
    if (index >= memo_.size()) memo_.resize(index + 1);
    num_stored_ += memo_[index] == nullptr;
    memo_[index] = &top();
  }

  void recall(size_t index) {
    require(index < memo_.size() && memo_[index] != nullptr, "the pickle reads memo ", index,
            ", which it never stored");
    push(*memo_[index]);
  }

  bool call(uint8_t op) {
    switch (op) {
      case Op::global: {
        const std::string_view module = line();
        find_global(module, line());
        return true;
      }
      case Op::stack_global: {
        const PickleNode& name = pop();
        const PickleNode& module = pop();
        require(name.is(PickleKind::text) && module.is(PickleKind::text), "a global's name is no text");
        find_global(module.text, name.text);
        return true;
      }
      case Op::reduce:
      case Op::new_obj: {
        const PickleNode& arguments = pop();
        make_object(pop(), arguments);
        return true;
      }
      case Op::build: {
        const PickleNode& state = pop();
        set_state(top(), state);
        return true;
      }
      case Op::bin_pers_id: {
        const PickleNode& id = pop();
        require(id.is(PickleKind::tuple), "a persistent id is ", name_of(id.kind), ", wanted a tuple");
        push(PickleKind::persistent).arguments = &id;
        return true;
      }
      default:
        return false;
    }
  }

  // A name with a dot would be an attribute of an attribute.
  void find_global(std::string_view module, std::string_view name) {
    for (const std::string_view entry : allowed_) {
      if (entry.size() != module.size() + 1 + name.size()) continue;
      if (entry.starts_with(module) && entry[module.size()] == ' ' && entry.ends_with(name) &&
          name.find_first_of(". ") == name.npos) {
        push(PickleKind::global).text = entry;
        return;
      }
    }
    fail("the pickle names the global ",
         printable(std::string(module.substr(0, kMaxName)) + " " + std::string(name.substr(0, kMaxName))),
         ", which is not on the list of those allowed here (nothing was run)");
  }

  void make_object(const PickleNode& callable, const PickleNode& arguments) {
    require(callable.is(PickleKind::global), "the pickle calls ", name_of(callable.kind),
            ", wanted a global");
    require(arguments.is(PickleKind::tuple), "the pickle calls ", printable(callable.text), " with ",
            name_of(arguments.kind), ", wanted a tuple");
    if (callable.text == "collections OrderedDict" && arguments.items.empty()) {
      push(PickleKind::dict);
      return;
    }
    PickleNode& object = push(PickleKind::object);
    object.callable = &callable;
    object.arguments = &arguments;
  }

  // What is set on a dict are attributes of an OrderedDict, such as _metadata of a state dict.
  static void set_state(PickleNode& object, const PickleNode& state) {
    if (object.is(PickleKind::dict)) return;
    require(object.is(PickleKind::object), "the pickle sets the state of ", name_of(object.kind));
    require(object.state == nullptr, "the pickle sets the state of an object twice");
    object.state = &state;
  }

  Pickle& pickle_;
  const std::string_view bytes_;
  const std::span<const std::string_view> allowed_;
  size_t at_ = 0;
  std::vector<PickleNode*> stack_;
  std::vector<size_t> marks_;
  std::vector<PickleNode*> memo_;  // by index; null: never stored
  size_t num_stored_ = 0;
  std::array<std::array<PickleNode*, 256>, 3> small_{};  // by kind and value
};

Pickle::Pickle(std::string_view bytes, std::span<const std::string_view> allowed) {
  PickleMachine(*this, bytes, allowed).run();
}

std::string_view name_of(PickleKind kind) {
  constexpr std::array<std::string_view, 13> names{
      "None",   "a boolean", "an integer", "a large integer", "a float",   "text",           "bytes",
      "a list", "a tuple",   "a dict",     "a global",        "an object", "a persistent id"};
  return names[static_cast<size_t>(kind)];
}

const PickleNode* find_item(const PickleNode& dict, std::string_view key) {
  require(dict.is(PickleKind::dict), "got ", name_of(dict.kind), ", wanted a dict with ", printable(key));
  require(dict.items.size() <= 2 * kMaxFields, "a dict of ", dict.items.size() / 2,
          " keys, wanted a record with ", printable(key));
  const PickleNode* found = nullptr;
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    if (!dict.items[i]->is(PickleKind::text) || dict.items[i]->text != key) continue;
    require(found == nullptr, "a dict has the key ", printable(key), " twice");
    found = dict.items[i + 1];
  }
  return found;
}

const PickleNode& get_item(const PickleNode& dict, std::string_view key, PickleKind kind) {
  const PickleNode* const item = find_item(dict, key);
  require(item != nullptr, "a dict without ", printable(key));
  require(item->is(kind), printable(key), " is ", name_of(item->kind), ", wanted ", name_of(kind));
  return *item;
}

std::vector<int64_t> integers_of(const PickleNode& sequence, size_t most) {
  if (sequence.is_call("torch Size")) {
    const auto& arguments = sequence.arguments->items;
    require(arguments.size() == 1 && !arguments[0]->is(PickleKind::object), "a torch.Size of no tuple");
    return integers_of(*arguments[0], most);
  }
  require(sequence.is(PickleKind::tuple) || sequence.is(PickleKind::list), "got ", name_of(sequence.kind),
          ", wanted a tuple of integers");
  require(sequence.items.size() <= most, "a tuple of ", sequence.items.size(), " integers, at most ", most);
  std::vector<int64_t> out;
  for (const PickleNode* item : sequence.items) {
    require(item->is(PickleKind::integer), "got ", name_of(item->kind), ", wanted an integer");
    out.push_back(item->integer);
  }
  return out;
}

}  // namespace orrery
