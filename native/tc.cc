// SPDX-License-Identifier: Apache-2.0
// clsact with a direct-action filter: the attachment for kernels without tcx. The qdisc is shared with others, so it
// is made when missing and never removed.
#include <bpf/libbpf.h>

#include <string>

#include "check.hh"
#include "direction.hh"
#include "errno.hh"
#include "fd.hh"
#include "log.hh"
#include "rooms.hh"

namespace vxseal {

namespace {

struct Place {
  bpf_tc_hook hook;
  uint32_t handle;
  uint32_t priority;
};

Place RequirePlace(const Napi::CallbackInfo& info, size_t first) {
  Place place{};
  place.hook.sz = sizeof place.hook;
  place.hook.ifindex = static_cast<int>(RequireUint32(info, first, "ifindex", 1, INT32_MAX));
  place.hook.attach_point = RequireIngress(info, first + 1) ? BPF_TC_INGRESS : BPF_TC_EGRESS;
  place.handle = RequireUint32(info, first + 2, "handle", 1);
  place.priority = RequireUint32(info, first + 3, "priority", 1, UINT16_MAX);
  return place;
}

std::string At(const Place& place) { return " on device " + std::to_string(place.hook.ifindex); }

void AttachClsact(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Fd& program = RequireFd(info, 0, FdKind::kProgram, "program");
  Place place = RequirePlace(info, 1);
  LogCapture log;
  int error = bpf_tc_hook_create(&place.hook);
  if (error != 0 && error != -EEXIST) ThrowErrno(env, "add clsact" + At(place), error, "", log.lastLines(1));
  LIBBPF_OPTS(bpf_tc_opts, options);
  options.prog_fd = program.number();
  options.flags = BPF_TC_F_REPLACE;
  options.handle = place.handle;
  options.priority = place.priority;
  error = bpf_tc_attach(&place.hook, &options);
  if (error != 0) ThrowErrno(env, "add clsact filter" + At(place), error, "", log.lastLines(1));
}

void DetachClsact(const Napi::CallbackInfo& info) {
  const Place place = RequirePlace(info, 0);
  LogCapture log;
  LIBBPF_OPTS(bpf_tc_opts, options);
  options.handle = place.handle;
  options.priority = place.priority;
  const int error = bpf_tc_detach(&place.hook, &options);
  if (error != 0) ThrowErrno(info.Env(), "remove clsact filter" + At(place), error, "", log.lastLines(1));
}

Napi::Value QueryClsact(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Place place = RequirePlace(info, 0);
  LogCapture log;
  LIBBPF_OPTS(bpf_tc_opts, options);
  options.handle = place.handle;
  options.priority = place.priority;
  const int error = bpf_tc_query(&place.hook, &options);
  // The kernel says EINVAL when the device has no clsact at all; our arguments were checked above.
  if (error == -ENOENT || error == -EINVAL) return env.Undefined();
  if (error != 0) ThrowErrno(env, "query clsact filter" + At(place), error, "", log.lastLines(1));
  return Napi::Number::New(env, options.prog_id);
}

}  // namespace

void ExportClsact(Napi::Env env, Napi::Object exports) {
  exports.Set("attachClsact", Napi::Function::New<AttachClsact>(env, "attachClsact"));
  exports.Set("detachClsact", Napi::Function::New<DetachClsact>(env, "detachClsact"));
  exports.Set("queryClsact", Napi::Function::New<QueryClsact>(env, "queryClsact"));
}

}  // namespace vxseal
