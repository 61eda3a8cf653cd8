#include "ckpt/file_io.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <vector>

#include "fixtures.h"

namespace orrery {
namespace {

// Whole pages go past the cache, the rest does not; where neither file system nor alignment allow it, nothing
// does.
TEST(OpenFile, writes_past_the_cache_give_the_same_file_as_others) {
  const test::ScratchFolder folder;
  std::string memory(9 * kPageBytes, '\0');
  for (size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<char>('a' + i * 31 % 23);
  const auto beyond = reinterpret_cast<uintptr_t>(memory.data()) % kPageBytes;
  const std::string_view from_page(memory.data() + (kPageBytes - beyond) % kPageBytes, 7 * kPageBytes + 123);
  for (const auto& [shift, offset, size] :
       std::vector<std::tuple<size_t, int64_t, size_t>>{{0, 0, from_page.size()},
                                                        {0, 2 * kPageBytes, from_page.size()},
                                                        {0, 100, from_page.size()},
                                                        {64, 0, 5 * kPageBytes},
                                                        {0, kPageBytes, 17},
                                                        {0, 0, 0}}) {
    const std::string_view bytes = from_page.substr(shift, size);
    const std::string before(12 * kPageBytes, '.');
    test::write_file(folder / "file", before);
    {
      OpenFile file(folder / "file", O_RDWR);
      file.write_past_cache(bytes, offset);
      file.sync();
    }
    std::string want = before;
    want.replace(static_cast<size_t>(offset), size, bytes);
    EXPECT_TRUE(test::read_file(folder / "file") == want) << shift << " " << offset << " " << size;
  }
}

}  // namespace
}  // namespace orrery
