#include <iostream>

int main() {
  std::cout << "orrery " << ORRERY_VERSION << "\n";
  return 0;
}
