// SPDX-License-Identifier: Apache-2.0
#include "fd.hh"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <climits>
#include <cstring>

#include "errno.hh"

namespace vxseal {

namespace {

// Tells our objects from others before anything is unwrapped.
constexpr napi_type_tag kFdTag = {0x76787365616c0001, 0x9d1f6a3e5b7c4802};

struct Handover {
  int fd;
  FdKind kind;
};

bool IsPerCpu(uint32_t type) {
  return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
         type == BPF_MAP_TYPE_LRU_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
}

const char* KindName(FdKind kind) {
  switch (kind) {
    case FdKind::kMap: return "map";
    case FdKind::kProgram: return "program";
    case FdKind::kLink: return "link";
    case FdKind::kNetns: return "network namespace";
    case FdKind::kOther: break;
  }
  return "descriptor";
}

}  // namespace

FdKind KindOf(int fd) {
  char target[PATH_MAX];
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t length = readlink(path.c_str(), target, sizeof target);
  if (length < 0) return FdKind::kOther;
  const std::string name(target, static_cast<size_t>(length));
  if (name == "anon_inode:bpf-map") return FdKind::kMap;
  if (name == "anon_inode:bpf-prog") return FdKind::kProgram;
  // Kernels before 5.8 and after 6.9 write the link's name differently.
  if (name == "anon_inode:bpf_link" || name == "anon_inode:bpf-link") return FdKind::kLink;
  if (name.rfind("net:[", 0) == 0) return FdKind::kNetns;
  return FdKind::kOther;
}

Napi::FunctionReference Fd::Define(Napi::Env env) {
  Napi::Function constructor = DefineClass(
      env, "Fd", {InstanceAccessor<&Fd::GetNumber>("fd"), InstanceMethod<&Fd::Close>("close")});
  return Napi::Persistent(constructor);
}

Napi::Object Fd::Wrap(Napi::Env env, ScopedFd fd, FdKind kind) {
  Handover handover{fd.get(), kind};
  Napi::Object object =
      env.GetInstanceData<AddonData>()->fdConstructor.New({Napi::External<Handover>::New(env, &handover)});
  fd.release();
  return object;
}

Fd::Fd(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Fd>(info) {
  // JavaScript cannot make an External, so only Wrap() gets past this.
  if (!info[0].IsExternal()) throw Napi::TypeError::New(info.Env(), "an Fd cannot be constructed");
  const Handover* handover = info[0].As<Napi::External<Handover>>().Data();
  info.This().As<Napi::Object>().TypeTag(&kFdTag);
  fd_ = handover->fd;
  kind_ = handover->kind;
}

Fd::~Fd() {
  if (fd_ >= 0) close(fd_);
}

Napi::Value Fd::GetNumber(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), fd_); }

void Fd::Close(const Napi::CallbackInfo&) {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

const MapShape& Fd::shape(Napi::Env env) {
  if (!shape_) {
    bpf_map_info map{};
    uint32_t length = sizeof map;
    if (bpf_obj_get_info_by_fd(fd_, &map, &length) != 0) ThrowErrno(env, "BPF_OBJ_GET_INFO_BY_FD map", errno);
    uint32_t valueBytes = map.value_size;
    if (IsPerCpu(map.type)) {
      valueBytes = (map.value_size + 7) / 8 * 8 * static_cast<uint32_t>(libbpf_num_possible_cpus());
    }
    shape_ = MapShape{map.type, map.key_size, valueBytes, map.max_entries};
  }
  return *shape_;
}

Fd& RequireAnyFd(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsObject() || !info[index].As<Napi::Object>().CheckTypeTag(&kFdTag)) {
    throw Napi::TypeError::New(info.Env(), std::string(name) + " is not an Fd");
  }
  Fd* fd = Fd::Unwrap(info[index].As<Napi::Object>());
  if (fd->number() < 0) throw Napi::TypeError::New(info.Env(), std::string(name) + " is closed");
  return *fd;
}

Fd& RequireFd(const Napi::CallbackInfo& info, size_t index, FdKind kind, const char* name) {
  Fd& fd = RequireAnyFd(info, index, name);
  if (fd.kind() != kind) throw Napi::TypeError::New(info.Env(), std::string(name) + " is not a " + KindName(kind));
  return fd;
}

}  // namespace vxseal
