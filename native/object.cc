// SPDX-License-Identifier: Apache-2.0
// Object files: opened, loaded, taken apart into descriptors. Nothing of libbpf's own object outlives the call.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>

#include <memory>
#include <string>

#include "check.hh"
#include "errno.hh"
#include "fd.hh"
#include "log.hh"
#include "rooms.hh"

namespace vxseal {

namespace {

constexpr size_t kLogLines = 25;

struct CloseObject {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using Object = std::unique_ptr<bpf_object, CloseObject>;

// max_entries by map name. Names that this object does not have are skipped: one set of sizes serves all objects.
void OverrideMaxEntries(Napi::Env env, bpf_object* object, Napi::Value sizes) {
  if (sizes.IsUndefined()) return;
  if (!sizes.IsObject()) throw Napi::TypeError::New(env, "maxEntries is not an object");
  Napi::Object byName = sizes.As<Napi::Object>();
  bpf_map* map;
  bpf_object__for_each_map(map, object) {
    Napi::Value size = byName.Get(bpf_map__name(map));
    if (size.IsUndefined()) continue;
    const uint32_t entries = CheckUint32(env, size, "maxEntries", 1, UINT32_MAX);
    const int error = bpf_map__set_max_entries(map, entries);
    if (error != 0) ThrowErrno(env, std::string("set max_entries of map ") + bpf_map__name(map), error);
  }
}

void Unpin(Napi::Env env, bpf_object* object) {
  bpf_map* map;
  bpf_object__for_each_map(map, object) {
    const int error = bpf_map__set_pin_path(map, nullptr);
    if (error != 0) ThrowErrno(env, std::string("keep map private: ") + bpf_map__name(map), error);
  }
}

std::string Difference(const char* what, uint32_t pinned, uint32_t wanted) {
  return std::string(what) + " " + std::to_string(pinned) + ", the program needs " + std::to_string(wanted);
}

// libbpf says of a pinned map of another layout only that it could not be reused; the first difference is said here.
void CheckPinned(Napi::Env env, bpf_map* map) {
  const char* path = bpf_map__pin_path(map);
  if (path == nullptr) return;
  const ScopedFd pinned(bpf_obj_get(path));
  if (pinned.get() < 0) {
    if (errno == ENOENT) return;
    ThrowErrno(env, std::string("BPF_OBJ_GET ") + path, errno);
  }
  const std::string op = std::string("reuse pinned map ") + path;
  if (KindOf(pinned.get()) != FdKind::kMap) ThrowErrno(env, op, EINVAL, "something else than a map is pinned there");
  bpf_map_info info{};
  uint32_t length = sizeof info;
  if (bpf_obj_get_info_by_fd(pinned.get(), &info, &length) != 0) ThrowErrno(env, op, errno);
  std::string difference;
  if (info.type != bpf_map__type(map)) difference = Difference("type", info.type, bpf_map__type(map));
  else if (info.key_size != bpf_map__key_size(map))
    difference = Difference("key size", info.key_size, bpf_map__key_size(map));
  else if (info.value_size != bpf_map__value_size(map))
    difference = Difference("value size", info.value_size, bpf_map__value_size(map));
  else if (info.max_entries != bpf_map__max_entries(map))
    difference = Difference("max_entries", info.max_entries, bpf_map__max_entries(map));
  else if (info.map_flags != bpf_map__map_flags(map))
    difference = Difference("map_flags", info.map_flags, bpf_map__map_flags(map));
  if (!difference.empty()) ThrowErrno(env, op, EINVAL, "its layout is another: " + difference);
}

ScopedFd Duplicate(Napi::Env env, int fd) {
  ScopedFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (copy.get() < 0) ThrowErrno(env, "F_DUPFD_CLOEXEC", errno);
  return copy;
}

// Instructions the verifier walked; 0 before Linux 5.16, which does not tell.
uint32_t VerifiedInstructions(int fd) {
  bpf_prog_info info{};
  uint32_t length = sizeof info;
  return bpf_obj_get_info_by_fd(fd, &info, &length) == 0 ? info.verified_insns : 0;
}

Napi::Value Descriptors(Napi::Env env, bpf_object* object) {
  Napi::Object maps = Napi::Object::New(env);
  Napi::Object programs = Napi::Object::New(env);
  bpf_map* map;
  bpf_object__for_each_map(map, object) {
    if (bpf_map__fd(map) < 0) continue;
    maps.Set(bpf_map__name(map), Fd::Wrap(env, Duplicate(env, bpf_map__fd(map)), FdKind::kMap));
  }
  bpf_program* program;
  bpf_object__for_each_program(program, object) {
    const int fd = bpf_program__fd(program);
    if (fd < 0) continue;
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("fd", Fd::Wrap(env, Duplicate(env, fd), FdKind::kProgram));
    entry.Set("verifiedInsns", Napi::Number::New(env, VerifiedInstructions(fd)));
    programs.Set(bpf_program__name(program), entry);
  }
  Napi::Object loaded = Napi::Object::New(env);
  loaded.Set("programs", programs);
  loaded.Set("maps", maps);
  return loaded;
}

Napi::Value LoadObject(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string path = RequirePath(info, 0, "path");
  Napi::Object options = RequireObject(info, 1, "options");
  Napi::Value pinRoot = options.Get("pinRoot");
  if (!pinRoot.IsUndefined() && !pinRoot.IsString()) throw Napi::TypeError::New(env, "pinRoot is not a string");
  const std::string root = pinRoot.IsString() ? pinRoot.As<Napi::String>().Utf8Value() : "";
  if (pinRoot.IsString() && root.empty()) throw Napi::RangeError::New(env, "pinRoot is empty");

  LogCapture log;
  LIBBPF_OPTS(bpf_object_open_opts, open);
  if (!root.empty()) open.pin_root_path = root.c_str();
  Object object(bpf_object__open_file(path.c_str(), &open));
  if (!object) ThrowErrno(env, "open " + path, errno, "", log.lastLines(kLogLines));

  OverrideMaxEntries(env, object.get(), options.Get("maxEntries"));
  if (root.empty()) Unpin(env, object.get());
  bpf_map* map;
  bpf_object__for_each_map(map, object.get()) CheckPinned(env, map);

  const int error = bpf_object__load(object.get());
  if (error != 0) ThrowErrno(env, "load " + path, error, "", log.lastLines(kLogLines));
  return Descriptors(env, object.get());
}

}  // namespace

void ExportObject(Napi::Env env, Napi::Object exports) {
  exports.Set("loadObject", Napi::Function::New<LoadObject>(env, "loadObject"));
}

}  // namespace vxseal
