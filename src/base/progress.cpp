#include "base/progress.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iomanip>
#include <ostream>
#include <sstream>

#include "base/error.h"

namespace orrery {
namespace {

constexpr size_t kSamples = 50;  // the rate is that of the last so many steps
constexpr double kRedrawSeconds = 0.1;
constexpr int kBarColumns = 24;

int columns_of(int fd) {
  winsize size{};
  return isatty(fd) && ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

std::string rate_text(double per_second, const std::string& unit) {
  std::ostringstream text;
  text << std::setprecision(3);
  if (per_second >= 1)
    text << per_second << " " << unit << "s/s";
  else
    text << 1 / per_second << " s/" << unit;
  return text.str();
}

}  // namespace

int terminal_columns(int fd) {
  if (const int columns = columns_of(fd); columns > 0 || !isatty(fd)) return columns;
  const std::string path = text_of("/proc/", getppid(), "/fd/", fd);
  const int outer = open(path.c_str(), O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (outer < 0) return 0;
  const int columns = columns_of(outer);
  close(outer);
  return columns;
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string clock_text(double seconds) {
  if (!(seconds < 1e9)) return "?";
  const int64_t whole = std::llround(std::max(seconds, 0.0)), days = whole / 86400, hours = whole / 3600 % 24;
  std::ostringstream text;
  if (days > 0) text << days << (days == 1 ? " day " : " days ");
  if (days > 0 || hours > 0) text << hours << ":" << std::setw(2) << std::setfill('0');
  text << whole / 60 % 60 << ":" << std::setw(2) << std::setfill('0') << whole % 60;
  return text.str();
}

Progress::Progress(std::ostream& out, ProgressOptions options)
    : out_(out), options_(std::move(options)), done_(options_.done), recent_{{options_.seconds(), done_}} {}

Progress::~Progress() {
  if (bar_shown_) out_ << "\n" << std::flush;
}

void Progress::observe(int64_t done) {
  if (done == done_) return;
  done_ = done;
  recent_.push_back({options_.seconds(), done});
  if (recent_.size() > kSamples) recent_.pop_front();
}

std::string Progress::timing() const {
  const double seconds = recent_.back().seconds - recent_.front().seconds;
  const int64_t steps = recent_.back().done - recent_.front().done;
  if (steps <= 0 || seconds <= 0) return "";
  const double rate = static_cast<double>(steps) / seconds;
  const auto left = static_cast<double>(std::max<int64_t>(options_.total - done_, 0));
  return "  " + rate_text(rate, options_.unit) + "  ETA " + clock_text(left / rate);
}

void Progress::step(int64_t done, const std::string& detail) {
  observe(done);
  if (!options_.columns || options_.columns() == 0) return;
  detail_ = detail;
  if (options_.seconds() - drawn_at_ >= kRedrawSeconds || done == options_.total) draw(detail);
}

void Progress::report(int64_t done, const std::string& detail) {
  observe(done);
  if (options_.columns && options_.columns() > 0) return step(done, detail);
  out_ << options_.unit << " " << done << "/" << options_.total << "  " << detail << timing() << std::endl;
}

void Progress::note(std::string_view line) {
  clear();
  out_ << line << std::endl;
  if (options_.columns && options_.columns() > 0 && drawn_at_ > 0) draw(detail_);
}

// [=========>              ] 120/400  30%  loss 0.123  8.1 steps/s  ETA 0:35
void Progress::draw(const std::string& detail) {
  const double part =
      options_.total > 0
          ? std::clamp(static_cast<double>(done_) / static_cast<double>(options_.total), 0.0, 1.0)
          : 0;
  const int filled = static_cast<int>(part * kBarColumns);
  std::string bar(kBarColumns, ' ');
  std::fill(bar.begin(), bar.begin() + filled, '=');
  if (filled < kBarColumns) bar[filled] = '>';
  std::ostringstream line;
  line << done_ << "/" << options_.total << " " << std::setw(3) << static_cast<int>(part * 100) << "%  "
       << detail << timing();
  const auto columns =
      static_cast<size_t>(options_.columns() - 1);  // the last column would wrap on some terminals
  std::string text = line.str();
  if (text.size() + bar.size() + 3 <= columns) text = "[" + bar + "] " + text;
  text.resize(std::min(text.size(), columns));
  out_ << "\r\x1b[K" << text << std::flush;
  bar_shown_ = true;
  drawn_at_ = options_.seconds();
}

void Progress::clear() {
  if (bar_shown_) out_ << "\r\x1b[K";
  bar_shown_ = false;
}

}  // namespace orrery
