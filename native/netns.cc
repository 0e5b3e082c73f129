// SPDX-License-Identifier: Apache-2.0
// Network namespaces: opened, told apart, entered for the length of one call.
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "check.hh"
#include "errno.hh"
#include "fd.hh"
#include "rooms.hh"

namespace vxseal {

namespace {

Napi::Value OpenNetns(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string path = RequirePath(info, 0, "path");
  // Non-blocking: the path may turn out to be a FIFO.
  ScopedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) ThrowErrno(env, "open " + path, errno);
  if (ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
    ThrowErrno(env, "open " + path, EINVAL, "it is not a network namespace");
  }
  return Fd::Wrap(env, std::move(fd), FdKind::kNetns);
}

Napi::Value StatFd(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  struct stat found;
  if (fstat(RequireAnyFd(info, 0, "fd").number(), &found) != 0) ThrowErrno(env, "fstat", errno);
  Napi::Object result = Napi::Object::New(env);
  result.Set("device", Napi::BigInt::New(env, static_cast<uint64_t>(found.st_dev)));
  result.Set("inode", Napi::BigInt::New(env, static_cast<uint64_t>(found.st_ino)));
  return result;
}

// Brings this thread home at the end of its scope, whatever happens in between. The process ends if it cannot: the
// agent must never act in a pod's namespace believing that it is its own.
class Homecoming {
 public:
  explicit Homecoming(int home) : home_(home) {}
  Homecoming(const Homecoming&) = delete;
  Homecoming& operator=(const Homecoming&) = delete;
  ~Homecoming() {
    if (setns(home_, CLONE_NEWNET) == 0) return;
    fputs("vxseal: cannot return to the own network namespace\n", stderr);
    abort();
  }

 private:
  int home_;
};

Napi::Value InNetns(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Fd& netns = RequireFd(info, 0, FdKind::kNetns, "netns");
  Napi::Function body = RequireFunction(info, 1, "body");
  const std::string self = "/proc/self/task/" + std::to_string(gettid()) + "/ns/net";
  const ScopedFd home(open(self.c_str(), O_RDONLY | O_CLOEXEC));
  if (home.get() < 0) ThrowErrno(env, "open " + self, errno);
  if (setns(netns.number(), CLONE_NEWNET) != 0) ThrowErrno(env, "setns", errno);
  Napi::Value result;
  {
    const Homecoming homecoming(home.get());
    result = body.Call({});
  }
  if (result.IsPromise()) throw Napi::TypeError::New(env, "body is asynchronous: it would go on in the own namespace");
  return result;
}

}  // namespace

void ExportNetns(Napi::Env env, Napi::Object exports) {
  exports.Set("openNetns", Napi::Function::New<OpenNetns>(env, "openNetns"));
  exports.Set("statFd", Napi::Function::New<StatFd>(env, "statFd"));
  exports.Set("inNetns", Napi::Function::New<InNetns>(env, "inNetns"));
}

}  // namespace vxseal
