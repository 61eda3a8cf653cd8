#pragma once
// Progress: how far a long job is. On a terminal one line that rewrites itself, elsewhere plain lines. Used
// by training and by generation; rank 0 alone should make one.
#include <deque>
#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>

namespace orrery {

// Columns of the terminal behind a file descriptor; 0: not a terminal. mpirun gives its ranks a
// pseudo-terminal without a size even where its own output goes to a file: then the parent's descriptor of
// the same number decides.
int terminal_columns(int fd);
double steady_seconds();

struct ProgressOptions {
  int64_t total = 0;  // steps of the whole job
  int64_t done = 0;   // steps done before (a resumed run)
  std::string unit = "step";
  std::function<int()> columns;  // terminal_columns of where out leads, or 0
  std::function<double()> seconds = steady_seconds;
};

class Progress {
 public:
  Progress(std::ostream& out, ProgressOptions options);
  ~Progress();  // leaves the cursor on a line of its own
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // After each step. detail: "loss 0.1234". A terminal is redrawn at most ten times a second.
  void step(int64_t done, const std::string& detail);
  // A line that stays: the numbers of a logged step. A terminal shows them in the bar alone.
  void report(int64_t done, const std::string& detail);
  // Any other line; the bar moves below it.
  void note(std::string_view line);

 private:
  void observe(int64_t done);
  void draw(const std::string& detail);
  void clear();
  std::string timing() const;

  std::ostream& out_;
  ProgressOptions options_;
  int64_t done_;
  struct Sample {
    double seconds;
    int64_t done;
  };
  std::deque<Sample> recent_;  // for the rate
  double drawn_at_ = -1e30;
  bool bar_shown_ = false;
  std::string detail_;
};

// "0:07", "12:34", "3:00:05", "2 days 3:00:05"
std::string clock_text(double seconds);

}  // namespace orrery
