// SPDX-License-Identifier: Apache-2.0
// Arguments from JavaScript: every type and length is checked here, before a system call or libbpf sees it. A wrong
// type is a TypeError, a wrong value a RangeError; both name the argument.
#ifndef VXSEAL_CHECK_HH
#define VXSEAL_CHECK_HH

#include <napi.h>

#include <cmath>
#include <cstdint>
#include <string>

namespace vxseal {

inline std::string RequireString(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsString()) throw Napi::TypeError::New(info.Env(), std::string(name) + " is not a string");
  std::string text = info[index].As<Napi::String>().Utf8Value();
  // The kernel would see a shorter string than the caller meant.
  if (text.find('\0') != std::string::npos) {
    throw Napi::RangeError::New(info.Env(), std::string(name) + " holds a zero byte");
  }
  return text;
}

inline std::string RequirePath(const Napi::CallbackInfo& info, size_t index, const char* name) {
  std::string path = RequireString(info, index, name);
  if (path.empty()) throw Napi::RangeError::New(info.Env(), std::string(name) + " is empty");
  return path;
}

inline uint32_t CheckUint32(Napi::Env env, Napi::Value value, const char* name, uint32_t least, uint32_t most) {
  if (!value.IsNumber()) throw Napi::TypeError::New(env, std::string(name) + " is not a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= least && number <= most) || std::floor(number) != number) {
    throw Napi::RangeError::New(env, std::string(name) + " is not an integer from " + std::to_string(least) + " to " +
                                         std::to_string(most));
  }
  return static_cast<uint32_t>(number);
}

inline uint32_t RequireUint32(const Napi::CallbackInfo& info, size_t index, const char* name, uint32_t least = 0,
                              uint32_t most = UINT32_MAX) {
  return CheckUint32(info.Env(), info[index], name, least, most);
}

inline uint32_t OptionalUint32(const Napi::CallbackInfo& info, size_t index, const char* name, uint32_t fallback) {
  return info[index].IsUndefined() ? fallback : RequireUint32(info, index, name);
}

inline bool RequireBoolean(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsBoolean()) throw Napi::TypeError::New(info.Env(), std::string(name) + " is not a boolean");
  return info[index].As<Napi::Boolean>().Value();
}

inline Napi::Buffer<uint8_t> CheckBuffer(Napi::Env env, Napi::Value value, const char* name) {
  if (!value.IsBuffer()) throw Napi::TypeError::New(env, std::string(name) + " is not a Buffer");
  return value.As<Napi::Buffer<uint8_t>>();
}

inline Napi::Buffer<uint8_t> RequireBuffer(const Napi::CallbackInfo& info, size_t index, const char* name) {
  return CheckBuffer(info.Env(), info[index], name);
}

inline Napi::Buffer<uint8_t> RequireBytes(const Napi::CallbackInfo& info, size_t index, const char* name,
                                          size_t bytes) {
  Napi::Buffer<uint8_t> buffer = RequireBuffer(info, index, name);
  if (buffer.Length() != bytes) {
    throw Napi::RangeError::New(info.Env(), std::string(name) + " has " + std::to_string(buffer.Length()) +
                                                " bytes, the map needs " + std::to_string(bytes));
  }
  return buffer;
}

inline Napi::Object RequireObject(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsObject()) throw Napi::TypeError::New(info.Env(), std::string(name) + " is not an object");
  return info[index].As<Napi::Object>();
}

inline Napi::Function RequireFunction(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsFunction()) throw Napi::TypeError::New(info.Env(), std::string(name) + " is not a function");
  return info[index].As<Napi::Function>();
}

}  // namespace vxseal
#endif
