#include "bench/time_table.h"

#include "base/columns.h"
#include "base/error.h"

namespace orrery {
namespace {

std::string line(double ms, double percent, const std::string& calls, const std::string& rate,
                 const std::string& what) {
  return text_of(right(fixed(ms, 3), 11), right(fixed(percent, 2), 8), right(calls, 8), right(rate, 16), "  ",
                 what, "\n");
}

}  // namespace

std::string rate_of(const TimeRow& r) {
  if (r.ms <= 0) return "";
  if (r.flops > 0) return fixed(1e-9 * r.flops / r.ms, r.flops / r.ms > 1e11 ? 0 : 3) + " TFLOP/s";
  if (r.bytes > 0) return fixed(1e-6 * r.bytes / r.ms, r.bytes / r.ms > 1e8 ? 0 : 2) + " GB/s";
  return "";
}

std::string time_table(const std::vector<TimeRow>& rows, const std::string& what, int64_t most) {
  const double all = total_ms(rows);
  std::string text =
      text_of("\ntimes of a profiled ", what, " on rank 0, each moment in one row\n", right("ms", 11),
              right("%", 8), right("calls", 8), right("rate", 16), "  label\n");
  double rest = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const TimeRow& r = rows[i];
    if (static_cast<int64_t>(i) < most)
      text += line(r.ms, 100 * r.ms / all, r.calls > 0 ? fixed(r.calls, 0) : "", rate_of(r),
                   r.phase.empty() ? r.label : r.phase + "  " + r.label);
    else
      rest += r.ms;
  }
  if (rest > 0)
    text += line(rest, 100 * rest / all, "", "", text_of(rows.size() - static_cast<size_t>(most), " more"));
  return text + line(all, 100, "", "", "all");
}

nlohmann::ordered_json json_of(const std::vector<TimeRow>& rows) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const TimeRow& row : rows)
    out.push_back({{"label", row.label},
                   {"phase", row.phase},
                   {"calls", row.calls},
                   {"ms", row.ms},
                   {"flops", row.flops},
                   {"bytes", row.bytes}});
  return out;
}

}  // namespace orrery
