// A constant of the released models: films that they are guided away from were described by this text, so
// their quality depends on every character. Source: cosmos-predict2.5, cosmos_predict2/config.py,
// DEFAULT_NEGATIVE_PROMPT.
#include "infer/requests.h"

namespace orrery {

const std::string_view kDefaultNegativePrompt =
    "The video captures a series of frames showing ugly scenes, static with no motion, motion blur, "
    "over-saturation, shaky footage, low resolution, grainy texture, pixelated images, poorly lit areas, "
    "underexposed and overexposed scenes, poor color balance, washed out colors, choppy sequences, jerky "
    "movements, low frame rate, artifacting, color banding, unnatural transitions, outdated special effects, "
    "fake elements, unconvincing visuals, poorly edited content, jump cuts, visual noise, and flickering. "
    "Overall, the video is of poor quality.";

}  // namespace orrery
