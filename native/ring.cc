// SPDX-License-Identifier: Apache-2.0
// The ring buffer from the data plane, read on the event loop of the environment that opened it.
#include <bpf/libbpf.h>
#include <uv.h>

#include <memory>
#include <string>

#include "check.hh"
#include "errno.hh"
#include "fd.hh"
#include "rooms.hh"

namespace vxseal {

namespace {

// Records handed over in one turn of the event loop; the rest waits for the next, so that timers and sockets live.
constexpr int kRecordsPerTurn = 256;

// Lives until libuv has let go of the handle. Closed by close() or when the environment ends.
class Reader {
 public:
  Reader(Napi::Env env, Napi::Function onEvent)
      : env_(env), onEvent_(Napi::Persistent(onEvent)), context_(env, "vxseal ring buffer") {}

  void Open(int mapFd) {
    ring_ = ring_buffer__new(mapFd, &Reader::OnRecord, this, nullptr);
    if (ring_ == nullptr) ThrowErrno(env_, "open ring buffer", errno);
    uv_loop_t* loop = nullptr;
    if (napi_get_uv_event_loop(env_, &loop) != napi_ok) throw Napi::Error::New(env_);
    const int error = uv_poll_init(loop, &poll_, ring_buffer__epoll_fd(ring_));
    if (error != 0) ThrowErrno(env_, "watch ring buffer", error);
    poll_.data = this;
    uv_poll_start(&poll_, UV_READABLE, &Reader::OnReadable);
    napi_add_async_cleanup_hook(env_, &Reader::OnEnvironmentEnd, this, &cleanup_);
  }

  // Idempotent. The object is gone once libuv calls back.
  void Close() {
    if (closing_) return;
    closing_ = true;
    uv_poll_stop(&poll_);
    uv_close(reinterpret_cast<uv_handle_t*>(&poll_), &Reader::OnClosed);
  }

  ~Reader() {
    if (ring_ != nullptr) ring_buffer__free(ring_);
    if (cleanup_ != nullptr) napi_remove_async_cleanup_hook(cleanup_);
    if (released_ != nullptr) *released_ = nullptr;
  }

  // Where close() finds us; cleared when we go.
  void set_released(std::shared_ptr<Reader*> slot) { released_ = std::move(slot); }

 private:
  static void OnReadable(uv_poll_t* poll, int, int) {
    auto* reader = static_cast<Reader*>(poll->data);
    Napi::HandleScope scope(reader->env_);
    reader->budget_ = kRecordsPerTurn;
    ring_buffer__consume(reader->ring_);
  }

  // Called by libbpf's C code: nothing may be thrown through it. A negative result ends this turn.
  static int OnRecord(void* self, void* data, size_t bytes) {
    auto* reader = static_cast<Reader*>(self);
    Napi::HandleScope scope(reader->env_);
    try {
      reader->onEvent_.MakeCallback(
          reader->env_.Global(),
          {Napi::Buffer<uint8_t>::Copy(reader->env_, static_cast<const uint8_t*>(data), bytes)}, reader->context_);
    } catch (const Napi::Error& error) {
      napi_fatal_exception(reader->env_, error.Value());
    } catch (...) {
      return -ENOMEM;
    }
    return reader->closing_ || --reader->budget_ == 0 ? -ECANCELED : 0;
  }

  static void OnClosed(uv_handle_t* handle) { delete static_cast<Reader*>(handle->data); }
  static void OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* self) { static_cast<Reader*>(self)->Close(); }

  Napi::Env env_;
  Napi::FunctionReference onEvent_;
  Napi::AsyncContext context_;
  ring_buffer* ring_ = nullptr;
  uv_poll_t poll_{};
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
  std::shared_ptr<Reader*> released_;
  int budget_ = 0;
  bool closing_ = false;
};

Napi::Value OpenRingBuffer(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Fd& map = RequireFd(info, 0, FdKind::kMap, "map");
  if (map.shape(env).type != BPF_MAP_TYPE_RINGBUF) throw Napi::TypeError::New(env, "map is not a ring buffer");
  auto reader = std::make_unique<Reader>(env, RequireFunction(info, 1, "onEvent"));
  reader->Open(map.number());

  auto slot = std::make_shared<Reader*>(reader.release());
  (*slot)->set_released(slot);
  Napi::Object handle = Napi::Object::New(env);
  handle.Set("close", Napi::Function::New(env, [slot](const Napi::CallbackInfo&) {
               if (*slot != nullptr) (*slot)->Close();
             }));
  return handle;
}

}  // namespace

void ExportRing(Napi::Env env, Napi::Object exports) {
  exports.Set("openRingBuffer", Napi::Function::New<OpenRingBuffer>(env, "openRingBuffer"));
}

}  // namespace vxseal
