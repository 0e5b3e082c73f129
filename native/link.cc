// SPDX-License-Identifier: Apache-2.0
// Links: tcx and XDP attachments that live as long as a descriptor or a pin, and move to another program in one step.
#include <bpf/bpf.h>
#include <linux/if_link.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "check.hh"
#include "direction.hh"
#include "errno.hh"
#include "fd.hh"
#include "rooms.hh"

namespace vxseal {

namespace {

// <linux/bpf.h> since 6.6; the headers and libbpf of older distributions do not have them.
constexpr uint32_t kTcxIngress = 46;
constexpr uint32_t kTcxEgress = 47;
constexpr uint32_t kBefore = 1u << 3;  // BPF_F_BEFORE; without a relative, the head of the list
constexpr uint32_t kMaxTcxPrograms = 64;  // BPF_MPROG_MAX
constexpr uint32_t kLinkTypeXdp = 6;
constexpr uint32_t kLinkTypeTcx = 11;

// Head of union bpf_attr for BPF_LINK_CREATE. The kernel takes a shorter structure and reads the rest as zero.
struct LinkCreate {
  uint32_t programFd;
  uint32_t ifindex;
  uint32_t attachType;
  uint32_t flags;
};

// Head of union bpf_attr for BPF_PROG_QUERY.
struct ProgQuery {
  uint32_t ifindex;
  uint32_t attachType;
  uint32_t queryFlags;
  uint32_t attachFlags;
  uint64_t programIds;
  uint32_t count;
  uint32_t padding;
};

// Head of struct bpf_link_info as tcx links fill it; the union begins at an address divisible by 8.
struct LinkInfoHead {
  uint32_t type;
  uint32_t id;
  uint32_t programId;
  uint32_t padding;
  uint32_t ifindex;  // the same place in the xdp and tcx members
  uint32_t attachType;  // tcx only
  uint8_t rest[256];
};

Napi::Value AttachTcx(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Fd& program = RequireFd(info, 0, FdKind::kProgram, "program");
  const uint32_t ifindex = RequireUint32(info, 1, "ifindex", 1, INT32_MAX);
  const bool ingress = RequireIngress(info, 2);
  // At the head: a program in front that accepts a packet would keep it from ours.
  LinkCreate create{static_cast<uint32_t>(program.number()), ifindex, ingress ? kTcxIngress : kTcxEgress, kBefore};
  ScopedFd link(static_cast<int>(syscall(SYS_bpf, BPF_LINK_CREATE, &create, sizeof create)));
  if (link.get() < 0) ThrowErrno(env, "BPF_LINK_CREATE tcx on device " + std::to_string(ifindex), errno);
  return Fd::Wrap(env, std::move(link), FdKind::kLink);
}

Napi::Value QueryTcx(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const uint32_t ifindex = RequireUint32(info, 0, "ifindex", 1, INT32_MAX);
  const bool ingress = RequireIngress(info, 1);
  uint32_t ids[kMaxTcxPrograms] = {};
  ProgQuery query{};
  query.ifindex = ifindex;
  query.attachType = ingress ? kTcxIngress : kTcxEgress;
  query.programIds = reinterpret_cast<uintptr_t>(ids);
  query.count = kMaxTcxPrograms;
  if (syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof query) != 0) {
    ThrowErrno(env, "BPF_PROG_QUERY tcx on device " + std::to_string(ifindex), errno);
  }
  Napi::Array result = Napi::Array::New(env);
  for (uint32_t i = 0; i < query.count && i < kMaxTcxPrograms; i++) result.Set(i, Napi::Number::New(env, ids[i]));
  return result;
}

Napi::Value AttachXdp(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Fd& program = RequireFd(info, 0, FdKind::kProgram, "program");
  const uint32_t ifindex = RequireUint32(info, 1, "ifindex", 1, INT32_MAX);
  const std::string mode = RequireString(info, 2, "mode");
  if (mode != "native" && mode != "generic") throw Napi::RangeError::New(env, "mode is not native or generic");
  LIBBPF_OPTS(bpf_link_create_opts, options);
  options.flags = mode == "native" ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
  ScopedFd link(bpf_link_create(program.number(), static_cast<int>(ifindex), BPF_XDP, &options));
  if (link.get() < 0) {
    ThrowErrno(env, "BPF_LINK_CREATE xdp " + mode + " on device " + std::to_string(ifindex), link.get());
  }
  return Fd::Wrap(env, std::move(link), FdKind::kLink);
}

void UpdateLink(const Napi::CallbackInfo& info) {
  const Fd& link = RequireFd(info, 0, FdKind::kLink, "link");
  const Fd& program = RequireFd(info, 1, FdKind::kProgram, "program");
  const int error = bpf_link_update(link.number(), program.number(), nullptr);
  if (error != 0) ThrowErrno(info.Env(), "BPF_LINK_UPDATE", error);
}

void DetachLink(const Napi::CallbackInfo& info) {
  const int error = bpf_link_detach(RequireFd(info, 0, FdKind::kLink, "link").number());
  if (error != 0) ThrowErrno(info.Env(), "BPF_LINK_DETACH", error);
}

Napi::Value LinkInfo(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Fd& fd = RequireFd(info, 0, FdKind::kLink, "link");
  LinkInfoHead link{};
  uint32_t length = sizeof link;
  if (bpf_obj_get_info_by_fd(fd.number(), &link, &length) != 0) ThrowErrno(env, "BPF_OBJ_GET_INFO_BY_FD link", errno);
  const bool xdp = link.type == kLinkTypeXdp;
  const bool tcx = link.type == kLinkTypeTcx;
  Napi::Object result = Napi::Object::New(env);
  result.Set("id", Napi::Number::New(env, link.id));
  result.Set("type", Napi::Number::New(env, link.type));
  result.Set("programId", Napi::Number::New(env, link.programId));
  result.Set("ifindex", Napi::Number::New(env, xdp || tcx ? link.ifindex : 0));
  result.Set("attachType", Napi::Number::New(env, xdp ? static_cast<uint32_t>(BPF_XDP) : tcx ? link.attachType : 0));
  return result;
}

}  // namespace

void ExportLink(Napi::Env env, Napi::Object exports) {
  exports.Set("attachTcx", Napi::Function::New<AttachTcx>(env, "attachTcx"));
  exports.Set("queryTcx", Napi::Function::New<QueryTcx>(env, "queryTcx"));
  exports.Set("attachXdp", Napi::Function::New<AttachXdp>(env, "attachXdp"));
  exports.Set("updateLink", Napi::Function::New<UpdateLink>(env, "updateLink"));
  exports.Set("detachLink", Napi::Function::New<DetachLink>(env, "detachLink"));
  exports.Set("linkInfo", Napi::Function::New<LinkInfo>(env, "linkInfo"));
}

}  // namespace vxseal
