#include "ckpt/hdf5_version.h"

#include <hdf5.h>

#include "base/error.h"

namespace orrery {

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  require(H5get_libversion(&major, &minor, &release) >= 0, "HDF5: H5get_libversion failed");
  return text_of(major, ".", minor, ".", release);
}

}  // namespace orrery
