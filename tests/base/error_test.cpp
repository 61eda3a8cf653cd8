#include "base/error.h"

#include <gtest/gtest.h>

namespace orrery {

TEST(Error, require_streams_its_parts_and_carries_the_exit_code) {
  EXPECT_NO_THROW(require(true, "unused"));
  try {
    require(false, "linear: weight has ", 3, " columns, wanted ", 4);
    FAIL() << "require did not throw";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "linear: weight has 3 columns, wanted 4");
    EXPECT_EQ(error.code(), Exit::bad_input);
  }
}

}  // namespace orrery
