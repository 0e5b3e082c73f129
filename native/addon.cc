// SPDX-License-Identifier: Apache-2.0
// The native module: puts the rooms' functions together. agent/kernel/native.ts is its description.
#include <bpf/libbpf.h>
#include <malloc.h>
#include <napi.h>

#include <cstring>

#include "errno.hh"
#include "fd.hh"
#include "log.hh"
#include "rooms.hh"

namespace vxseal {

namespace {

void Wipe(const Napi::CallbackInfo& info) {
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    throw Napi::TypeError::New(info.Env(), "bytes is not a Uint8Array");
  }
  Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
  // The data of an empty array is a null pointer.
  if (bytes.ByteLength() > 0) explicit_bzero(bytes.Data(), bytes.ByteLength());
}

// Of glibc's malloc, which raises the size from which a block is mapped by itself with every such block that is freed:
// then what the bus is read with stays, in pieces, between what lives on. Setting either ends that.
constexpr int kMappedBytes = 128 * 1024;

void KeepMallocSmall(const Napi::CallbackInfo&) {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, kMappedBytes);
  mallopt(M_TRIM_THRESHOLD, kMappedBytes);
#endif
}

void ReturnFreedMemory(const Napi::CallbackInfo&) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  TakeOverLibbpfLog();
  auto* data = new AddonData{Fd::Define(env)};
  env.SetInstanceData<AddonData>(data);
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 1) ThrowErrno(env, "count possible CPUs", cpus);
  exports.Set("possibleCpus", Napi::Number::New(env, cpus));
  ExportObject(env, exports);
  ExportMap(env, exports);
  ExportProgram(env, exports);
  ExportLink(env, exports);
  ExportClsact(env, exports);
  ExportRing(env, exports);
  ExportNetns(env, exports);
  ExportDevice(env, exports);
  ExportNetlink(env, exports);
  ExportBpffs(env, exports);
  exports.Set("keepMallocSmall", Napi::Function::New<KeepMallocSmall>(env, "keepMallocSmall"));
  exports.Set("returnFreedMemory", Napi::Function::New<ReturnFreedMemory>(env, "returnFreedMemory"));
  exports.Set("wipe", Napi::Function::New<Wipe>(env, "wipe"));
  return exports;
}

}  // namespace

NODE_API_MODULE(vxseal, Init)

}  // namespace vxseal
