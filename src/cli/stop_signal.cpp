#include "cli/stop_signal.h"

#include <atomic>
#include <csignal>

namespace orrery::cli {
namespace {

// A signal's handler can reach nothing but globals.
std::atomic<bool> asked = false;
static_assert(std::atomic<bool>::is_always_lock_free);

}  // namespace

void watch_stop_signal() {
  std::signal(SIGUSR1, [](int) { asked = true; });
}

bool stop_was_asked() {
  return asked;
}

}  // namespace orrery::cli
