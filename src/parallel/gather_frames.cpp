#include "parallel/gather_frames.h"

#include "autograd/tape.h"
#include "parallel/context_split.h"

namespace orrery {
namespace {

class GatherFrames final : public Op {
 public:
  GatherFrames(Comm& context, int64_t dim) : context_(context), dim_(dim) {}
  std::string_view name() const override { return "gather_frames"; }
  bool saves_input(size_t) const override { return false; }

  Tensors forward(const Tensors& in) const override { return {gather_frames(context_, in[0], dim_)}; }
  Tensors backward(const Saved&, const Tensors& dout) const override {
    return {local_frames(dout[0], dim_, context_) * context_.size()};
  }
  Tensors jvp(const Saved&, const Tensors& t) const override { return {gather_frames(context_, t[0], dim_)}; }

 private:
  Comm& context_;
  int64_t dim_;
};

}  // namespace

Variable gather_frames(Comm& context, const Variable& local, int64_t dim) {
  return apply_op(std::make_shared<GatherFrames>(context, dim), {local})[0];
}

}  // namespace orrery
