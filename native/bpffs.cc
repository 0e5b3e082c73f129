// SPDX-License-Identifier: Apache-2.0
// The BPF file system: mounting one, pinning into it, opening what is pinned.
#include <bpf/bpf.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include <string>

#include "check.hh"
#include "errno.hh"
#include "fd.hh"
#include "rooms.hh"

namespace vxseal {

namespace {

bool OnBpffs(Napi::Env env, const std::string& path) {
  struct statfs found;
  if (statfs(path.c_str(), &found) != 0) ThrowErrno(env, "statfs " + path, errno);
  return static_cast<uint32_t>(found.f_type) == BPF_FS_MAGIC;
}

Napi::Value IsBpffs(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), OnBpffs(info.Env(), RequirePath(info, 0, "path")));
}

void MountBpffs(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string path = RequirePath(info, 0, "path");
  if (OnBpffs(env, path)) return;
  const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME;
  if (mount("bpf", path.c_str(), "bpf", flags, "mode=0700") != 0) ThrowErrno(env, "mount bpffs at " + path, errno);
}

void Pin(const Napi::CallbackInfo& info) {
  const Fd& fd = RequireAnyFd(info, 0, "fd");
  const std::string path = RequirePath(info, 1, "path");
  const int error = bpf_obj_pin(fd.number(), path.c_str());
  if (error != 0) ThrowErrno(info.Env(), "BPF_OBJ_PIN " + path, error);
}

Napi::Value OpenPinned(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string path = RequirePath(info, 0, "path");
  ScopedFd fd(bpf_obj_get(path.c_str()));
  if (fd.get() < 0) ThrowErrno(env, "BPF_OBJ_GET " + path, fd.get());
  const FdKind kind = KindOf(fd.get());
  return Fd::Wrap(env, std::move(fd), kind);
}

}  // namespace

void ExportBpffs(Napi::Env env, Napi::Object exports) {
  exports.Set("isBpffs", Napi::Function::New<IsBpffs>(env, "isBpffs"));
  exports.Set("mountBpffs", Napi::Function::New<MountBpffs>(env, "mountBpffs"));
  exports.Set("pin", Napi::Function::New<Pin>(env, "pin"));
  exports.Set("openPinned", Napi::Function::New<OpenPinned>(env, "openPinned"));
}

}  // namespace vxseal
