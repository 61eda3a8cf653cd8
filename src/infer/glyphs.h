#pragma once
// A bitmap font of capital letters, digits and common signs, 5 x 7 pixels, for the labels of contact sheets.
#include <array>
#include <cstdint>

namespace orrery {

using Glyph = std::array<uint8_t, 7>;  // rows from the top; bit 4 is the left column

Glyph glyph(char letter);  // small letters as capitals; a box for what the font lacks

}  // namespace orrery
