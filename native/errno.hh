// SPDX-License-Identifier: Apache-2.0
// Failed system calls as JavaScript errors: message, errno (positive), code ("ENOENT"), op. Decides nothing else.
#ifndef VXSEAL_ERRNO_HH
#define VXSEAL_ERRNO_HH

#include <napi.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace vxseal {

// "ENOENT". The kernel's own ENOTSUPP (524) reaches userspace from BPF, although no C library knows it.
inline std::string ErrnoName(int error) {
  if (error == 524) return "ENOTSUPP";
  const char* name = strerrorname_np(error);
  return name == nullptr ? "E" + std::to_string(error) : name;
}

inline std::string ErrnoText(int error) {
  if (error == 524) return "operation is not supported";
  const char* text = strerrordesc_np(error);
  return text == nullptr ? "unknown error" : text;
}

// `error` may be negative, as libbpf returns it. `detail` replaces the C library's text; `log` becomes a property.
[[noreturn]] inline void ThrowErrno(Napi::Env env, const std::string& op, int error, const std::string& detail = "",
                                    const std::string& log = "") {
  const int positive = error < 0 ? -error : error;
  const std::string text = detail.empty() ? ErrnoText(positive) : detail;
  Napi::Error thrown = Napi::Error::New(env, op + ": " + ErrnoName(positive) + ": " + text);
  thrown.Set("errno", Napi::Number::New(env, positive));
  thrown.Set("code", Napi::String::New(env, ErrnoName(positive)));
  thrown.Set("op", Napi::String::New(env, op));
  if (!log.empty()) thrown.Set("log", Napi::String::New(env, log));
  throw thrown;
}

}  // namespace vxseal
#endif
