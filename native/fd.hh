// SPDX-License-Identifier: Apache-2.0
// An owned file descriptor as a JavaScript object: closed by close() or by the garbage collector, whichever is first.
#ifndef VXSEAL_FD_HH
#define VXSEAL_FD_HH

#include <napi.h>
#include <unistd.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace vxseal {

// Descriptor for the length of a C++ scope.
class ScopedFd {
 public:
  explicit ScopedFd(int fd = -1) : fd_(fd) {}
  ScopedFd(ScopedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ScopedFd(const ScopedFd&) = delete;
  ScopedFd& operator=(const ScopedFd&) = delete;
  ScopedFd& operator=(ScopedFd&&) = delete;
  ~ScopedFd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// What is behind a descriptor. BPF_OBJ_GET_INFO_BY_FD fills a structure per kind without saying which.
enum class FdKind { kMap, kProgram, kLink, kNetns, kOther };

// Sizes of a map, asked of the kernel once per descriptor: they cannot change.
struct MapShape {
  uint32_t type;
  uint32_t keyBytes;
  // What one system call hands over: for per-CPU maps all CPUs, each rounded up to 8 bytes.
  uint32_t valueBytes;
  uint32_t maxEntries;
};

class Fd : public Napi::ObjectWrap<Fd> {
 public:
  static Napi::FunctionReference Define(Napi::Env env);
  // Takes the descriptor over.
  static Napi::Object Wrap(Napi::Env env, ScopedFd fd, FdKind kind);

  explicit Fd(const Napi::CallbackInfo& info);
  ~Fd() override;

  int number() const { return fd_; }
  FdKind kind() const { return kind_; }
  const MapShape& shape(Napi::Env env);

 private:
  Napi::Value GetNumber(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);

  int fd_ = -1;
  FdKind kind_ = FdKind::kOther;
  std::optional<MapShape> shape_;
};

// TypeError when it is not an Fd of that kind or is closed.
Fd& RequireFd(const Napi::CallbackInfo& info, size_t index, FdKind kind, const char* name);
Fd& RequireAnyFd(const Napi::CallbackInfo& info, size_t index, const char* name);

// Kind of an open descriptor, from /proc/self/fd.
FdKind KindOf(int fd);

// State of the module in one JavaScript environment.
struct AddonData {
  Napi::FunctionReference fdConstructor;
};

}  // namespace vxseal
#endif
