// SPDX-License-Identifier: Apache-2.0
// The word for a direction at a device, as tcx and clsact both take it.
#ifndef VXSEAL_DIRECTION_HH
#define VXSEAL_DIRECTION_HH

#include "check.hh"

namespace vxseal {

// True for "ingress", false for "egress", RangeError otherwise.
inline bool RequireIngress(const Napi::CallbackInfo& info, size_t index) {
  const std::string direction = RequireString(info, index, "direction");
  if (direction != "ingress" && direction != "egress") {
    throw Napi::RangeError::New(info.Env(), "direction is not ingress or egress");
  }
  return direction == "ingress";
}

}  // namespace vxseal
#endif
