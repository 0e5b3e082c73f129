// SPDX-License-Identifier: Apache-2.0
// Maps: one system call a function, lengths compared with the map's own first.
#include <bpf/bpf.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <unordered_set>
#include <vector>

#include "check.hh"
#include "errno.hh"
#include "fd.hh"
#include "rooms.hh"

namespace vxseal {

namespace {

// Entries of one batch call to begin with; a hash bucket that is fuller makes it grow.
constexpr uint32_t kBatchEntries = 256;
// A listing that writers keep disturbing is begun again this often, then read key by key.
constexpr int kBatchAttempts = 4;

Napi::Value MapInfo(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Fd& fd = RequireFd(info, 0, FdKind::kMap, "map");
  bpf_map_info map{};
  uint32_t length = sizeof map;
  if (bpf_obj_get_info_by_fd(fd.number(), &map, &length) != 0) ThrowErrno(env, "BPF_OBJ_GET_INFO_BY_FD map", errno);
  Napi::Object result = Napi::Object::New(env);
  result.Set("id", Napi::Number::New(env, map.id));
  result.Set("type", Napi::Number::New(env, map.type));
  result.Set("name", Napi::String::New(env, map.name));
  result.Set("keySize", Napi::Number::New(env, map.key_size));
  result.Set("valueSize", Napi::Number::New(env, map.value_size));
  result.Set("maxEntries", Napi::Number::New(env, map.max_entries));
  return result;
}

Napi::Value MapLookup(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Fd& map = RequireFd(info, 0, FdKind::kMap, "map");
  const MapShape& shape = map.shape(env);
  Napi::Buffer<uint8_t> key = RequireBytes(info, 1, "key", shape.keyBytes);
  const uint32_t flags = OptionalUint32(info, 2, "flags", 0);
  Napi::Buffer<uint8_t> value = Napi::Buffer<uint8_t>::New(env, shape.valueBytes);
  if (bpf_map_lookup_elem_flags(map.number(), key.Data(), value.Data(), flags) == 0) return value;
  if (errno == ENOENT) return env.Undefined();
  ThrowErrno(env, "BPF_MAP_LOOKUP_ELEM", errno);
}

void MapUpdate(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Fd& map = RequireFd(info, 0, FdKind::kMap, "map");
  const MapShape& shape = map.shape(env);
  Napi::Buffer<uint8_t> key = RequireBytes(info, 1, "key", shape.keyBytes);
  Napi::Buffer<uint8_t> value = RequireBytes(info, 2, "value", shape.valueBytes);
  const uint32_t flags = OptionalUint32(info, 3, "flags", BPF_ANY);
  if (bpf_map_update_elem(map.number(), key.Data(), value.Data(), flags) != 0) {
    ThrowErrno(env, "BPF_MAP_UPDATE_ELEM", errno);
  }
}

Napi::Value MapDelete(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Fd& map = RequireFd(info, 0, FdKind::kMap, "map");
  Napi::Buffer<uint8_t> key = RequireBytes(info, 1, "key", map.shape(env).keyBytes);
  if (bpf_map_delete_elem(map.number(), key.Data()) == 0) return Napi::Boolean::New(env, true);
  if (errno == ENOENT) return Napi::Boolean::New(env, false);
  ThrowErrno(env, "BPF_MAP_DELETE_ELEM", errno);
}

using Bytes = std::vector<uint8_t>;

// Keys and values one after the other. May hold key material: wiped at the end.
struct Entries {
  Bytes keys;
  Bytes values;
  size_t count = 0;
  // A vector that grows leaves its old storage behind unwiped, so it is moved by hand.
  void reserve(const MapShape& shape, size_t entries) {
    grow(keys, entries * shape.keyBytes);
    grow(values, entries * shape.valueBytes);
  }
  ~Entries() {
    wipe(keys);
    wipe(values);
  }

 private:
  static void wipe(Bytes& bytes) {
    if (!bytes.empty()) explicit_bzero(bytes.data(), bytes.size());
  }
  static void grow(Bytes& bytes, size_t size) {
    if (size <= bytes.size()) return;
    Bytes larger(std::max(size, bytes.size() * 2));
    std::copy(bytes.begin(), bytes.end(), larger.begin());
    wipe(bytes);
    bytes.swap(larger);
  }
};

// 0, or the errno: EINVAL, ENOTSUPP or EOPNOTSUPP when the map has no batch calls, EINTR when writers disturbed it.
int ReadBatches(int fd, const MapShape& shape, Entries& entries) {
  // The position is a bucket number for hashes, a key for the others.
  Bytes position(std::max<size_t>(shape.keyBytes, sizeof(uint32_t)));
  bool started = false;
  uint32_t wanted = std::min(kBatchEntries, shape.maxEntries);
  for (;;) {
    entries.reserve(shape, entries.count + wanted);
    uint32_t got = wanted;
    const int failed = bpf_map_lookup_batch(fd, started ? position.data() : nullptr, position.data(),
                                            &entries.keys[entries.count * shape.keyBytes],
                                            &entries.values[entries.count * shape.valueBytes], &got, nullptr);
    const int error = failed == 0 ? 0 : errno;
    if (error == ENOSPC) {
      // A hash bucket holds more than was asked for; nothing was handed over and the position has not moved.
      if (wanted >= shape.maxEntries) return EINTR;
      wanted = wanted > shape.maxEntries / 2 ? shape.maxEntries : wanted * 2;
      continue;
    }
    if (error != 0 && error != ENOENT) return error;
    entries.count += got;
    if (error == ENOENT) return 0;  // the end, with the last entries
    started = true;
  }
}

// Begins again from the first key when the current one is deleted meanwhile, hence the set.
int ReadOneByOne(int fd, const MapShape& shape, Entries& entries) {
  std::unordered_set<std::string> seen;
  Bytes key(shape.keyBytes);
  Bytes next(shape.keyBytes);
  const void* from = nullptr;
  // More steps than the map has room for, twice over, means that it is being emptied under us.
  for (uint64_t step = 0; step <= 2 * static_cast<uint64_t>(shape.maxEntries) + 16; step++) {
    if (bpf_map_get_next_key(fd, from, next.data()) != 0) return errno == ENOENT ? 0 : errno;
    key.swap(next);
    from = key.data();
    if (!seen.emplace(reinterpret_cast<const char*>(key.data()), key.size()).second) continue;
    entries.reserve(shape, entries.count + 1);
    if (bpf_map_lookup_elem(fd, key.data(), &entries.values[entries.count * shape.valueBytes]) != 0) {
      if (errno == ENOENT) continue;
      return errno;
    }
    std::copy(key.begin(), key.end(), &entries.keys[entries.count * shape.keyBytes]);
    entries.count++;
  }
  return EAGAIN;
}

int ReadEntries(int fd, const MapShape& shape, Entries& entries) {
  for (int attempt = 0; attempt < kBatchAttempts; attempt++) {
    entries.count = 0;
    const int error = ReadBatches(fd, shape, entries);
    if (error == 0) return 0;
    if (error != EINTR && error != EAGAIN) break;
  }
  entries.count = 0;
  return ReadOneByOne(fd, shape, entries);
}

Napi::Value MapEntries(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Fd& map = RequireFd(info, 0, FdKind::kMap, "map");
  const MapShape& shape = map.shape(env);
  if (shape.keyBytes == 0 || shape.valueBytes == 0) ThrowErrno(env, "list map", EOPNOTSUPP, "it has no keys");
  Entries entries;
  const int error = ReadEntries(map.number(), shape, entries);
  if (error != 0) ThrowErrno(env, "BPF_MAP_LOOKUP_BATCH", error);
  Napi::Array list = Napi::Array::New(env, entries.count);
  for (size_t i = 0; i < entries.count; i++) {
    Napi::HandleScope scope(env);
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("key", Napi::Buffer<uint8_t>::Copy(env, &entries.keys[i * shape.keyBytes], shape.keyBytes));
    entry.Set("value", Napi::Buffer<uint8_t>::Copy(env, &entries.values[i * shape.valueBytes], shape.valueBytes));
    list.Set(static_cast<uint32_t>(i), entry);
  }
  return list;
}

// Without a buffer for each entry: a map of connections has room for more than a garbage collector likes.
Napi::Value MapCount(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Fd& map = RequireFd(info, 0, FdKind::kMap, "map");
  const MapShape& shape = map.shape(env);
  if (shape.keyBytes == 0 || shape.valueBytes == 0) ThrowErrno(env, "count map", EOPNOTSUPP, "it has no keys");
  Entries entries;
  const int error = ReadEntries(map.number(), shape, entries);
  if (error != 0) ThrowErrno(env, "BPF_MAP_LOOKUP_BATCH", error);
  return Napi::Number::New(env, static_cast<double>(entries.count));
}

}  // namespace

void ExportMap(Napi::Env env, Napi::Object exports) {
  exports.Set("mapInfo", Napi::Function::New<MapInfo>(env, "mapInfo"));
  exports.Set("mapLookup", Napi::Function::New<MapLookup>(env, "mapLookup"));
  exports.Set("mapUpdate", Napi::Function::New<MapUpdate>(env, "mapUpdate"));
  exports.Set("mapDelete", Napi::Function::New<MapDelete>(env, "mapDelete"));
  exports.Set("mapCount", Napi::Function::New<MapCount>(env, "mapCount"));
  exports.Set("mapEntries", Napi::Function::New<MapEntries>(env, "mapEntries"));
}

}  // namespace vxseal
