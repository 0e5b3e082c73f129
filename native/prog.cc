// SPDX-License-Identifier: Apache-2.0
// Programs: what the kernel says of them, and running them over one packet.
#include <bpf/bpf.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "check.hh"
#include "errno.hh"
#include "fd.hh"
#include "rooms.hh"

namespace vxseal {

namespace {

// A program under test may add headers; the kernel refuses a result that does not fit.
constexpr size_t kGrowthBytes = 4096;
// More than struct __sk_buff has in any kernel so far.
constexpr size_t kContextBytes = 512;
constexpr size_t kPacketBytes = 1 << 20;

bpf_prog_info ProgramInfoOf(Napi::Env env, int fd) {
  bpf_prog_info program{};
  uint32_t length = sizeof program;
  if (bpf_obj_get_info_by_fd(fd, &program, &length) != 0) ThrowErrno(env, "BPF_OBJ_GET_INFO_BY_FD program", errno);
  return program;
}

Napi::Value ProgramInfo(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const bpf_prog_info program = ProgramInfoOf(env, RequireFd(info, 0, FdKind::kProgram, "program").number());
  char tag[2 * sizeof program.tag + 1];
  for (size_t i = 0; i < sizeof program.tag; i++) snprintf(tag + 2 * i, 3, "%02x", program.tag[i]);
  Napi::Object result = Napi::Object::New(env);
  result.Set("id", Napi::Number::New(env, program.id));
  result.Set("name", Napi::String::New(env, program.name));
  result.Set("tag", Napi::String::New(env, tag));
  return result;
}

Napi::Value CopyRange(Napi::Env env, const std::vector<uint8_t>& bytes, size_t begin, size_t end) {
  return Napi::Buffer<uint8_t>::Copy(env, bytes.data() + begin, end - begin);
}

Napi::Value TestRun(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Fd& program = RequireFd(info, 0, FdKind::kProgram, "program");
  Napi::Object options = RequireObject(info, 1, "options");
  Napi::Buffer<uint8_t> data = CheckBuffer(env, options.Get("data"), "data");
  if (data.Length() > kPacketBytes) throw Napi::RangeError::New(env, "data is longer than 1 MiB");
  Napi::Value repeat = options.Get("repeat");
  Napi::Value givenContext = options.Get("ctx");
  const bool xdp = ProgramInfoOf(env, program.number()).type == BPF_PROG_TYPE_XDP;

  std::vector<uint8_t> context;
  if (!givenContext.IsUndefined()) {
    Napi::Buffer<uint8_t> bytes = CheckBuffer(env, givenContext, "ctx");
    if (bytes.Length() > kContextBytes) throw Napi::RangeError::New(env, "ctx is longer than any context");
    context.assign(bytes.Data(), bytes.Data() + bytes.Length());
  } else if (xdp) {
    // Without a context going in the kernel gives none out, and the metadata's length would be unknown.
    xdp_md whole{};
    whole.data_end = static_cast<uint32_t>(data.Length());
    context.assign(reinterpret_cast<uint8_t*>(&whole), reinterpret_cast<uint8_t*>(&whole) + sizeof whole);
  }
  std::vector<uint8_t> dataOut(data.Length() + kGrowthBytes);
  std::vector<uint8_t> contextOut(kContextBytes);

  LIBBPF_OPTS(bpf_test_run_opts, run);
  run.data_in = data.Data();
  run.data_size_in = static_cast<uint32_t>(data.Length());
  run.data_out = dataOut.data();
  run.data_size_out = static_cast<uint32_t>(dataOut.size());
  if (!context.empty()) {
    run.ctx_in = context.data();
    run.ctx_size_in = static_cast<uint32_t>(context.size());
  }
  run.ctx_out = contextOut.data();
  run.ctx_size_out = static_cast<uint32_t>(contextOut.size());
  if (!repeat.IsUndefined()) run.repeat = static_cast<int>(CheckUint32(env, repeat, "repeat", 1, 100'000'000));
  const int error = bpf_prog_test_run_opts(program.number(), &run);
  if (error != 0) ThrowErrno(env, "BPF_PROG_TEST_RUN", error);

  // XDP hands metadata and packet over in one; xdp_md.data says where the packet begins.
  size_t metaBytes = 0;
  if (xdp && run.ctx_size_out >= sizeof(xdp_md)) {
    xdp_md after{};
    memcpy(&after, contextOut.data(), sizeof after);
    metaBytes = std::min<size_t>(after.data, run.data_size_out);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("retval", Napi::Number::New(env, run.retval));
  result.Set("durationNs", Napi::Number::New(env, run.duration));
  result.Set("dataOut", CopyRange(env, dataOut, metaBytes, run.data_size_out));
  result.Set("metaOut", CopyRange(env, dataOut, 0, metaBytes));
  result.Set("ctxOut", CopyRange(env, contextOut, 0, run.ctx_size_out));
  return result;
}

}  // namespace

void ExportProgram(Napi::Env env, Napi::Object exports) {
  exports.Set("programInfo", Napi::Function::New<ProgramInfo>(env, "programInfo"));
  exports.Set("testRun", Napi::Function::New<TestRun>(env, "testRun"));
}

}  // namespace vxseal
