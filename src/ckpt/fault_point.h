#pragma once
// Named places where tests/fault ends the process or makes a call fail. In the program they are nothing.
#include <string_view>

namespace orrery {

#ifdef ORRERY_FAULT_HOOKS
void fault_point(std::string_view name);  // tests/fault/hooks.cpp; may throw Error
#else
inline void fault_point(std::string_view) {}
#endif

}  // namespace orrery
