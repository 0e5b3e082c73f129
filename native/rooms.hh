// SPDX-License-Identifier: Apache-2.0
// What each source file adds to the module's exports; agent/kernel/native.ts describes the functions.
#ifndef VXSEAL_ROOMS_HH
#define VXSEAL_ROOMS_HH

#include <napi.h>

namespace vxseal {

void ExportObject(Napi::Env env, Napi::Object exports);
void ExportMap(Napi::Env env, Napi::Object exports);
void ExportProgram(Napi::Env env, Napi::Object exports);
void ExportLink(Napi::Env env, Napi::Object exports);
void ExportClsact(Napi::Env env, Napi::Object exports);
void ExportRing(Napi::Env env, Napi::Object exports);
void ExportNetns(Napi::Env env, Napi::Object exports);
void ExportDevice(Napi::Env env, Napi::Object exports);
void ExportNetlink(Napi::Env env, Napi::Object exports);
void ExportBpffs(Napi::Env env, Napi::Object exports);

}  // namespace vxseal
#endif
